package api

import (
	"strings"
	"time"
)

// maxDuration is the longest time that a request can name: ten years.
const maxDuration = 10 * 365 * 24 * time.Hour

// Duration reads a time such as 720h, 90m or 30d, and says what is wrong with it, or nothing.
func Duration(text string) (time.Duration, string) {
	const message = "is not a time from 0s to 87600h, such as 720h, 90m or 30d"
	unit := time.Duration(1)
	if days, found := strings.CutSuffix(text, "d"); found {
		text, unit = days+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxDuration/unit {
		return 0, message
	}
	return unit * d, ""
}
