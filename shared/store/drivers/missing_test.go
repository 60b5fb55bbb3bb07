//go:build !s3 || !gs || !azblob

package drivers_test

import (
	"strings"
	"testing"

	"go-job-orchestrator/shared/store/drivers"
)

// TestMissing has a program without the drivers say how to build it with them.
func TestMissing(t *testing.T) {
	missing := 0
	for _, scheme := range []string{"s3", "gs", "azblob"} {
		if _, err := drivers.Open(t.Context(), scheme+"://bucket"); err != nil &&
			strings.Contains(err.Error(), "DRIVERS="+scheme) {
			missing++
		}
	}
	if missing == 0 {
		t.Error("no driver is missing, and none says so")
	}
}
