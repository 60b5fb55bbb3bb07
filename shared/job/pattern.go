package job

import (
	"regexp"
	"sync"
)

// pattern returns a regular expression that is compiled when it is first used. Most functions check
// no user input, and compiling all patterns took a quarter of the time to start a function.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
