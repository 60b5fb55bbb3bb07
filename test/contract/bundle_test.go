package contract

import (
	"bytes"
	"testing"

	yaml "github.com/pb33f/go-yaml"

	"go-job-orchestrator/shared/openapi"
)

// bundle is the description of the API with the agent's calls in it, as one document.
func bundle(t *testing.T) []byte {
	t.Helper()
	var all, agent yaml.Node
	decode := func(data []byte, into *yaml.Node) {
		if err := yaml.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	decode(openapi.Document(), &all)
	decode(bytes.ReplaceAll(openapi.AgentDocument(), []byte("openapi.yaml#/"), []byte("#/")), &agent)
	security := entry(&agent, "security")
	paths := entry(&agent, "paths")
	for i := 1; i < len(paths.Content); i += 2 {
		item := paths.Content[i]
		for j := 0; j < len(item.Content); j += 2 {
			isOperation := item.Content[j].Value != "parameters"
			if isOperation && entry(item.Content[j+1], "security").Kind == 0 { // else it has its own
				put(t, item.Content[j+1], &yaml.Node{Kind: yaml.ScalarNode, Value: "security"}, security)
			}
		}
		put(t, entry(&all, "paths"), paths.Content[i-1], item)
	}
	components := entry(&agent, "components")
	for i := 0; i < len(components.Content); i += 2 {
		if kind := components.Content[i].Value; kind != "securitySchemes" { // which are those of the API
			list := components.Content[i+1]
			for j := 0; j < len(list.Content); j += 2 {
				put(t, entry(entry(&all, "components"), kind), list.Content[j], list.Content[j+1])
			}
		}
	}
	text, err := yaml.Marshal(&all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// entry is the value of a key of a mapping, or of the document's.
func entry(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.DocumentNode {
		n = n.Content[0]
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return &yaml.Node{}
}

// put adds an entry to a mapping that must not have it.
func put(t *testing.T, n, key, value *yaml.Node) {
	t.Helper()
	if entry(n, key.Value).Kind != 0 {
		t.Fatalf("%s is in both descriptions", key.Value)
	}
	n.Content = append(n.Content, key, value)
}
