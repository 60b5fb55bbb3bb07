package job

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// maxQuantity bounds the text of a quantity. Longer ones are of no use, and Kubernetes' parser
// reads "1e309" as 0.
const maxQuantity = 24

// MilliCPU converts a Kubernetes quantity such as "500m" or "2" to thousandths of a CPU, rounded
// up. The message says what is wrong with it, and is empty for a valid one.
func MilliCPU(s string) (milli int64, message string) {
	milli, message = milliCPU(s)
	if message != "" {
		message += meantCPU(s, func(guess string) bool { _, wrong := milliCPU(guess); return wrong == "" })
	}
	return milli, message
}

func milliCPU(s string) (milli int64, message string) {
	v, message := quantity(s)
	if message != "" {
		return 0, message
	}
	milli, ok := roundUp(v.Mul(v, big.NewRat(1000, 1)))
	if !ok || milli < 1 || milli > 1_000_000 {
		return 0, fmt.Sprintf("%q is out of range: between 1m (a thousandth of a CPU) and 1000", s)
	}
	return milli, ""
}

// CPUMillis returns the CPU limit of a valid specification in thousandths of a CPU; 0 means no
// limit.
func (s *Spec) CPUMillis() int64 {
	milli, message := milliCPU(s.CPU)
	if s.CPU == "" || message != "" {
		return 0
	}
	return milli
}

// MemoryBytes returns the memory limit of a valid specification; 0 means no limit.
func (s *Spec) MemoryBytes() int64 {
	bytes, message := memory(s.Memory)
	if s.Memory == "" || message != "" {
		return 0
	}
	return bytes
}

// Bytes converts a Kubernetes quantity such as "512Mi" or "1G" to bytes, rounded up. The message
// says what is wrong with it, and is empty for a valid one.
func Bytes(s string) (bytes int64, message string) {
	bytes, message = memory(s)
	if message != "" {
		message += meantBytes(s, func(guess string) bool { _, wrong := memory(guess); return wrong == "" })
	}
	return bytes, message
}

func memory(s string) (bytes int64, message string) {
	bytes, message = size(s)
	if message == "" && bytes < 1<<20 {
		return 0, fmt.Sprintf("%q is less than 1Mi, too little for any program; quantities are in bytes, "+
			"such as 512Mi or 1Gi", s)
	}
	return bytes, message
}

// Size is the same as Bytes, without the minimum that a program needs.
func Size(s string) (bytes int64, message string) {
	bytes, message = size(s)
	if message != "" {
		message += meantBytes(s, func(guess string) bool { _, wrong := size(guess); return wrong == "" })
	}
	return bytes, message
}

func size(s string) (bytes int64, message string) {
	v, message := quantity(s)
	if message != "" {
		return 0, message
	}
	bytes, ok := roundUp(v)
	if !ok || bytes > 1<<50 {
		return 0, fmt.Sprintf("%q is out of range: at most 1Pi", s)
	}
	return bytes, ""
}

func quantity(s string) (*big.Rat, string) {
	if len(s) > maxQuantity {
		return nil, fmt.Sprintf("a quantity has at most %d characters", maxQuantity)
	}
	number, suffix, ok := splitQuantity(s)
	if !ok {
		return nil, fmt.Sprintf("%q is not a Kubernetes quantity, such as 500m, 2, 512Mi or 1G", s)
	}
	v, ok := new(big.Rat).SetString(number)
	if !ok {
		return nil, fmt.Sprintf("%q is not a number", s)
	}
	return v.Mul(v, factor(suffix)), ""
}

// splitQuantity splits a Kubernetes quantity: a signed decimal number, then a binary SI suffix, a
// decimal SI suffix or a decimal exponent (k8s.io/apimachinery/pkg/api/resource, Quantity). It uses
// no regular expression, because the agent calls it too, and links none otherwise.
func splitQuantity(s string) (number, suffix string, ok bool) {
	unsigned := s
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		unsigned = s[1:]
	}
	suffix = strings.TrimLeft(unsigned, "0123456789.")
	number = strings.TrimSuffix(s, suffix)
	whole, fraction, _ := strings.Cut(strings.TrimSuffix(unsigned, suffix), ".")
	return number, suffix, whole+fraction != "" && !strings.Contains(fraction, ".") && isSuffix(suffix)
}

func isSuffix(s string) bool {
	switch s {
	case "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E":
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	digits := strings.TrimPrefix(s[1:], "-")
	if len(digits) == len(s)-1 {
		digits = strings.TrimPrefix(digits, "+")
	}
	return (len(digits) == 1 || len(digits) == 2) && strings.Trim(digits, "0123456789") == ""
}

func factor(suffix string) *big.Rat {
	if i, ok := map[string]int64{"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}[suffix]; ok {
		return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(1024), big.NewInt(i), nil))
	}
	exponent, ok := map[string]int{"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15,
		"E": 18}[suffix]
	if !ok {
		exponent, _ = strconv.Atoi(suffix[1:]) // splitQuantity admits digits only
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
	if exponent < 0 {
		return new(big.Rat).SetFrac(big.NewInt(1), power)
	}
	return new(big.Rat).SetInt(power)
}

func roundUp(v *big.Rat) (int64, bool) {
	n := new(big.Int).Add(v.Num(), new(big.Int).Sub(v.Denom(), big.NewInt(1)))
	n.Div(n, v.Denom())
	return n.Int64(), n.IsInt64()
}
