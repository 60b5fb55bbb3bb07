// Package settings finds the server that a command calls, and the credentials for it: flags, then
// the environment, then the configuration file with its contexts.
package settings

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// DefaultURL is the server when nothing names one: what make run starts.
const DefaultURL = "http://localhost:8080"

// Flags are what the command line says about the server. Empty values say nothing.
type Flags struct {
	URL, Context string
}

// Target is a server and how to call it.
type Target struct {
	URL *url.URL
	// Token is what GOJOB_TOKEN or a stored key says; empty if there is none, or Credential has tokens
	// of an issuer.
	Token string
	// Credential is the stored credential that is used; nil for none.
	Credential *Credential
	// Context is the name of the context that the server comes from; empty if it comes from a flag,
	// the environment or the default.
	Context string
	// Source says where the URL comes from, for messages: "--url", "GOJOB_URL", "the context team" or
	// "the default".
	Source string
}

// Resolve finds the server and the credentials for it. getenv is os.Getenv.
func Resolve(flags Flags, getenv func(string) string, dirs Dirs) (Target, error) {
	config, err := LoadConfig(dirs)
	if err != nil {
		return Target{}, err
	}
	target, err := Server(flags, getenv, &config)
	if err != nil {
		return Target{}, err
	}
	if target.Token, err = environmentToken(getenv, target.URL); err != nil || target.Token != "" {
		return target, err
	}
	list, err := LoadCredentials(dirs)
	if err != nil {
		return Target{}, err
	}
	if c := find(list, target.Context, target.URL.String(), config.Current); c != nil {
		target.Credential, target.Token = c, c.Key
	}
	return target, nil
}

// Server finds the server alone, without credentials.
func Server(flags Flags, getenv func(string) string, config *Config) (Target, error) {
	for _, from := range []struct{ url, urlName, context, contextName string }{
		{flags.URL, "--url", flags.Context, "--context"},
		{getenv("GOJOB_URL"), "GOJOB_URL", getenv("GOJOB_CONTEXT"), "GOJOB_CONTEXT"},
		{"", "", config.Current, ConfigCurrent},
	} {
		if from.url == "" && from.context == "" {
			continue
		}
		return named(from.url, from.urlName, from.context, from.contextName, config)
	}
	base, err := ParseURL(DefaultURL)
	return Target{URL: base, Source: "the default"}, err
}

// ConfigCurrent says in messages that the configuration names the current context.
const ConfigCurrent = "the current context"

func named(text, urlName, context, contextName string, config *Config) (Target, error) {
	var target Target
	if text != "" {
		u, err := ParseURL(text)
		if err != nil {
			return Target{}, fmt.Errorf("%s: %w", urlName, err)
		}
		target = Target{URL: u, Source: urlName}
	}
	if context == "" {
		return target, nil
	}
	ctx, err := config.Find(context)
	if err != nil {
		return Target{}, fmt.Errorf("%s: %w", contextName, err)
	}
	if target.URL != nil && target.URL.String() != ctx.URL {
		return Target{}, fmt.Errorf("%s names %s, but %s names %s, which is at %s; give one of them", urlName, target.URL,
			contextName, context, ctx.URL)
	}
	u, err := ParseURL(ctx.URL)
	if err != nil {
		return Target{}, err
	}
	return Target{URL: u, Context: context, Source: "the context " + context}, nil
}

// environmentToken returns GOJOB_TOKEN. If GOJOB_URL is set, the token is for that server and no
// other.
func environmentToken(getenv func(string) string, server *url.URL) (string, error) {
	token := strings.TrimSpace(getenv("GOJOB_TOKEN"))
	if token == "" {
		return "", nil
	}
	if err := CheckToken(token); err != nil {
		return "", fmt.Errorf("GOJOB_TOKEN %w", err)
	}
	if text := getenv("GOJOB_URL"); text != "" {
		if u, err := ParseURL(text); err != nil || u.String() != server.String() {
			return "", nil //nolint:nilerr // it is for another server
		}
	}
	return token, nil
}

// CheckToken says what is wrong with text that cannot be a key or token. It does not repeat the text.
func CheckToken(token string) error {
	const longest = 16 << 10
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c >= 0x7f {
			return fmt.Errorf("has a character at position %d that no key or token has, such as a blank", i+1)
		}
	}
	if len(token) > longest {
		return fmt.Errorf("has %d bytes, more than a key or token", len(token))
	}
	return nil
}

// ParseURL reads the URL of a server. Without a scheme it is http for names of this machine, else
// https. Two texts for one server give the same URL.
func ParseURL(text string) (*url.URL, error) {
	full := strings.TrimSpace(text)
	if !strings.Contains(full, "://") {
		full = "https://" + full
		if u, err := url.Parse(full); err == nil && Loopback(u.Hostname()) {
			u.Scheme = "http"
			full = u.String()
		}
	}
	u, err := url.Parse(full)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the URL of a server, such as %s", hidden(text), DefaultURL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the URL of a server at %s has a user, a query or a fragment; give it without", u.Host)
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); port == "" || port == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// hidden keeps a password that somebody has put into a URL out of messages.
func hidden(text string) string {
	if at := strings.LastIndex(text, "@"); at >= 0 {
		return "…" + text[at:]
	}
	return text
}

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
