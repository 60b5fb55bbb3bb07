package prepare

import (
	"strconv"
	"strings"
)

// numbers returns the numbers that a version begins with: 3.11.7rc1 gives 3, 11, 7.
func numbers(version string) []int {
	var list []int
	for part := range strings.SplitSeq(version, ".") {
		end := 0
		for end < len(part) && part[end] >= '0' && part[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(part[:end])
		if err != nil {
			return list
		}
		if list = append(list, n); end < len(part) {
			return list
		}
	}
	return list
}

// compare compares versions by their numbers; missing ones are 0.
func compare(a, b []int) int {
	for i := range max(len(a), len(b)) {
		var x, y int
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return x - y
		}
	}
	return 0
}

func atLeast(version, least string) bool {
	return version != "" && compare(numbers(version), numbers(least)) >= 0
}

// checkPython returns the first condition of requires-python that a version of Python does not meet,
// or "". Conditions that are not understood are left to the installer.
func checkPython(conditions, version string) string {
	is := numbers(version)
	for condition := range strings.SplitSeq(conditions, ",") {
		condition = strings.TrimSpace(condition)
		operator := strings.TrimRight(condition[:min(3, len(condition))], "0123456789. vV")
		want, prefix := strings.CutSuffix(strings.TrimSpace(condition[len(operator):]), ".*")
		wanted := numbers(want)
		if len(wanted) == 0 {
			continue
		}
		begins := compare(is[:min(len(is), len(wanted))], wanted) == 0
		order := compare(is, wanted)
		met := true
		switch operator {
		case ">=":
			met = order >= 0
		case "<=":
			met = order <= 0
		case ">":
			met = order > 0
		case "<":
			met = order < 0
		case "==":
			met = order == 0 || prefix && begins
		case "!=":
			met = order != 0 && (!prefix || !begins)
		case "~=":
			met = order >= 0 && compare(is[:min(len(is), len(wanted)-1)], wanted[:len(wanted)-1]) == 0
		}
		if !met {
			return condition
		}
	}
	return ""
}
