package submit_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
)

func bounded(b submit.Bounds) func(*submit.Deps) {
	return func(d *submit.Deps) {
		maps.Copy(d.Env.Vars, map[string]string{
			"DEFAULT_MEMORY": b.DefaultMemory, "MAX_MEMORY": b.MaxMemory, "DEFAULT_CPU": b.DefaultCPU, "MAX_CPU": b.MaxCPU,
			"DEFAULT_TIMEOUT_SECONDS": strconv.FormatInt(b.DefaultTimeout, 10),
			"MAX_TIMEOUT_SECONDS":     strconv.FormatInt(b.MaxTimeout, 10),
		})
	}
}

// amounts are what a job asks for: memory, cpu, timeoutSeconds.
type amounts [3]string

func (a amounts) fields() []part {
	var list []part
	for i, name := range []string{"memory", "cpu", "timeoutSeconds"} {
		if a[i] != "" {
			list = append(list, field(name, a[i]))
		}
	}
	return list
}

func amountsOf(s *job.Spec) amounts { return amounts{s.Memory, s.CPU, fmt.Sprint(s.TimeoutSeconds)} }

// waysIn are the ways in which a job comes in, each by a call and what it answers when the job is
// taken.
func waysIn() map[string]func(w *world, a amounts) reply {
	return map[string]func(w *world, a amounts) reply{
		"form": func(w *world, a amounts) reply { return w.post(script(a.fields()...)...) },
		"event": func(w *world, a amounts) reply {
			data := fmt.Sprintf(`{"runtime":"python","entrypoint":"a.py","files":[{"name":"a.py","content":%q}]`,
				base64.StdEncoding.EncodeToString([]byte("1")))
			for i, name := range []string{"memory", "cpu"} {
				data += fmt.Sprintf(`,%q:%q`, name, a[i]) // empty means the same as left out
			}
			if a[2] != "" {
				data += `,"timeoutSeconds":` + a[2]
			}
			return w.event("", data+"}", "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/tests", "Content-Type",
				"application/json",
				"Ce-Type", "io.github.go-job-orchestrator.job.requested.v1")
		},
	}
}

// TestBounds has jobs come in that ask for nothing, for what they may have, and for more.
func TestBounds(t *testing.T) {
	all := submit.Bounds{DefaultMemory: "256Mi", MaxMemory: "1Gi", DefaultCPU: "500m", MaxCPU: "2", DefaultTimeout: 60,
		MaxTimeout: 600}
	for name, test := range map[string]struct {
		bounds submit.Bounds
		asks   amounts
		gets   amounts
		faults []string // fields, when it is refused
	}{
		"no bounds": {submit.Bounds{}, amounts{}, amounts{"", "", "0"}, nil},
		"bounds of 0": {submit.Bounds{DefaultMemory: "0", MaxMemory: "0", MaxCPU: "0"},
			amounts{"9Ti", "900", "5"}, amounts{"9Ti", "900", "5"}, nil},
		"nothing asked for":       {all, amounts{}, amounts{"256Mi", "500m", "60"}, nil},
		"less":                    {all, amounts{"1Mi", "1m", "1"}, amounts{"1Mi", "1m", "1"}, nil},
		"as much as there may be": {all, amounts{"1024Mi", "2000m", "600"}, amounts{"1024Mi", "2000m", "600"}, nil},
		"a little more": {all, amounts{"1073741825", "2.001", "601"}, amounts{},
			[]string{"cpu", "memory", "timeoutSeconds"}},
		"memory": {all, amounts{"2Gi", "", ""}, amounts{}, []string{"memory"}},
		"bounds without defaults": {submit.Bounds{MaxMemory: "1Gi", MaxCPU: "2", MaxTimeout: 600}, amounts{},
			amounts{"1Gi", "2", "600"}, nil},
		"defaults without bounds": {submit.Bounds{DefaultMemory: "1Gi", DefaultCPU: "2", DefaultTimeout: 9},
			amounts{"8Gi", "", "10"}, amounts{"8Gi", "2", "10"}, nil},
		"overflow": {all, amounts{"1e309", "1e309", ""}, amounts{}, []string{"cpu", "memory"}},
		"negative": {all, amounts{"-1Gi", "-1", ""}, amounts{}, []string{"cpu", "memory"}},
		"zero": {submit.Bounds{MaxMemory: "1Gi", MaxCPU: "1"}, amounts{"0", "0", ""}, amounts{},
			[]string{"cpu", "memory"}},
		"tiny": {all, amounts{"1n", "1n", ""}, amounts{"", "", ""}, []string{"memory"}},
		"Exa":  {all, amounts{"9Ei", "9E", ""}, amounts{}, []string{"cpu", "memory"}},
	} {
		for way, send := range waysIn() {
			t.Run(name+"/"+way, func(t *testing.T) {
				w := newWorld(t, bounded(test.bounds))
				got := send(w, test.asks)
				if test.faults != nil {
					w.wantFaults(got, test.faults)
					w.wantNothing()
					return
				}
				_, id, found := strings.Cut(got.Header.Get("Location"), "/api/v1/jobs/")
				if !found {
					t.Fatalf("got %s: %s", got.Status, got.body)
				}
				if diff := cmp.Diff(test.gets, amountsOf(&w.index(job.ID(id)).Spec)); diff != "" {
					t.Errorf("the job has (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func (w *world) wantFaults(got reply, fields []string) {
	w.t.Helper()
	p := w.problem(got, http.StatusUnprocessableEntity)
	found := map[string]bool{}
	for _, f := range p.Errors {
		found[f.Field] = true
	}
	if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(found))); diff != "" {
		w.t.Errorf("faults (-want +got):\n%s%s", diff, got.body)
	}
}

// TestBoundsOfTemplates starts templates that were made when there were other bounds, or none.
func TestBoundsOfTemplates(t *testing.T) {
	var now submit.Bounds
	w := newWorld(t)
	plain := w.put("plain", "", script()...)
	large := w.put("large", plain.Token, script(amounts{"2Gi", "4", "900"}.fields()...)...)
	now = submit.Bounds{DefaultMemory: "256Mi", MaxMemory: "1Gi", MaxCPU: "2", MaxTimeout: 600}
	w.remount(bounded(now))

	first := w.accepted(w.start("plain", plain.Token))
	want := amounts{"256Mi", "2", "600"}
	if diff := cmp.Diff(want, amountsOf(&w.index(first.JobID).Spec)); diff != "" {
		t.Errorf("started by hand (-want +got):\n%s", diff)
	}
	second := w.started(w.event("?template=plain", "{}", eventHeader("1")...))
	if diff := cmp.Diff(want, amountsOf(&w.index(second).Spec)); diff != "" {
		t.Errorf("started by an event (-want +got):\n%s", diff)
	}
	fields := []string{"cpu", "memory", "timeoutSeconds"}
	w.wantFaults(w.start("large", large.Token), fields)
	w.wantFaults(w.event("?template=large", "{}", eventHeader("2")...), fields)
	put := w.call(http.MethodPut, "/api/v1/templates/more", encode(script(field("memory", "1025Mi"))...), "Content-Type",
		contentType)
	w.wantFaults(put, []string{"memory"})
	for _, part := range []string{"1025Mi", "1Gi", "MAX_MEMORY"} {
		if !strings.Contains(string(put.body), part) {
			t.Errorf("%q is not named: %s", part, put.body)
		}
	}
}

// TestBadBounds makes sure that all faults of the settings are reported, and together.
func TestBadBounds(t *testing.T) {
	vars := map[string]string{"STORAGE_DIR": t.TempDir(), "TOKEN_KEYS": base64.StdEncoding.EncodeToString([]byte(key)),
		"K_SINK": "http://sink.example"}
	open := func(more map[string]string) error {
		maps.Copy(more, vars)
		_, err := open(platform.New(more, slog.New(slog.DiscardHandler)))
		return err
	}
	err := open(map[string]string{
		"DEFAULT_MEMORY": "8Gi", "MAX_MEMORY": "4Gi", "DEFAULT_CPU": "lots", "MAX_CPU": "1e309",
		"DEFAULT_TIMEOUT_SECONDS": "-1", "MAX_TIMEOUT_SECONDS": "9999999999",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{
		"DEFAULT_MEMORY, MAX_MEMORY: the default, 8Gi, is more than a job may ask for, 4Gi",
		"DEFAULT_CPU: \"lots\"", "MAX_CPU: \"1e309\"", "DEFAULT_TIMEOUT_SECONDS: -1", "MAX_TIMEOUT_SECONDS: 9999999999",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	for _, pair := range [][2]string{{"CPU", "500m"}, {"TIMEOUT_SECONDS", "10"}} {
		bad := map[string]string{"DEFAULT_" + pair[0]: "600", "MAX_" + pair[0]: pair[1]}
		if err := open(bad); err == nil || !strings.Contains(err.Error(), "DEFAULT_"+pair[0]+", MAX_"+pair[0]) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := open(map[string]string{"MAX_TIMEOUT_SECONDS": "soon"}); err == nil ||
		!strings.Contains(err.Error(), "MAX_TIMEOUT_SECONDS: ") {
		t.Errorf("no number: %v", err)
	}
	good := map[string]string{"DEFAULT_MEMORY": "", "MAX_MEMORY": "0", "DEFAULT_CPU": "1", "MAX_CPU": "1000m",
		"DEFAULT_TIMEOUT_SECONDS": "0", "MAX_TIMEOUT_SECONDS": "60"}
	if err := open(good); err != nil {
		t.Errorf("good ones: %v", err)
	}
}
