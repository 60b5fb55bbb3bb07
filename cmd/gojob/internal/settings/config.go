package settings

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go-job-orchestrator/shared/job"
)

// Context is a server under a name.
type Context struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
}

// Config is config.yaml: the servers that a user works with. It has no secrets.
type Config struct {
	Current  string    `yaml:"current,omitempty"`
	Contexts []Context `yaml:"contexts"`
}

// ConfigFile is the file of the contexts.
func ConfigFile(d Dirs) string { return filepath.Join(d.Config, "config.yaml") }

// LoadConfig reads the contexts. Each has a name and a URL, and the current one is among them.
func LoadConfig(d Dirs) (Config, error) {
	var c Config
	path := ConfigFile(d)
	document, err := load(path, &c)
	if err != nil || document == nil {
		return Config{}, err
	}
	fault := func(message string, at ...any) error {
		return fmt.Errorf("%s:%d: %s", path, lineOf(document, at...), message)
	}
	seen := map[string]bool{}
	for i := range c.Contexts {
		ctx := &c.Contexts[i]
		if err := CheckName(ctx.Name); err != nil {
			return Config{}, fault(err.Error(), "contexts", i, "name")
		}
		if seen[ctx.Name] {
			return Config{}, fault(fmt.Sprintf("the context %s is there twice; remove one", ctx.Name), "contexts", i, "name")
		}
		seen[ctx.Name] = true
		u, err := ParseURL(ctx.URL)
		if err != nil {
			return Config{}, fault(err.Error(), "contexts", i, "url")
		}
		ctx.URL = u.String()
	}
	if c.Current != "" && !seen[c.Current] {
		return Config{}, fault(fmt.Sprintf("there is no context %s; choose one with: gojob context use", c.Current),
			"current")
	}
	return c, nil
}

var contextName = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.@:]{0,62}$`)

// CheckName says what is wrong with the name of a context.
func CheckName(name string) error {
	if !contextName.MatchString(name) {
		return fmt.Errorf("%q is not a name of a context: it begins with a letter or digit, and has at most 63 "+
			"letters, digits and signs of -_.@: in it", name)
	}
	return nil
}

// Names are the names of all contexts.
func (c *Config) Names() []string {
	var names []string
	for _, ctx := range c.Contexts {
		names = append(names, ctx.Name)
	}
	return names
}

// Find returns the context with a name.
func (c *Config) Find(name string) (Context, error) {
	for _, ctx := range c.Contexts {
		if ctx.Name == name {
			return ctx, nil
		}
	}
	names := c.Names()
	if len(names) == 0 {
		return Context{}, fmt.Errorf("there is no context %q; make one with: gojob login URL", name)
	}
	return Context{}, fmt.Errorf("there is no context %q%s; there are: %s", name, job.Meant(name, names, nil),
		strings.Join(names, ", "))
}

// ChangeConfig reads the contexts, has them changed, and writes them, while no other gojob does.
func ChangeConfig(d Dirs, change func(*Config) error) error {
	return locked(d.Config, func() error {
		c, err := LoadConfig(d)
		if err != nil {
			return err
		}
		if err := change(&c); err != nil {
			return err
		}
		return save(ConfigFile(d), c)
	})
}

// Put adds a context, or replaces the one with its name.
func (c *Config) Put(ctx Context) {
	if i := slices.IndexFunc(c.Contexts, func(o Context) bool { return o.Name == ctx.Name }); i >= 0 {
		c.Contexts[i] = ctx
		return
	}
	c.Contexts = append(c.Contexts, ctx)
}

// Remove removes a context. If it is the current one there is no current one.
func (c *Config) Remove(name string) {
	c.Contexts = slices.DeleteFunc(c.Contexts, func(o Context) bool { return o.Name == name })
	if c.Current == name {
		c.Current = ""
	}
}

// NameFor is the name that a context of a server gets by itself: the host, with a number if another
// server has that name already.
func (c *Config) NameFor(u *url.URL) string {
	for _, ctx := range c.Contexts {
		if ctx.URL == u.String() {
			return ctx.Name
		}
	}
	base := strings.Trim(regexp.MustCompile(`[^-A-Za-z0-9_.]+`).ReplaceAllString(u.Host, "-"), "-")
	name := base
	for i := 2; slices.Contains(c.Names(), name); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}
