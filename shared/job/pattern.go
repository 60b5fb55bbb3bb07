package job

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first needed. Most functions check
// nothing that users write, and compiling all of them took a quarter of what it costs to start one.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
