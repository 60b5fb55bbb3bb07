package secretfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
)

// content is what a file says.
type content struct {
	entries []secret.Entry
	values  map[string]string
}

// maxEntries bounds how many secrets a file has.
const maxEntries = 1000

// parse reads a file, and says all that is wrong with it. The file is looked at node by node, since
// the messages of a decoder have values in them.
func parse(data []byte) (c content, faults []string) {
	c = content{entries: []secret.Entry{}, values: map[string]string{}}
	var document yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	err := d.Decode(&document)
	if errors.Is(err, io.EOF) {
		return c, nil
	}
	if err == nil {
		if again := d.Decode(&yaml.Node{}); !errors.Is(again, io.EOF) {
			return c, []string{"has a second document after ---; put all secrets into the first"}
		}
	}
	if err != nil {
		return c, []string{"is not YAML" + where(err)}
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return c, nil
	}
	wrong := func(n *yaml.Node, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("line %d: %s", n.Line, fmt.Sprintf(format, args...)))
	}
	if root.Kind != yaml.MappingNode {
		wrong(root, "must be names of secrets, each with a value and roles, such as db: {value: …, roles: [user]}")
		return c, faults
	}
	for i := 0; i < len(root.Content); i += 2 {
		name, entry := root.Content[i], root.Content[i+1]
		switch _, twice := c.values[name.Value]; {
		case name.Kind != yaml.ScalarNode || !secret.IsName(name.Value):
			wrong(name, "a name of a secret has lowercase letters, digits, - and ., and perhaps a slash and a key")
			continue
		case twice:
			wrong(name, "%s: is there twice", name.Value)
			continue
		case entry.Kind != yaml.MappingNode:
			wrong(entry, "%s: must have the fields value and roles", name.Value)
			continue
		}
		e := secret.Entry{Name: name.Value, Roles: secret.DefaultRoles()}
		value, found := "", false
		for j := 0; j < len(entry.Content); j += 2 {
			field, node := entry.Content[j], entry.Content[j+1]
			message := ""
			switch field.Value {
			case "value":
				value, message = scalar(node)
				found = true
			case "roles":
				e.Roles, message = roles(node)
			default:
				message = "is not a field of a secret; there are: value, roles"
			}
			if message != "" {
				wrong(node, "%s: %.40q %s", name.Value, field.Value, message)
			}
		}
		if !found {
			wrong(entry, "%s: needs a value", name.Value)
		}
		c.values[e.Name] = value
		c.entries = append(c.entries, e)
	}
	if len(c.entries) > maxEntries {
		wrong(root, "has %d secrets; at most %d are allowed", len(c.entries), maxEntries)
	}
	slices.SortFunc(c.entries, func(a, b secret.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return c, faults
}

// scalar returns the text of a value.
func scalar(n *yaml.Node) (text, message string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!binary" {
		return "", "must be a text; put it in quotes"
	}
	// Which name the variable will have is for the jobs to say.
	for _, fault := range (&job.Spec{}).CheckSecrets(map[string]string{"NAME": n.Value}) {
		return "", fault.Message
	}
	return n.Value, ""
}

func roles(n *yaml.Node) ([]access.Role, string) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return nil, "must be a list of roles, such as [user] or [admin]"
	}
	var names []string
	for _, one := range n.Content {
		names = append(names, one.Value)
	}
	list, err := secret.ParseRoles(names)
	if err != nil {
		return nil, "has a wrong role: choose admin or user"
	}
	return list, ""
}

var lineNumber = regexp.MustCompile(`line [0-9]+`)

// where returns the line that an error names. The rest of it can have a part of a value.
func where(err error) string {
	if line := lineNumber.FindString(strings.ToLower(err.Error())); line != "" {
		return ", near " + line
	}
	return ""
}
