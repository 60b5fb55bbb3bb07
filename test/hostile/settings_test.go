package hostile

import (
	"strings"
	"testing"
)

// settings are values with which no server may start: each is refused by its name, before anything
// is stored.
func (s *suite) settings(t *testing.T) {
	rows := []string{
		"RETRY_BACKOFF=0s", "RETRY_BACKOFF=-1s", "RETRY_BACKOFF=x", "KILL_GRACE=-1s", "DRAIN_TIMEOUT=-5s", "MAX_FILES=-1",
		"MAX_UPLOAD_BYTES=lots", "MAX_UPLOAD_BYTES=-1",
		"MAX_FIELD_BYTES=1e309", "MAX_EVENT_BYTES=-1Mi", "PORT=99999", "PORT=-1", "MAX_QUEUED_JOBS=-1",
		"MAX_PROCESSES=70000", "MAX_WORKSPACE_BYTES=x", "REAP_INTERVAL=x",
		"TOKEN_KEYS=c2hvcnQ=", "TOKEN_KEYS=***", "SANDBOX=maybe", "MAX_MEMORY=x", "MAX_CPU=x", "DEFAULT_MEMORY=x",
		"DEFAULT_CPU=x", "MAX_TIMEOUT_SECONDS=x",
		"DEFAULT_TIMEOUT_SECONDS=-1", "UPLOAD_TIMEOUT=x", "MAX_CHAINED_JOBS=-1", "AUTH=none", "AUTH=open,keys", "AUTH=oidc", "AUTH=KEYS",
	}
	s.count("settings", len(rows))
	each(rows, func(setting string) {
		name, _, _ := strings.Cut(setting, "=")
		srv := &server{command: s.all}
		srv.spawn(t, []string{"PATH=/usr/bin:/bin", "HOME=/", "STORAGE_DIR=" + folder(t), "PORT=0", setting})
		defer srv.kill()
		ended := within(patience, func() bool {
			select {
			case <-srv.stopped:
				return true
			default:
				return strings.Contains(srv.output.String(), "Listening")
			}
		})
		if text := srv.output.String(); !ended || strings.Contains(text, "Listening") || !strings.Contains(text, name) {
			t.Errorf("settings: %q: it started, or did not name the setting: %.500s", setting, text)
		}
	})
}
