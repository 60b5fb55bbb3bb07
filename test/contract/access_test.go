package contract

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/job"
)

// testCallers has the calls about jobs refused to nobody, to a role that may only look, and to
// another owner.
func testCallers(t *testing.T, f *functions, to *client) {
	s := to.submit(t, script(t, "true"))
	nobody, reader := to.with(""), to.with(f.keyring.of[guardmatrix.Reader])
	other := to.with(f.keyring.of[guardmatrix.OtherUser])
	for _, path := range []string{"/api/v1/jobs", "/api/v1/jobs/events", "/api/v1/whoami", "/metrics"} {
		nobody.call(t, http.StatusUnauthorized, http.MethodGet, path)
		to.call(t, http.StatusUnauthorized, http.MethodGet, path, s.bearer())
	}
	to.call(t, http.StatusForbidden, http.MethodGet, "/api/v1/jobs/events?owner="+guardmatrix.Bob)
	for _, path := range []string{"/api/v1/jobs", "/api/v1/templates"} {
		to.call(t, http.StatusOK, http.MethodGet, path+"?owner="+guardmatrix.Ann)
		to.call(t, http.StatusForbidden, http.MethodGet, path+"?owner="+guardmatrix.Bob)
		list := string(other.call(t, http.StatusOK, http.MethodGet, path).body)
		if strings.Contains(list, string(s.JobID)) {
			t.Errorf("Bob sees Ann's job: %s", list)
		}
	}
	nobody.call(t, http.StatusUnauthorized, http.MethodPost, "/api/v1/jobs", script(t, "true"))
	reader.call(t, http.StatusForbidden, http.MethodPost, "/api/v1/jobs", script(t, "true"))
	for _, rest := range []string{"/cancel", "/share", "/rerun"} {
		reader.call(t, http.StatusForbidden, http.MethodPost, s.path()+rest)
		other.call(t, http.StatusNotFound, http.MethodPost, s.path()+rest)
	}
	nobody.call(t, http.StatusUnauthorized, http.MethodPost, s.path()+"/rerun", s.bearer()) // a token is no caller
	reader.call(t, http.StatusForbidden, http.MethodDelete, s.path())
	other.call(t, http.StatusNotFound, http.MethodDelete, s.path())
	for _, path := range []string{s.path(), s.path() + "/logs", s.artifact("run"), s.artifact("index.json")} {
		reader.call(t, http.StatusOK, http.MethodGet, path)
		other.call(t, http.StatusNotFound, http.MethodGet, path)
	}
	contains(t, string(reader.call(t, http.StatusOK, http.MethodGet, "/metrics").body), "gojob_build_info{")
	if got := as[job.Status](t, to.call(t, http.StatusOK, http.MethodGet, s.path())); got.Owner != guardmatrix.Ann {
		t.Errorf("the job's owner is %q", got.Owner)
	}
	for sender, want := range map[guardmatrix.Sender]string{
		guardmatrix.Admin: "root admin", guardmatrix.User: "ann user", guardmatrix.Reader: "ann read",
	} {
		got := as[access.Caller](t, to.with(f.keyring.of[sender]).call(t, http.StatusOK, http.MethodGet, "/api/v1/whoami"))
		if said := fmt.Sprintf("%s %s", got.Owner, got.Role); said != want || !strings.HasPrefix(got.Via, "key ") {
			t.Errorf("%s: %+v", sender, got)
		}
	}
}

// made is a key as the answer has it that makes it.
type made struct{ ID, Name, Owner, Key string }

// testKeys lists, makes and revokes keys, and has that refused for every reason.
func testKeys(t *testing.T, f *functions, to *client) {
	admin := to.with(f.keyring.of[guardmatrix.Admin])
	const path = "/api/v1/keys"
	want := map[string]string{"name": "scheduler", "owner": guardmatrix.Ann, "role": "user", "expiresIn": "30d"}
	first := as[made](t, admin.call(t, http.StatusCreated, http.MethodPost, path, record(t, want)))
	to.with(first.Key).call(t, http.StatusOK, http.MethodGet, "/api/v1/whoami")
	second := as[made](t, admin.call(t, http.StatusCreated, http.MethodPost, path,
		record(t, map[string]string{"replaces": first.ID, "grace": "0s"})))
	if second.Owner != first.Owner || second.Name != first.Name {
		t.Errorf("%+v does not replace %+v", second, first)
	}
	contains(t, problem(t, to.with(first.Key).call(t, http.StatusUnauthorized, http.MethodGet, "/api/v1/whoami")), "expired")
	list := string(admin.call(t, http.StatusOK, http.MethodGet, path).body)
	contains(t, list, second.ID)
	for _, key := range []string{first.Key, second.Key} {
		if strings.Contains(list, key[len(key)-40:]) {
			t.Errorf("the list has a key itself: %s", list)
		}
	}
	admin.call(t, http.StatusNoContent, http.MethodDelete, path+"/"+second.ID)
	admin.call(t, http.StatusNotFound, http.MethodDelete, path+"/"+second.ID)
	contains(t, problem(t, to.with(second.Key).call(t, http.StatusUnauthorized, http.MethodGet, "/api/v1/whoami")), "revoked")

	good := record(t, map[string]string{"name": "a", "role": "read"})
	for status, body := range map[int]option{
		http.StatusBadRequest:            content("application/json", []byte("[]")),
		http.StatusNotFound:              record(t, map[string]string{"replaces": second.ID}),
		http.StatusRequestEntityTooLarge: record(t, map[string]string{"name": strings.Repeat("x", 20<<10)}),
		http.StatusUnsupportedMediaType:  content("text/plain", []byte(`{"name":"a","role":"read"}`)),
		http.StatusUnprocessableEntity:   record(t, map[string]string{"name": "-", "role": "root", "grace": "x"}),
	} {
		admin.call(t, status, http.MethodPost, path, body)
	}
	root := strings.Split(admin.key, "_")[1]
	admin.call(t, http.StatusConflict, http.MethodDelete, path+"/"+root)
	for _, o := range []struct {
		method, path string
		body         option
	}{
		{http.MethodGet, path, func(*http.Request) {}}, {http.MethodPost, path, good},
		{http.MethodDelete, path + "/" + root, func(*http.Request) {}},
	} {
		to.with("").call(t, http.StatusUnauthorized, o.method, o.path, o.body)
		to.call(t, http.StatusForbidden, o.method, o.path, o.body)
		f.keyring.fail = errors.New("broken")
		admin.call(t, http.StatusInternalServerError, o.method, o.path, o.body)
		f.keyring.fail = fmt.Errorf("away: %w", job.ErrUnavailable)
		admin.call(t, http.StatusServiceUnavailable, o.method, o.path, o.body)
		f.keyring.fail = nil
	}
	fill := func(ring *access.Keyring) error {
		for {
			_, _, err := ring.Add(access.Request{Name: "one-of-many", Role: access.Read}, time.Now(), rand.Reader)
			if err != nil {
				return nil //nolint:nilerr // it is full
			}
		}
	}
	if err := f.keyring.Update(t.Context(), fill); err != nil {
		t.Fatal(err)
	}
	admin.call(t, http.StatusConflict, http.MethodPost, path, good)
}

// testShared lets others look at a job.
func testShared(t *testing.T, to *client) {
	s := to.submit(t, script(t, "true"))
	nobody := to.with("")
	for name, body := range map[string]option{
		"no body": func(*http.Request) {}, "an hour": record(t, map[string]string{"expiresIn": "1h"}),
	} {
		shared := as[submitted](t, to.call(t, http.StatusCreated, http.MethodPost, s.path()+"/share", body))
		nobody.call(t, http.StatusOK, http.MethodGet, s.path(), shared.bearer())
		nobody.call(t, http.StatusOK, http.MethodGet, s.path()+"/logs", shared.bearer())
		nobody.call(t, http.StatusForbidden, http.MethodGet, s.artifact("run"), shared.bearer())
		got := nobody.call(t, http.StatusForbidden, http.MethodPost, s.path()+"/cancel", shared.bearer())
		if problem(t, got) == "" {
			t.Errorf("%s: cancelled: %s", name, got.body)
		}
	}
	nobody.call(t, http.StatusCreated, http.MethodPost, s.path()+"/share", s.bearer())
	to.call(t, http.StatusBadRequest, http.MethodPost, s.path()+"/share", content("application/json", []byte("[]")))
	for _, lifetime := range []string{"59s", "31d", "an hour"} {
		to.call(t, http.StatusUnprocessableEntity, http.MethodPost, s.path()+"/share",
			record(t, map[string]string{"expiresIn": lifetime}))
	}
}
