// Package settings finds the server that a command calls, and the credentials for it: flags, then
// the environment, then the configuration file with its contexts.
package settings

import (
	"fmt"
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
	URL   *url.URL
	Token string
	// Context is the name of the context that the server comes from; empty if it comes from a flag,
	// the environment or the default.
	Context string
	// Source says where the URL comes from, for messages: "--url", "GOJOB_URL", "the context team" or
	// "the default".
	Source string
}

// Resolve finds the server. getenv is os.Getenv.
func Resolve(flags Flags, getenv func(string) string) (Target, error) {
	text, source := flags.URL, "--url"
	if text == "" {
		text, source = getenv("GOJOB_URL"), "GOJOB_URL"
	}
	if text == "" {
		text, source = DefaultURL, "the default"
	}
	base, err := ParseURL(text)
	if err != nil {
		return Target{}, fmt.Errorf("%s: %w", source, err)
	}
	return Target{URL: base, Token: getenv("GOJOB_TOKEN"), Source: source}, nil
}

// ParseURL reads the URL of a server. Without a scheme it is http for names of this machine, else
// https.
func ParseURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		scheme := "https://"
		if host, _, _ := strings.Cut(text, ":"); host == "localhost" || host == "127.0.0.1" {
			scheme = "http://"
		}
		text = scheme + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of a server, such as %s", text, DefaultURL)
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	return u, nil
}
