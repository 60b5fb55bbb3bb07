package admission_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/job"
)

func bounded(b admission.Bounds) admissiontest.Option {
	return func(d *admission.Deps) {
		maps.Copy(d.Env.Vars, map[string]string{
			"DEFAULT_MEMORY": b.DefaultMemory, "MAX_MEMORY": b.MaxMemory, "DEFAULT_CPU": b.DefaultCPU, "MAX_CPU": b.MaxCPU,
			"DEFAULT_TIMEOUT_SECONDS": strconv.FormatInt(b.DefaultTimeout, 10),
			"MAX_TIMEOUT_SECONDS":     strconv.FormatInt(b.MaxTimeout, 10),
		})
	}
}

// amounts are what a job asks for: memory, cpu, timeoutSeconds.
type amounts [3]string

func amountsOf(s *job.Spec) amounts { return amounts{s.Memory, s.CPU, fmt.Sprint(s.TimeoutSeconds)} }

// TestBounds commits jobs that ask for nothing, for what they may have, and for more.
func TestBounds(t *testing.T) {
	all := admission.Bounds{DefaultMemory: "256Mi", MaxMemory: "1Gi", DefaultCPU: "500m", MaxCPU: "2", DefaultTimeout: 60,
		MaxTimeout: 600}
	for name, test := range map[string]struct {
		bounds admission.Bounds
		asks   amounts
		gets   amounts
		faults []string // fields, when it is refused
	}{
		"no bounds": {admission.Bounds{}, amounts{}, amounts{"", "", "0"}, nil},
		"bounds of 0": {admission.Bounds{DefaultMemory: "0", MaxMemory: "0", MaxCPU: "0"},
			amounts{"9Ti", "900", "5"}, amounts{"9Ti", "900", "5"}, nil},
		"nothing asked for":       {all, amounts{}, amounts{"256Mi", "500m", "60"}, nil},
		"less":                    {all, amounts{"1Mi", "1m", "1"}, amounts{"1Mi", "1m", "1"}, nil},
		"as much as there may be": {all, amounts{"1024Mi", "2000m", "600"}, amounts{"1024Mi", "2000m", "600"}, nil},
		"a little more": {all, amounts{"1073741825", "2.001", "601"}, amounts{},
			[]string{"cpu", "memory", "timeoutSeconds"}},
		"memory": {all, amounts{"2Gi", "", ""}, amounts{}, []string{"memory"}},
		"bounds without defaults": {admission.Bounds{MaxMemory: "1Gi", MaxCPU: "2", MaxTimeout: 600}, amounts{},
			amounts{"1Gi", "2", "600"}, nil},
		"defaults without bounds": {admission.Bounds{DefaultMemory: "1Gi", DefaultCPU: "2", DefaultTimeout: 9},
			amounts{"8Gi", "", "10"}, amounts{"8Gi", "2", "10"}, nil},
		"overflow": {all, amounts{"1e309", "1e309", ""}, amounts{}, []string{"cpu", "memory"}},
		"negative": {all, amounts{"-1Gi", "-1", ""}, amounts{}, []string{"cpu", "memory"}},
		"zero": {admission.Bounds{MaxMemory: "1Gi", MaxCPU: "1"}, amounts{"0", "0", ""}, amounts{},
			[]string{"cpu", "memory"}},
		"tiny": {all, amounts{"1n", "1n", ""}, amounts{"", "", ""}, []string{"memory"}},
		"Exa":  {all, amounts{"9Ei", "9E", ""}, amounts{}, []string{"cpu", "memory"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := admissiontest.New(t, nil, bounded(test.bounds))
			d := python()
			d.Memory, d.CPU = test.asks[0], test.asks[1]
			d.TimeoutSeconds, _ = strconv.ParseInt(test.asks[2], 10, 64)
			d.Faults = d.Validate()
			index, err := commit(t.Context(), w.Controller(), d, "a.py=x")
			var faults *job.Faults
			if errors.As(err, &faults) {
				var fields []string
				for _, f := range faults.List {
					fields = append(fields, f.Field)
				}
				slices.Sort(fields)
				if diff := cmp.Diff(test.faults, slices.Compact(fields)); diff != "" {
					t.Errorf("faults (-want +got):\n%s%v", diff, err)
				}
				w.WantNothing()
				return
			}
			if err != nil || test.faults != nil {
				t.Fatalf("got %v, want the faults %q", err, test.faults)
			}
			if diff := cmp.Diff(test.gets, amountsOf(&w.Index(index.JobID).Spec)); diff != "" {
				t.Errorf("the job has (-want +got):\n%s", diff)
			}
		})
	}
}
