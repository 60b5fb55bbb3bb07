package serve

import (
	"errors"
	"testing"
)

func TestFaultsAreToldOnce(t *testing.T) {
	err := errors.Join(
		errors.New("settings: UPLOAD_TIMEOUT: 0s is too short; set at least 100ms"),
		errors.New("STORAGE_DIR: is a file"),
		errors.New("settings: REAP_INTERVAL: 0s is too short; set at least 10ms; UPLOAD_TIMEOUT: 0s is too short; set at least 100ms; A, B: 0; set at least 10ms"),
		errors.New("STORAGE_DIR: is a file"),
		errors.New("settings: UPLOAD_TIMEOUT: 0s is too short; set at least 100ms"),
	)
	want := `settings: UPLOAD_TIMEOUT: 0s is too short; set at least 100ms
STORAGE_DIR: is a file
settings: REAP_INTERVAL: 0s is too short; set at least 10ms; A, B: 0; set at least 10ms`
	if got := distinct(err); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
