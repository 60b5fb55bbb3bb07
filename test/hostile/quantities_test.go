package hostile

import (
	"fmt"
	"strings"
)

// quantityRows are values that are not numbers, that overflow, or that exceed a bound.
func quantityRows() []row {
	none := []string{
		"", " ", "-", "+", ".", "x", "NaN", "Inf", "-Inf", "0x10", "1_000", "1 000", " 1", "1 ", "1\n", "１", "١", "½",
		"1,5", "1.2.3", "--1", "1e", "1e309", "1e-309",
		"1e999999999", "1E", "null", "true", "1;2", "$(id)", "%31", strings.Repeat("9", 25), strings.Repeat("0", 10_000),
	}
	quantities := append([]string{"1Zi", "1Kib", "1ki", "1kB", "1KI", "1mi", "1m1", "1.5.5Gi", "Gi", "0", "-1", "-1Gi",
		"1e99", "2Ei"}, none...)
	whole := append([]string{"-1", "1.0", "1.5", "1e3", "+1", "99999999999", "9223372036854775808",
		"18446744073709551617", "1s", "1h"}, none...)
	var rows []row
	add := func(field, value string) {
		rows = append(rows, refused(422, field, fmt.Sprintf("%s %.30q", field, value), with(text(field, value))))
	}
	for _, value := range append([]string{"1001", "1n0"}, quantities...) {
		add("cpu", value)
	}
	for _, value := range append([]string{"1", "1023Ki", "2Pi", "1048575", "9223372036854775807", "500m"},
		quantities...) {
		add("memory", value)
	}
	for _, field := range []string{"timeoutSeconds", "ttlSecondsAfterFinished", "retries"} {
		for _, value := range whole {
			add(field, value)
		}
	}
	add("timeoutSeconds", "0")
	add("timeoutSeconds", "315360001")
	add("ttlSecondsAfterFinished", "315360001")
	add("retries", "101")
	// Above what the operator allows (MAX_MEMORY=1Gi, MAX_CPU=2, MAX_TIMEOUT_SECONDS=3600).
	for field, values := range map[string][]string{
		"memory": {"1025Mi", "2Gi", "1Ti", "1073741825", "1.01Gi"}, "cpu": {"3", "2001m", "1000", "2.001"},
		"timeoutSeconds": {"3601", "86400"},
	} {
		for _, value := range values {
			add(field, value)
			rows = append(rows, refused(422, field, "template with "+field+" "+value,
				put("quantities", script("true\n", text(field, value)))))
		}
	}
	return rows
}
