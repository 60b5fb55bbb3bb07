package events

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
)

// The headers of the handshake by which a sender of webhooks asks whether it may deliver events
// here: CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery", section 4.
const (
	webhookOrigin        = "WebHook-Request-Origin"
	webhookRate          = "WebHook-Request-Rate"
	webhookAllowedOrigin = "WebHook-Allowed-Origin"
	webhookAllowedRate   = "WebHook-Allowed-Rate"
)

const (
	eventMethods     = "OPTIONS, POST"
	maxWebhookOrigin = 255 // as long as a name in DNS
)

// handshake lets a sender of webhooks deliver events, by the same query as their POST. It is no
// CORS: a browser's preflight gets none of the headers that it looks for, and one for a page of
// another site does not come to this.
func (f *Function) handshake(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	if _, err := f.parseSubscription(r); err != nil {
		return err
	}
	origins, rates := r.Header.Values(webhookOrigin), r.Header.Values(webhookRate)
	switch {
	case len(origins) > 1 || len(origins) == 1 && !isWebhookOrigin(origins[0]):
		return api.BadRequest(webhookOrigin,
			"must be the name of the sender's system, such as eventemitter.example.com, once")
	case len(rates) > 1 || len(rates) == 1 && !isRate(rates[0]):
		return api.BadRequest(webhookRate, "must be a number of requests in a minute, 1 or more, once")
	}
	h := w.Header()
	h.Set("Allow", eventMethods)
	if len(origins) == 1 {
		h.Set(webhookAllowedOrigin, origins[0])
		h.Set(webhookAllowedRate, "*") // a queue that is full, and whatever else limits events, answers each of them
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// isWebhookOrigin reports whether text can be a name: it is repeated in the answer.
func isWebhookOrigin(text string) bool {
	other := func(r rune) bool { return r <= ' ' || r > '~' || r == ',' || r == '"' }
	return text != "" && len(text) <= maxWebhookOrigin && !strings.ContainsFunc(text, other)
}

// isRate reports whether text is a positive integer.
func isRate(text string) bool {
	n, err := strconv.ParseUint(text, 10, 32)
	return err == nil && n > 0
}
