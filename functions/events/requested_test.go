package events_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/job"
)

func without(header []string, name string) []string {
	var left []string
	for i := 0; i < len(header); i += 2 {
		if header[i] != name {
			left = append(left, header[i], header[i+1])
		}
	}
	return left
}

func requestHeader(id string) []string {
	return append([]string{"Ce-Type", "io.github.go-job-orchestrator.job.requested.v1"},
		without(eventHeader(id), "Ce-Type")...)
}

func requestData(more ...string) string {
	return `{"runtime":"python","entrypoint":"a.py","args":["$.data"],` + strings.Join(more, "") +
		`"files":[{"name":"a.py","content":"` + base64.StdEncoding.EncodeToString([]byte("print(1)\n")) + `"}]}`
}

func TestRequestedJob(t *testing.T) {
	w := newServer(t)
	owned := func(id string) []string { return append(requestHeader(id), admissiontest.By("ann")...) }
	data := requestData(`"ttlSecondsAfterFinished":5,`)
	id := started(w, send(w, "", data, owned("1")...))
	index := w.Index(id)
	if index.Owner != "ann" || index.TTLSecondsAfterFinished != 5 ||
		!slices.Equal(index.Args, []string{"$.data"}) || index.Template != nil {
		t.Errorf("got %+v", index)
	}
	if got := w.File(id, "a.py"); got != "print(1)\n" {
		t.Errorf("file: got %q", got)
	}
	if again := started(w, send(w, "", data, owned("1")...)); again != id {
		t.Errorf("delivered again: got %s, want %s", again, id)
	}
	if other := started(w, send(w, "", data, requestHeader("1")...)); other == id || w.Index(other).Owner != job.LocalOwner {
		t.Error("the event of another caller got the owner's job")
	}
	w.Want(
		http.StatusOK,
		w.Call(http.MethodGet, "/api/v1/jobs/"+string(id)+"/token", "", admissiontest.By("ann")...),
	)
	free := started(w, send(w, "", requestData(), requestHeader("2")...))
	w.Want(
		http.StatusNotFound,
		w.Call(http.MethodGet, "/api/v1/jobs/"+string(free)+"/token", "", admissiontest.By("ann")...),
	)
	for name, data := range map[string]string{
		"runtime":    strings.Replace(requestData(), "python", "cobol", 1),
		"entrypoint": strings.Replace(requestData(), `"entrypoint":"a.py"`, `"entrypoint":"b.py"`, 1),
		"base64":     strings.Replace(requestData(), `content":"`, `content":"*`, 1),
	} {
		if p := w.Problem(send(w, "", data, requestHeader("3")...), http.StatusUnprocessableEntity); !strings.Contains(
			p.Detail, name) {
			t.Errorf("%s: got %q", name, p.Detail)
		}
	}
}

// TestRequestedInputs gives jobs of events something to read, a name and causes of retries.
func TestRequestedInputs(t *testing.T) {
	w := newServer(t)
	for n, test := range []struct {
		data string
		want *string
	}{
		{"", nil}, {`"stdin":null,`, nil}, {`"stdin":"",`, new("")}, {`"stdin":"hällo\n",`, new("hällo\n")},
		{`"stdinBase64":"/wA=",`, new("\xff\x00")}, {`"stdinBase64":"",`, new("")},
	} {
		data := requestData(test.data, `"name":"By event","retries":1,"retryOn":["3","NodeLost"],`)
		id := started(w, send(w, "", data, requestHeader(fmt.Sprint("in", n))...))
		index := w.Index(id)
		if index.Name != "By event" || !slices.Equal(index.RetryOn, []string{"3", "NodeLost"}) {
			t.Errorf("%s: got %+v", test.data, index.Spec)
		}
		if test.want == nil {
			if index.Stdin != nil {
				t.Errorf("%s: it reads %+v", test.data, index.Stdin)
			}
			continue
		}
		if got := w.File(id, job.StdinFile); got != *test.want || index.Stdin.Size != int64(len(*test.want)) {
			t.Errorf("%s: it reads %q: %+v", test.data, got, index.Stdin)
		}
	}
	for data, want := range map[string]string{
		`"stdinBase64":"*",`: "stdinBase64: is not base64", `"stdinBase64":"","stdin":"",`: "stdinBase64: cannot be sent",
		`"stdin":7,`: "data: ", `"retryOn":["3"],`: "retryOn: needs retries", `"name":"a\nb",`: "name: contains",
		`"retries":1,"retryOn":[3],`: "data: ", `"retries":1,"retryOn":["oom"],`: "retryOn[0]: ",
	} {
		p := w.Problem(send(w, "", requestData(data), requestHeader("bad")...), http.StatusUnprocessableEntity)
		if !strings.Contains(p.Detail, want) {
			t.Errorf("%s: got %q", data, p.Detail)
		}
	}
}

func TestBatchOfEvents(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("a", "", script(field("args", `["$.data.x"]`))...)
	one := func(id, data string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/tests","type":"t","data":%s}`, id, data)
	}
	send := func(events ...string) admissiontest.Reply {
		return send(w, "?template=a", "["+strings.Join(events, ",")+"]", "Content-Type", "application/cloudevents-batch+json")
	}
	got := w.Want(http.StatusAccepted, send(one("1", `{"x":1}`), one("2", `{"x":2}`), one("1", `{"x":1}`)))
	if links := got.Header.Values("Link"); len(links) != 3 || links[0] != links[2] || links[0] == links[1] ||
		got.Header.Get("Location") != "" || len(got.Text) > 0 {
		t.Errorf("got %q, %q", links, got.Text)
	}
	started(w, send(one("3", `{"x":3}`)))
	w.Want(http.StatusAccepted, send())
	// The good ones run although one is bad, and a second delivery changes nothing.
	for range 2 {
		w.Problem(send(one("4", `{"x":4}`), one("5", `{}`), one("6", `{"x":6}`)), http.StatusUnprocessableEntity)
	}
	list := w.Want(http.StatusOK, w.Call(http.MethodGet, "/api/v1/jobs?limit=500", ""))
	if n := strings.Count(string(list.Text), `"jobID"`); n != 5 {
		t.Errorf("there are %d jobs, want 5", n)
	}
}

// TestRequestedProject starts a job whose event brings an archive, and does not say how it is run.
func TestRequestedProject(t *testing.T) {
	w := newServer(t)
	number := 100
	request := func(data []byte, more string) admissiontest.Reply {
		number++
		return send(w, "", `{`+more+`"archive":{"name":"p","content":"`+base64.StdEncoding.EncodeToString(data)+`"}}`,
			requestHeader(fmt.Sprint(number))...)
	}
	for _, format := range job.ArchiveFormats() {
		data := archivetest.Make(t, format, "pkg/__main__.py", "", "pkg/x", "y")
		index := w.Index(started(w, request(data, `"files":[{"name":"data/z","content":""}],`)))
		var f job.File
		for _, f = range index.Files {
			if f.Name == "p" {
				break
			}
		}
		if f.Archive != format || f.Entries != 3 || f.Unpacked != 1 || len(index.Files) != 2 ||
			index.Inferred == nil || index.Entrypoint != "pkg/__main__.py" || w.File(index.JobID, "p") != string(data) {
			t.Errorf("%s: got %+v", format, index)
		}
		for want, got := range map[string]admissiontest.Reply{
			`contains ".."`:                request(archivetest.Make(t, format, "../x", ""), ""),
			"is there twice":               request(data, `"files":[{"name":"pkg/x","content":""}],`),
			"did you mean pkg/__main__.py": request(data, `"runtime":"python","entrypoint":"__main__.py",`),
			"is not an archive":            request([]byte("text"), ""),
		} {
			if p := w.Problem(got, http.StatusUnprocessableEntity); !strings.Contains(p.Detail, want) {
				t.Errorf("%s: got %q, want %q", format, p.Detail, want)
			}
		}
	}
	w.WantFaults(send(w, "", `{}`, requestHeader("x")...), "files")
}
