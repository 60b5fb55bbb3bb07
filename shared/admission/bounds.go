package admission

import (
	"errors"
	"fmt"
	"strconv"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/profile"
)

// Bounds are what a job gets that asks for nothing, and the most that a job may ask for. Empty or 0
// means that there is no default, or no bound. A bound without a default is the default as well:
// otherwise a job that asks for nothing would have no limit.
type Bounds struct {
	DefaultMemory  string `env:"DEFAULT_MEMORY"`
	MaxMemory      string `env:"MAX_MEMORY"`
	DefaultCPU     string `env:"DEFAULT_CPU"`
	MaxCPU         string `env:"MAX_CPU"`
	DefaultTimeout int64  `env:"DEFAULT_TIMEOUT_SECONDS"`
	MaxTimeout     int64  `env:"MAX_TIMEOUT_SECONDS"`
}

// bound is one of them.
type bound struct {
	field, setting string // MAX_<setting>, DEFAULT_<setting>
	usual, most    string
	read           func(text string) (amount int64, message string)
}

func (b Bounds) all() []bound {
	return []bound{
		{"memory", "MEMORY", b.DefaultMemory, b.MaxMemory, job.Bytes},
		{"cpu", "CPU", b.DefaultCPU, b.MaxCPU, job.MilliCPU},
		{"timeoutSeconds", "TIMEOUT_SECONDS", strconv.FormatInt(b.DefaultTimeout, 10), strconv.FormatInt(b.MaxTimeout, 10),
			seconds},
	}
}

func seconds(text string) (int64, string) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > job.MaxSeconds {
		return 0, fmt.Sprintf("%s is out of range: from 0 to %d", text, job.MaxSeconds)
	}
	return n, ""
}

// unset reports whether a text stands for no amount.
func unset(text string) bool { return text == "" || text == "0" }

// asked is what a job asks for of each, in the order of all.
func asked(s *job.Spec) []string {
	return []string{s.Memory, s.CPU, strconv.FormatInt(s.TimeoutSeconds, 10)}
}

// fill gives a job the defaults of what it does not ask for.
func (b Bounds) fill(s job.Spec) job.Spec {
	values := asked(&s)
	for i, bound := range b.all() {
		for _, text := range []string{bound.usual, bound.most} {
			if unset(values[i]) && !unset(text) {
				values[i] = text
			}
		}
	}
	s.Memory, s.CPU = values[0], values[1]
	s.TimeoutSeconds, _ = strconv.ParseInt(values[2], 10, 64) // from numbers, of the job or of settings that were checked
	return s
}

// excess names what a job of a profile asks for beyond the bounds. job.Spec.Validate names what is not
// an amount at all.
func (b Bounds) excess(s *job.Spec, p *profile.Profile) []job.Fault {
	b = b.under(p)
	var faults []job.Fault
	values := asked(s)
	for i, bound := range b.all() {
		if unset(values[i]) || unset(bound.most) {
			continue
		}
		amount, wrong := bound.read(values[i])
		most, _ := bound.read(bound.most) // was checked
		if wrong == "" && amount > most {
			faults = append(faults, job.Fault{Field: bound.field, Message: fmt.Sprintf(
				"%s is more than a job may ask for here; the most is %s (%s)", values[i], bound.most, origin(p, bound))})
		}
	}
	return faults
}

// check finds bounds that are not amounts, and defaults that no job could have.
func (b Bounds) check() error {
	var errs []error
	for _, bound := range b.all() {
		amounts := map[string]int64{}
		for name, text := range map[string]string{"DEFAULT_": bound.usual, "MAX_": bound.most} {
			if unset(text) {
				continue
			}
			amount, message := bound.read(text)
			if message != "" {
				errs = append(errs, fmt.Errorf("%s%s: %s", name, bound.setting, message))
				continue
			}
			amounts[name] = amount
		}
		if most := amounts["MAX_"]; most > 0 && amounts["DEFAULT_"] > most {
			errs = append(errs, fmt.Errorf("DEFAULT_%s, MAX_%s: the default, %s, is more than a job may ask for, %s",
				bound.setting, bound.setting, bound.usual, bound.most))
		}
	}
	return errors.Join(errs...)
}
