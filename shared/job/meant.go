package job

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// looseQuantity is an amount as people write it who do not know Kubernetes' suffixes.
var looseQuantity = pattern{expr: `^ *([0-9]+(?:[.,][0-9]+)?)[ _-]*([A-Za-z]*|%) *$`}

// meantBytes returns the part of a message that suggests an amount of bytes, or "". valid reports
// whether a guess would be accepted.
func meantBytes(s string, valid func(guess string) bool) string {
	number, unit := amount(s)
	if number == "" {
		return ""
	}
	var guesses []string
	switch unit = strings.TrimSuffix(unit, "s"); unit {
	case "":
		guesses = []string{number + "Mi", number + "Gi"}
	case "b", "byte":
		guesses = []string{number}
	case "k", "kb", "kbyte", "kilobyte", "m", "mb", "mbyte", "meg", "megabyte",
		"g", "gb", "gbyte", "gig", "gigabyte", "t", "tb", "terabyte":
		letter := strings.ToUpper(unit[:1])
		decimal := letter
		if letter == "K" {
			decimal = "k"
		}
		guesses = []string{number + decimal, number + letter + "i"}
	case "ki", "kib", "mi", "mib", "gi", "gib", "ti", "tib":
		guesses = []string{number + strings.ToUpper(unit[:1]) + "i"}
	}
	return didYouMean(guesses, valid)
}

// meantCPU is the same as meantBytes, for CPUs.
func meantCPU(s string, valid func(guess string) bool) string {
	number, unit := amount(s)
	if number == "" {
		return ""
	}
	var guesses []string
	switch strings.TrimSuffix(unit, "s") {
	case "", "m", "mi", "milli", "millicore", "millicpu", "mcpu":
		guesses = []string{number}
		if unit != "" || valid(number+"m") && !valid(number) {
			guesses = []string{number + "m"}
		}
	case "c", "core", "cpu", "vcpu":
		guesses = []string{number}
	case "%":
		if n, err := strconv.ParseFloat(number, 64); err == nil {
			guesses = []string{strconv.FormatFloat(10*n, 'f', -1, 64) + "m"}
		}
	}
	return didYouMean(guesses, valid)
}

func amount(s string) (number, unit string) {
	if len(s) > maxQuantity {
		return "", ""
	}
	m := looseQuantity.get().FindStringSubmatch(s)
	if m == nil {
		return "", ""
	}
	return strings.Replace(m[1], ",", ".", 1), strings.ToLower(m[2])
}

func didYouMean(guesses []string, valid func(string) bool) string {
	guesses = slices.DeleteFunc(guesses, func(g string) bool { return !valid(g) })
	if len(guesses) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(guesses, " or ") + "?"
}

// looseSeconds is a time as people write it.
var looseSeconds = pattern{expr: `^ *([0-9]+(?:\.[0-9]+)?) *([A-Za-z]*) *$`}

// MeantSeconds returns the part of a message that suggests a number of whole seconds for text such
// as 10m, or "".
func MeantSeconds(s string) string {
	d, err := time.ParseDuration(s)
	if m := looseSeconds.get().FindStringSubmatch(s); err != nil && len(s) <= maxQuantity && m != nil {
		units := map[string]string{
			"": "1s", "sec": "1s", "second": "1s", "min": "1m", "minute": "1m", "hr": "1h", "hour": "1h",
			"d": "24h", "day": "24h", "w": "168h", "week": "168h",
		}
		unit, known := units[strings.ToLower(m[2])]
		if !known {
			unit, known = units[strings.TrimSuffix(strings.ToLower(m[2]), "s")]
		}
		n, parseErr := strconv.ParseFloat(m[1], 64)
		each, unitErr := time.ParseDuration(unit)
		if known && parseErr == nil && unitErr == nil && n*each.Seconds() <= MaxSeconds {
			d, err = time.Duration(n*float64(each)), nil
		}
	}
	seconds := int64(d / time.Second)
	if err != nil || seconds < 1 || seconds > MaxSeconds {
		return ""
	}
	return "; did you mean " + strconv.FormatInt(seconds, 10) + "?"
}

// MeantPhase returns the part of a message that suggests a phase, or "".
func MeantPhase(s string) string {
	var names []string
	for _, p := range Phases() {
		names = append(names, string(p))
	}
	others := map[string]string{}
	for phase, words := range map[Phase]string{
		Pending: "queued waiting created", Running: "active started",
		Succeeded: "success successful complete completed done ok finished",
		Failed:    "error errored failure", Cancelled: "aborted stopped",
	} {
		for word := range strings.FieldsSeq(words) {
			others[word] = string(phase)
		}
	}
	return Meant(s, names, others)
}
