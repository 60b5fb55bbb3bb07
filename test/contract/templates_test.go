package contract

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"gocloud.dev/gcerrors"

	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/job"
)

// version is what is known of a template that was put.
type version struct {
	Name    string
	Version int
	Owner   string
}

func (v version) path() string { return "/api/v1/templates/" + v.Name }

func (c *client) put(t *testing.T, name string, options ...option) version {
	t.Helper()
	return as[version](t, c.call(t, http.StatusCreated, http.MethodPut, "/api/v1/templates/"+name, options...))
}

// cloudEvent is one in structured mode.
func cloudEvent(id, kind string, data any, more ...string) option {
	return func(r *http.Request) {
		e := map[string]any{"specversion": "1.0", "id": id, "source": "/contract", "type": kind}
		if data != nil {
			e["data"] = data
		}
		for i := 0; i < len(more); i += 2 {
			e[more[i]] = more[i+1]
		}
		body, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		content("application/cloudevents+json", body)(r)
	}
}

func testWaiting(t *testing.T, to *client) {
	got := to.call(t, http.StatusCreated, http.MethodPost, "/api/v1/jobs", script(t, "true"), header("Prefer", "wait=60"),
		header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), header("tracestate", "a=b"))
	contains(t, got.Header.Get("Preference-Applied"), "wait=60")
	waited := as[struct {
		submitted
		Phase job.Phase
		Job   job.Status
	}](t, got)
	if waited.Phase != job.Succeeded || waited.Job.Phase != job.Succeeded {
		t.Errorf("waited for: %s", got.body)
	}
	s := waited.submitted
	to.call(t, http.StatusOK, http.MethodGet, s.path(), s.bearer(), header("Prefer", "wait=1"))
	stream := to.call(t, http.StatusOK, http.MethodGet, s.path()+"/events", s.bearer())
	last := stream.body[strings.LastIndex(string(stream.body), "id: ")+len("id: "):]
	id, _, _ := strings.Cut(string(last), "\n")
	to.call(t, http.StatusNoContent, http.MethodGet, s.path()+"/events", s.bearer(), header("Last-Event-ID", id))
	to.call(t, http.StatusOK, http.MethodGet, s.artifact("index.json"), s.bearer())
	to.call(t, http.StatusBadRequest, http.MethodGet, s.path()+"/events?from=1", s.bearer())
}

func testTemplates(t *testing.T, to *client) {
	v := to.put(t, "report", script(t, `echo "$* $MODE"`, field{name: "env", value: `{"MODE":"full"}`}),
		header("Idempotency-Key", "report"))
	if again := to.put(t, "report", script(t, `echo "$* $MODE"`, field{name: "env", value: `{"MODE":"full"}`}),
		header("Idempotency-Key", "report")); again != v {
		t.Errorf("sent again: got %+v, want %+v", again, v)
	}
	to.put(t, "other", script(t, "true"))
	replaced := as[version](t, to.call(t, http.StatusOK, http.MethodPut, v.path(), script(t, `echo "$* $MODE"`)))
	if replaced.Version != 2 || replaced.Owner != v.Owner {
		t.Errorf("replaced: got %+v", replaced)
	}
	to.call(t, http.StatusOK, http.MethodGet, v.path())
	first := to.call(t, http.StatusOK, http.MethodGet, "/api/v1/templates?limit=1")
	next := as[struct{ NextPageToken string }](t, first).NextPageToken
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, "/api/v1/templates?pageToken="+next).body),
		`"name":"report"`)
	for _, query := range []string{"limit=0", "limit=101", "limit=x", "pageToken=A", "label=a%3Db", "limit=1&limit=2",
		"%zz"} {
		to.call(t, http.StatusBadRequest, http.MethodGet, "/api/v1/templates?"+query)
	}

	to.call(t, http.StatusCreated, http.MethodPost, v.path()+"/jobs", header("Prefer", "wait=60"))
	changed := form(t, field{name: "args", value: `["a"]`}, field{name: "arg", value: "b"},
		field{name: "env", value: `{"MODE":"quick"}`})
	key := header("Idempotency-Key", "start a report")
	got := to.call(t, http.StatusCreated, http.MethodPost, v.path()+"/jobs", changed, key,
		header("Prefer", "wait=60"))
	s := as[submitted](t, got)
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, s.path()+"/logs", s.bearer()).body), "a b quick\n")
	to.call(t, http.StatusOK, http.MethodGet, s.artifact("index.json"), s.bearer())
	if found := as[submitted](t, to.call(t, http.StatusOK, http.MethodGet, s.path()+"/token")); found != s {
		t.Errorf("token: got %+v, want %+v", found, s)
	}
	to.call(t, http.StatusUnprocessableEntity, http.MethodPost, v.path()+"/jobs",
		form(t, field{name: "arg", value: "c"}), key)
	to.call(t, http.StatusNoContent, http.MethodDelete, s.path(), s.bearer())
	to.call(t, http.StatusGone, http.MethodPost, v.path()+"/jobs", changed, key)
	to.call(t, http.StatusNoContent, http.MethodDelete, v.path())
	to.call(t, http.StatusNotFound, http.MethodDelete, v.path())
}

func testEvents(t *testing.T, to *client) {
	to.put(t, "keep", script(t, `cat event.json; echo "$CE_TYPE $1"`, field{name: "args", value: `["$.data.name"]`}))
	data := map[string]string{"name": "cat"}
	sent := cloudEvent("1", "com.example.uploaded", data)
	got := to.accepted(t, "/events?template=keep", sent)
	again := to.accepted(t, "/events?template=keep", sent)
	if again.Header.Get("Location") != got.Header.Get("Location") {
		t.Error("delivered again, it started another job")
	}
	s := as[submitted](t, to.call(t, http.StatusOK, http.MethodGet, got.Header.Get("Location")+"/token"))
	to.call(t, http.StatusOK, http.MethodGet, s.path(), s.bearer(), header("Prefer", "wait=60"))
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, s.path()+"/logs", s.bearer()).body),
		"com.example.uploaded cat\n")
	to.call(t, http.StatusOK, http.MethodGet, s.artifact("event.json"), s.bearer())

	to.put(t, "next", script(t, "cat inputs/stdout.log"))
	ended := cloudEvent("2", "io.github.go-job-orchestrator.job.succeeded.v1", nil, "subject", string(s.JobID))
	got = to.accepted(t, "/events?template=next&withOutputs=true", ended)
	n := as[submitted](t, to.call(t, http.StatusOK, http.MethodGet, got.Header.Get("Location")+"/token"))
	to.call(t, http.StatusOK, http.MethodGet, n.path(), n.bearer(), header("Prefer", "wait=60"))
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, n.path()+"/logs", n.bearer()).body),
		"com.example.uploaded cat\n")
	to.call(t, http.StatusOK, http.MethodGet, n.artifact("inputs%2Fstdout.log"), n.bearer())
	to.call(t, http.StatusOK, http.MethodGet, n.artifact("index.json"), n.bearer())

	binary := func(kind string, body option) []option {
		return []option{header("ce-specversion", "1.0"), header("ce-id", "3"), header("ce-source", "/contract"),
			header("ce-type", kind), body}
	}
	to.accepted(t, "/events?template=keep", binary("com.example.uploaded", record(t, data))...)
	one := `{"specversion":"1.0","id":"4","source":"/contract","type":"t","data":{"name":"a"}}`
	batch := content("application/cloudevents-batch+json", []byte("["+one+","+one+"]"))
	contains(t, strings.Join(to.accepted(t, "/events?template=keep", batch).Header.Values("Link"), " "), `rel="item"`)
	whole := map[string]any{"runtime": "binary", "entrypoint": "run",
		"files": []map[string]string{{"name": "run", "content": "IyEvYmluL3NoCmVjaG8gaGVsbG8K"}}}
	to.accepted(t, "/events", cloudEvent("6", "io.github.go-job-orchestrator.job.requested.v1", whole))
	eventually(t, "all jobs are over", func() bool {
		list := string(to.call(t, http.StatusOK, http.MethodGet, "/api/v1/jobs?limit=500").body)
		return !strings.Contains(list, `"Pending"`) && !strings.Contains(list, `"Running"`)
	})
	to.call(t, http.StatusUnprocessableEntity, http.MethodPost, "/events?template=keep",
		cloudEvent("7", "com.example.uploaded", map[string]string{}))
	to.call(t, http.StatusForbidden, http.MethodPost, "/events?template=next&withOutputs=true",
		cloudEvent("8", "io.github.go-job-orchestrator.job.succeeded.v1", nil, "subject", strings.Repeat("0", 32)))
	to.call(t, http.StatusNotFound, http.MethodPost, "/events?template=none", sent)
	const options, origin, rate = http.MethodOptions, "WebHook-Request-Origin", "WebHook-Request-Rate"
	sender := header(origin, "eventemitter.example.com")
	allowed := to.call(t, http.StatusNoContent, options, "/events?template=keep", sender, header(rate, "120"))
	if got := allowed.Header.Get("WebHook-Allowed-Origin"); got != "eventemitter.example.com" {
		t.Errorf("WebHook-Allowed-Origin: got %q", got)
	}
	to.call(t, http.StatusBadRequest, options, "/events?template=keep", sender, header(rate, "0"))
	to.call(t, http.StatusUnprocessableEntity, options, "/events?template=-", sender)
	to.call(t, http.StatusBadRequest, http.MethodPost, "/events?template=keep", content("application/json", []byte("{}")))
}

// accepted sends an event as a Broker does: again while there is no place in the queue.
func (c *client) accepted(t *testing.T, path string, options ...option) (got *reply) {
	t.Helper()
	eventually(t, "the event is taken", func() bool {
		var err error
		if got, err = c.try(t.Context(), http.MethodPost, path, options...); err != nil {
			t.Fatal(err)
		}
		return got.StatusCode != http.StatusServiceUnavailable
	})
	if got.StatusCode != http.StatusAccepted {
		t.Fatalf("POST %s: got %s, want 202\n%s", path, got.Status, excerpt(got.body))
	}
	return got
}

// testRefusedTemplates has calls of templates and events refused for every reason there is.
func testRefusedTemplates(t *testing.T, c *contract) {
	f := startFunctions(t, map[string]string{"EVENT_TYPES": "com.example.*", "MAX_EVENT_BYTES": "1Mi",
		"MAX_UPLOAD_BYTES": "4Mi"})
	to := f.client(c)
	mine := to.put(t, "mine", script(t, "true"))
	nobody, reader, other := to.with(""), to.with(f.keyring.of[guardmatrix.Reader]), to.with(f.keyring.of[guardmatrix.OtherUser])
	s := as[submitted](t, to.call(t, http.StatusCreated, http.MethodPost, mine.path()+"/jobs"))
	type call struct {
		method, path string
		body         option
		writes       bool
		foreign      int // the answer to another owner
	}
	none := func(*http.Request) {}
	for _, o := range []call{
		{http.MethodGet, mine.path(), none, false, http.StatusNotFound},
		{http.MethodPut, mine.path(), script(t, "true"), true, http.StatusConflict},
		{http.MethodDelete, mine.path(), none, true, http.StatusNotFound},
		{http.MethodPost, mine.path() + "/jobs", none, true, http.StatusNotFound},
		{http.MethodGet, s.path() + "/token", none, false, http.StatusNotFound},
	} {
		t.Run(o.method+" "+o.path, func(t *testing.T) {
			nobody.call(t, http.StatusUnauthorized, o.method, o.path, o.body)
			to.call(t, http.StatusUnauthorized, o.method, o.path, o.body, s.bearer())
			other.call(t, o.foreign, o.method, o.path, o.body)
			key := bearer(to.key)
			to.call(t, http.StatusBadRequest, o.method, o.path, o.body, key, key)
			if o.writes || o.path == s.path()+"/token" {
				reader.call(t, http.StatusForbidden, o.method, o.path, o.body)
			}
			f.bucket.failing(broken, func() {
				to.call(t, http.StatusInternalServerError, o.method, o.path, o.body)
			})
			f.bucket.failing(away, func() { to.call(t, http.StatusServiceUnavailable, o.method, o.path, o.body) })
			if !o.writes {
				return
			}
			f.bucket.forget("template-upload/") // else nothing is left to be written to a storage that is full
			f.bucket.failing(full, func() {
				to.call(t, http.StatusInsufficientStorage, o.method, o.path, o.body)
			})
			if o.path == mine.path() && o.method == http.MethodPut {
				return // would make it
			}
			to.call(t, http.StatusNotFound, o.method, strings.Replace(o.path, "mine", "none", 1), o.body)
		})
	}
	to.call(t, http.StatusNotFound, http.MethodGet, "/api/v1/templates/none")
	nobody.call(t, http.StatusUnauthorized, http.MethodGet, "/api/v1/templates")
	event := cloudEvent("1", "com.example.a", nil)
	nobody.call(t, http.StatusUnauthorized, http.MethodPost, "/events?template=mine", event)
	to.call(t, http.StatusUnauthorized, http.MethodPost, "/events?template=mine", event, s.bearer())
	reader.call(t, http.StatusForbidden, http.MethodPost, "/events?template=mine", event)
	other.call(t, http.StatusNotFound, http.MethodPost, "/events?template=mine", event)
	f.bucket.failing(broken, func() {
		to.call(t, http.StatusInternalServerError, http.MethodGet, "/api/v1/templates")
		to.call(t, http.StatusInternalServerError, http.MethodPost, "/events?template=mine",
			cloudEvent("1", "com.example.a", nil))
	})
	f.bucket.failing(away, func() {
		to.call(t, http.StatusServiceUnavailable, http.MethodGet, "/api/v1/templates")
		to.call(t, http.StatusServiceUnavailable, http.MethodPost, "/events?template=mine",
			cloudEvent("1", "com.example.a", nil))
	})
	f.bucket.failing(full, func() {
		to.call(t, http.StatusInsufficientStorage, http.MethodPost, "/events?template=mine",
			cloudEvent("1", "com.example.a", nil))
	})
	to.call(t, http.StatusForbidden, http.MethodPost, "/events?template=mine", cloudEvent("1", "com.other", nil))
	large := map[string]string{"x": strings.Repeat("x", 1<<20)}
	to.call(t, http.StatusRequestEntityTooLarge, http.MethodPost, "/events?template=mine",
		cloudEvent("1", "com.example.a", large))
	to.call(t, http.StatusRequestEntityTooLarge, http.MethodPut, "/api/v1/templates/new",
		script(t, "true", file("big", strings.Repeat("x", 5<<20))))
	to.call(t, http.StatusUnsupportedMediaType, http.MethodPut, "/api/v1/templates/new",
		content("application/json", []byte("{}")))
	to.call(t, http.StatusUnprocessableEntity, http.MethodPut, "/api/v1/templates/new",
		script(t, "true", file("event.json", "")))
	to.call(t, http.StatusUnprocessableEntity, http.MethodPut, "/api/v1/templates/New", script(t, "true"))
	to.call(t, http.StatusRequestEntityTooLarge, http.MethodPost, mine.path()+"/jobs",
		form(t, field{name: "arg", value: strings.Repeat("x", 2<<20)}))
	to.call(t, http.StatusUnsupportedMediaType, http.MethodPost, mine.path()+"/jobs",
		content("application/json", []byte("{}")))
	to.call(t, http.StatusUnprocessableEntity, http.MethodPost, mine.path()+"/jobs",
		form(t, field{name: "runtime", value: "node"}))

	// Another makes a template of the same name while this one's files are stored.
	taken := func(verb, key string) gcerrors.ErrorCode {
		if verb == "write" && strings.Contains(key, "template-files/taken/") {
			f.bucket.blobs[".orchestrator/template/taken/00000001.json"] = []byte(`{"name":"taken","version":1,"caller":"bob"}`)
		}
		return gcerrors.OK
	}
	f.bucket.failing(taken, func() {
		to.call(t, http.StatusConflict, http.MethodPut, "/api/v1/templates/taken", script(t, "true"))
	})
}

// broken is a storage that refuses everything, and away is one that does not answer.
func broken(string, string) gcerrors.ErrorCode { return gcerrors.PermissionDenied }
func away(string, string) gcerrors.ErrorCode   { return gcerrors.Unknown }

// full is a bucket that takes nothing more.
func full(verb, _ string) gcerrors.ErrorCode {
	if verb == "write" {
		return gcerrors.ResourceExhausted
	}
	return gcerrors.OK
}
