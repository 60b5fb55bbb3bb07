package job_test

import (
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
)

// suggestion finds the suggestion in a message.
func suggestion(message string) string {
	_, after, _ := strings.Cut(message, "did you mean ")
	meant, _, _ := strings.Cut(after, "?")
	return meant
}

// TestMeant writes amounts as people do who do not know Kubernetes' quantities.
func TestMeant(t *testing.T) {
	bytes := func(s string) string { _, m := job.Bytes(s); return m }
	size := func(s string) string { _, m := job.Size(s); return m }
	cpu := func(s string) string { _, m := job.MilliCPU(s); return m }
	for name, test := range map[string]struct {
		message func(string) string
		want    map[string]string
	}{
		"memory": {bytes, map[string]string{
			"256MB": "256M or 256Mi", "256mb": "256M or 256Mi", "256 MB": "256M or 256Mi", "256m": "256M or 256Mi",
			"2048kb": "2048k or 2048Ki", "2000K": "2000k or 2000Ki",
			"1GB": "1G or 1Gi", "1g": "1G or 1Gi", "1gig": "1G or 1Gi", "1GiB": "1Gi", "512mib": "512Mi", "512 mi": "512Mi",
			" 512Mi": "512Mi", "1,5Gi": "1.5Gi",
			"1.5gigabytes": "1.5G or 1.5Gi", "256": "256Mi or 256Gi", "268435456B": "268435456", "268435456 bytes": "268435456",
			"2tb": "2T or 2Ti",
			"1KB": "", "lots": "", "": "", "-1Gi": "", "9999999TB": "", "1e309": "", "256MBit": "", "256Mi": "",
		}},
		"a setting": {size, map[string]string{"1KB": "1k or 1Ki", "64MB": "64M or 64Mi", "10": "", "x": ""}},
		"cpu": {cpu, map[string]string{
			"2000": "2000m", "500mi": "500m", "500M": "500m", "500 m": "500m", "500millicores": "500m", "2 cores": "2",
			"2cpus": "2", "1core": "1", "50%": "500m", "150%": "1500m",
			"1,5": "1.5", " 2": "2", "half": "", "": "", "0": "", "-1": "", "2G": "", "500m": "",
		}},
		"seconds": {job.MeantSeconds, map[string]string{
			"10m": "600", "1h": "3600", "1h30m": "5400", "60s": "60", "60 s": "60", "10 min": "600", "10mins": "600",
			"2 hours": "7200", "7d": "604800", "1 week": "604800",
			"600.0": "600", " 60": "60", "1.5h": "5400", "0.1s": "", "soon": "", "": "", "-5m": "", "9999999999d": "", "5x": "",
		}},
		"phase": {job.MeantPhase, map[string]string{
			"failed": "Failed", "FAILED": "Failed", "error": "Failed", "Canceled": "Cancelled", "canceled": "Cancelled",
			"success": "Succeeded", "Complete": "Succeeded",
			"done": "Succeeded", "queued": "Pending", "runnning": "Running", "run": "Running", "xyz": "", "": "",
		}},
	} {
		for in, want := range test.want {
			if got := suggestion(test.message(in)); got != want {
				t.Errorf("%s %q: suggests %q, want %q; the message is %q", name, in, got, want, test.message(in))
			}
		}
	}
}
