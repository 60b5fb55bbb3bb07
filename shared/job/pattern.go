package job

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first used, because compiling all of
// them took a quarter of the time to start a function. A pattern is not made by a call, so that a
// command that uses none, such as the agent, links none.
type pattern struct {
	expr     string
	once     sync.Once
	compiled *regexp.Regexp
}

func (p *pattern) get() *regexp.Regexp {
	p.once.Do(func() { p.compiled = regexp.MustCompile(p.expr) })
	return p.compiled
}
