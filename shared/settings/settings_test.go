package settings_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/settings"
)

func newEnv(vars map[string]string) *settings.Env {
	return settings.New(vars, slog.New(slog.DiscardHandler))
}

func TestDefaults(t *testing.T) {
	for name, vars := range map[string]map[string]string{
		"nothing set": {},
		// as an optional ConfigMap key is
		"set empty": {"PORT": "", "NAMESPACE": "", "ORCH_BASE_URL": "", "STORAGE_DIR": ""},
	} {
		got, err := newEnv(vars).Common()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := &settings.Common{Port: 8080, Namespace: "default", BaseURL: "http://job-orchestrator:8080",
			StorageDir: "/data"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("PORT", "1") // which nobody asked for
	got, err := newEnv(map[string]string{"PORT": "9000", "NAMESPACE": "jobs", "ORCH_BASE_URL": "https://x",
		"STORAGE_DIR": "/d", "TOKEN_KEYS": "k", "K_SINK": "http://s"}).Common()
	if err != nil {
		t.Fatal(err)
	}
	want := &settings.Common{Port: 9000, Namespace: "jobs", BaseURL: "https://x", StorageDir: "/d", TokenKeys: "k",
		Sink: "http://s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestAllFaultsAreNamedAtOnce(t *testing.T) {
	var own struct {
		Interval time.Duration `env:"REAP_INTERVAL" envDefault:"10s"`
		Max      settings.Size `env:"MAX_UPLOAD_BYTES" envDefault:"1Gi"`
		Count    int           `env:"MAX_FILES" envDefault:"100"`
		Needed   string        `env:"A_SECRET,required"`
		Fine     settings.Size `env:"MIN_FREE" envDefault:"64Mi"`
	}
	err := newEnv(map[string]string{"REAP_INTERVAL": "soon", "MAX_UPLOAD_BYTES": "lots", "MAX_FILES": "-x"}).Load(
		&own)
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, name := range []string{"REAP_INTERVAL", "MAX_UPLOAD_BYTES", "MAX_FILES", "A_SECRET"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in %q", name, err)
		}
	}
	if strings.Contains(err.Error(), "MIN_FREE") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q", err)
	}
	if own.Fine != 64<<20 {
		t.Errorf("64Mi is %d bytes", own.Fine)
	}
	for _, port := range []string{"http", "-1", "65536", "80.5"} {
		if _, err := newEnv(map[string]string{"PORT": port}).Common(); err == nil || !strings.Contains(err.Error(), "PORT") {
			t.Errorf("PORT=%s: %v; want an error that names it", port, err)
		}
	}
}

// checked is settings that are checked.
type checked struct {
	Wait  time.Duration `env:"WAIT" envDefault:"1s"`
	Grace time.Duration `env:"KILL_GRACE" envDefault:"1s"`
	Size  settings.Size `env:"MAX_SIZE" envDefault:"0"`
}

func (c *checked) Check() error {
	return settings.CheckDurations(
		settings.Duration{Name: "KILL_GRACE", Value: c.Grace, Max: time.Hour},
		settings.Duration{Name: "WAIT", Value: c.Wait, Min: 10 * time.Millisecond, Max: time.Hour},
	)
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		vars map[string]string
		want string
	}{
		"fine": {map[string]string{"MAX_SIZE": "1Ki"}, ""},
		"two values": {map[string]string{"WAIT": "-1s", "KILL_GRACE": "-2s"}, "settings: KILL_GRACE: -2s is a " +
			"negative time; set at least 0s; WAIT: -1s is a negative time; set at least 10ms"},
		"one of each kind": {map[string]string{"WAIT": "-1s", "MAX_SIZE": "-1"},
			`settings: MAX_SIZE: "-1" is negative; WAIT: -1s is a negative time`},
		"unread and checked": {map[string]string{"WAIT": "soon", "KILL_GRACE": "-1s"}, `KILL_GRACE: -1s is a negative time`},
		"nothing": {map[string]string{"WAIT": "0s", "KILL_GRACE": "0s"}, "settings: WAIT: 0s is too short; set " +
			"at least 10ms"},
		"too short": {map[string]string{"WAIT": "9ms"}, "WAIT: 9ms is too short; set at least 10ms"},
		"the least": {map[string]string{"WAIT": "10ms"}, ""},
		"too long":  {map[string]string{"WAIT": "2562047h"}, "WAIT: 2562047h0m0s is too long; set at most 1h0m0s"},
		"too large": {map[string]string{"MAX_SIZE": "2Pi"}, "at most 1Pi"},
	} {
		err := newEnv(test.vars).Load(&checked{})
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) ||
			strings.Count(err.Error(), "WAIT") > 1) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestSignedURLs(t *testing.T) {
	for value, valid := range map[string]bool{
		"": true, "0s": true, "1m": true, "15m": true, "168h": true, "59s": false, "168h1s": false, "-1m": false,
		"soon": false,
	} {
		c, err := newEnv(map[string]string{"SIGNED_URL_TTL": value}).Common()
		if valid != (err == nil) || err != nil && !strings.Contains(err.Error(), "SIGNED_URL_TTL") {
			t.Errorf("%q: %+v, %v", value, c, err)
		}
	}
}

func TestMissingAndWrongSecrets(t *testing.T) {
	_, err := newEnv(nil).Keys()
	if err == nil || !strings.Contains(err.Error(), "TOKEN_KEYS") {
		t.Errorf("Keys: %v; want an error that names TOKEN_KEYS", err)
	}
	_, err = newEnv(map[string]string{"TOKEN_KEYS": "my passphrase"}).Keys()
	if err == nil || !strings.Contains(err.Error(), "TOKEN_KEYS") || strings.Contains(err.Error(), "my passphrase") {
		t.Errorf("Keys: %v; want an error that names TOKEN_KEYS and not its value", err)
	}
}

func TestDrainIsTheReverse(t *testing.T) {
	e := newEnv(nil)
	var order []int
	for i := range 3 {
		e.OnDrain(func() { order = append(order, i) })
	}
	e.Drain()
	if diff := cmp.Diff([]int{2, 1, 0}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
