package settings

import (
	"errors"
	"fmt"
	"time"
)

// Duration is a setting that is a time span, and the bounds within which it makes sense: below them
// something would spin, above them time would overflow.
type Duration struct {
	Name            string
	Value, Min, Max time.Duration
}

// Upload is UPLOAD_TIMEOUT, which several functions have.
func Upload(d time.Duration) Duration {
	return Duration{Name: "UPLOAD_TIMEOUT", Value: d, Min: 100 * time.Millisecond, Max: 7 * 24 * time.Hour}
}

// CheckDurations names those that are out of bounds.
func CheckDurations(list ...Duration) error {
	var errs []error
	for _, d := range list {
		switch {
		case d.Value < 0:
			errs = append(errs, fmt.Errorf("%s: %s is a negative time; set at least %s", d.Name, d.Value, d.Min))
		case d.Value < d.Min:
			errs = append(errs, fmt.Errorf("%s: %s is too short; set at least %s", d.Name, d.Value, d.Min))
		case d.Value > d.Max:
			errs = append(errs, fmt.Errorf("%s: %s is too long; set at most %s", d.Name, d.Value, d.Max))
		}
	}
	return errors.Join(errs...)
}
