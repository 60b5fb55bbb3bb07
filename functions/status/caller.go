package status

import (
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
)

// caller answers with who asks, and what they may do.
func (f *Function) caller(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	c, err := access.Require(r.Context(), access.Read)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, struct {
		Owner string      `json:"owner"`
		Role  access.Role `json:"role"`
		Via   string      `json:"via"`
	}{c.Owner, c.Role, c.Via})
	return nil
}
