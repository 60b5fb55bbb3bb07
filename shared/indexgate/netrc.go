package indexgate

import "strings"

// machine is what a netrc file has of a host.
type machine struct{ host, login, password string }

// parseNetrc reads a file in the format of netrc(5). Macros end it.
func parseNetrc(text string) []machine {
	var list []machine
	var words []string
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); !strings.HasPrefix(trimmed, "#") {
			words = append(words, strings.Fields(trimmed)...)
		}
	}
	for i := 0; i < len(words); i++ {
		if words[i] == "macdef" {
			break
		}
		if words[i] == "default" {
			list = append(list, machine{})
			continue
		}
		if i+1 >= len(words) {
			break
		}
		value := words[i+1]
		switch last := len(list) - 1; {
		case words[i] == "machine":
			list = append(list, machine{host: value})
		case last < 0:
			continue
		case words[i] == "login":
			list[last].login = value
		case words[i] == "password":
			list[last].password = value
		}
		i++
	}
	var named []machine
	for _, m := range list {
		if m.host != "" {
			named = append(named, m)
		}
	}
	return named
}
