// Package openapi has the two OpenAPI descriptions: that of the API, which the server serves, and
// that of the agent's calls. Tests compare the functions with both.
package openapi

import (
	_ "embed" // for the description
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/routes"
)

//go:embed openapi.yaml
var document []byte

// Document returns the description, in YAML, OpenAPI 3.1.
func Document() []byte { return append([]byte(nil), document...) }

//go:embed openapi-agent.yaml
var agentDocument []byte

// AgentDocument returns the description of the agent's calls. It refers to the other document as
// openapi.yaml.
func AgentDocument() []byte { return append([]byte(nil), agentDocument...) }

// Mount routes GET /openapi.yaml.
func Mount(r *api.Router) {
	r.Handle(routes.GetDescription, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) error {
		w.Header().Set("Content-Type", "application/yaml") // RFC 9512
		_, _ = w.Write(document)                           // nothing can be done for a client that has gone
		return nil
	})
}
