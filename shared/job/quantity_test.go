package job_test

import (
	"math/big"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
)

// The values follow from the definition of a quantity: number, times 1024 to the power of the
// binary suffix or 10 to that of the decimal suffix or exponent, rounded up.
func TestBytes(t *testing.T) {
	const ki, mi, gi, ti = 1 << 10, 1 << 20, 1 << 30, 1 << 40
	for in, want := range map[string]int64{
		"1Mi": mi, "1024Ki": mi, "1048576": mi, "1048576.": mi, "1048576.0": mi, "+1048576": mi, "001048576": mi,
		"1048575.0000000001": mi,
		"512Mi":              512 * mi, "0.5Gi": 512 * mi, ".5Gi": 512 * mi, "1.5Gi": 3 * gi / 2, "5.Mi": 5 * mi, "1Gi": gi,
		"1Ti": ti, "1Pi": 1024 * ti, "0.0009765625Ei": 1024 * ti,
		"1G": 1e9, "1M": 0, "2M": 2e6, "1049k": 1049e3, "1T": 1e12, "1P": 1e15, "0.001E": 1e15, "1e9": 1e9, "1E9": 1e9,
		"1e+9": 1e9, "1e09": 1e9,
		"1.5e9": 15e8, "1000000000000000e-6": 1e9, "2000000000m": 2e6, "2000000000001m": 2e9 + 1, "2000000000000u": 2e6,
		"2000000000000000n": 2e6,
		"123456789":         123456789, "1.1Gi": 1181116007, // 1181116006.4
		"1125899906842624": 1 << 50,
		// out of range
		"1125899906842625": 0, "1.0000000000000001Pi": 0, "1Ei": 0, "1E": 0, "1E3": 0, "9Ei": 0, "1e99": 0, "9e99": 0,
		"99999999999999999999999E": 0, "0": 0, "-1Gi": 0, "-0": 0,
		"1": 0, "512": 0, "512m": 0, "1048575": 0, "1023Ki": 0, "0.9Mi": 0, "1e-99": 0,
		// no quantities
		"": 0, " ": 0, " 1Gi": 0, "1Gi ": 0, "1 Gi": 0, "1Gi\n": 0, "Gi": 0, ".": 0, ".Gi": 0, "+": 0, "-": 0, "+-1Gi": 0,
		"--1Gi": 0, "1Kii": 0, "1KiB": 0, "1GB": 0,
		"1gi": 0, "1GI": 0, "1K": 0, "1ki": 0, "1g": 0, "0x10Mi": 0, "0x100000": 0, "0b1Gi": 0, "0o7Gi": 0, "1_000Gi": 0,
		"1,5Gi": 0, "1.5.5Gi": 0, "1e": 0, "1e309": 0,
		"1e-309": 0, "1e100": 0, "1e9Gi": 0, "1e9.5": 0, "1ee9": 0, "e9": 0, "Inf": 0, "+Inf": 0, "NaN": 0, "infinity": 0,
		"1/2": 0, "4/2Gi": 0, "１Gi": 0, "١Gi": 0, "1Ｇi": 0,
		"½Gi": 0, "1\x00Gi": 0, "\xff": 0, "1p30": 0, "0x1p30": 0,
		// 24 and 25 characters
		"000000000000000000001Gi": gi, "0000000000000000000001Gi": gi, "00000000000000000000001Gi": 0,
	} {
		got, message := job.Bytes(in)
		if got != want || (message == "") != (want != 0) {
			t.Errorf("Bytes(%q) = %d, %q; want %d", in, got, message, want)
		}
	}
	_ = ki
}

func TestMilliCPU(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1000, "2": 2000, "500m": 500, "0.5": 500, ".5": 500, "5.": 5000, "+1": 1000, "0.1": 100, "1m": 1, "0.001": 1,
		"0.0001": 1, "1n": 1, "1u": 1, "1.5m": 2,
		"100m": 100, "1e2": 100_000, "1E2": 100_000, "1e-3": 1, "1k": 1_000_000, "1000": 1_000_000, "1e3": 1_000_000,
		"1000000m": 1_000_000, "0.5k": 500_000, "1000000000n": 1000, "0.25Ki": 256_000, "333.3333m": 334,
		"0": 0, "0m": 0, "-1": 0, "-1m": 0, "1001": 0, "1000.0000001": 0, "1M": 0, "1Ki": 0, "1E": 0, "1E3": 1_000_000,
		"1e309": 0, "1e99": 0, "0.0": 0, "-0": 0,
		"": 0, "one": 0, "1 ": 0, "1cpu": 0, "1,5": 0, "0x1": 0, "１": 0, "1M m": 0, "½": 0, "NaN": 0, "1mm": 0,
	} {
		got, message := job.MilliCPU(in)
		if got != want || (message == "") != (want != 0) {
			t.Errorf("MilliCPU(%q) = %d, %q; want %d", in, got, message, want)
		}
	}
}

func FuzzQuantity(f *testing.F) {
	for _, s := range []string{"1", "500m", "512Mi", "1.5Gi", "1e9", "1E", "1e309", ".5", "5.", "-1", "1Kii",
		"99999999999999999999999E", "1e-99"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bytes, message := job.Bytes(s)
		if (message == "") != (bytes >= 1<<20 && bytes <= 1<<50) || message != "" && bytes != 0 {
			t.Errorf("Bytes(%q) = %d, %q", s, bytes, message)
		}
		milli, message := job.MilliCPU(s)
		if (message == "") != (milli >= 1 && milli <= 1e6) || message != "" && milli != 0 {
			t.Errorf("MilliCPU(%q) = %d, %q", s, milli, message)
		}
		if len(message) > 200 {
			t.Errorf("a message of %d bytes for %.40q", len(message), s)
		}
		// A plain number stays the same number.
		if v, ok := new(big.Rat).SetString(s); ok && bytes != 0 && strings.Trim(s, "0123456789.") == "" {
			n := new(big.Int).Add(v.Num(), new(big.Int).Sub(v.Denom(), big.NewInt(1)))
			if n.Div(n, v.Denom()); n.Cmp(big.NewInt(bytes)) != 0 {
				t.Errorf("Bytes(%q) = %d; want %s", s, bytes, n)
			}
		}
	})
}
