package trigger

import (
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/job"
)

// The bounds of an event's attributes. They are kept with the job, become variables of its program and are logged; what is large
// belongs into the data.
const (
	maxAttribute     = 2 << 10
	maxExtensions    = 64
	maxExtensionName = 64
	maxExtension     = 4 << 10
)

// checkAttributes says what is too long of an event.
func checkAttributes(e event.Event) error {
	for _, one := range []struct{ name, value string }{
		{"id", e.ID()},
		{"source", e.Source()},
		{"type", e.Type()},
		{"subject", e.Subject()},
		{"dataschema", e.DataSchema()},
		{"datacontenttype", e.DataContentType()},
	} {
		if len(one.value) > maxAttribute {
			return job.Invalid(one.name, fmt.Sprintf("has more than %d bytes; what is large belongs into the data", maxAttribute))
		}
	}
	if n := len(e.Extensions()); n > maxExtensions {
		return job.Invalid("body", fmt.Sprintf("has %d extension attributes; at most %d are taken", n, maxExtensions))
	}
	for name, value := range e.Extensions() {
		if len(name) > maxExtensionName {
			return job.Invalid("body", fmt.Sprintf("has an extension attribute whose name has more than %d characters", maxExtensionName))
		}
		if text, ok := value.(string); ok && len(text) > maxExtension {
			return job.Invalid(name, fmt.Sprintf("has more than %d bytes; what is large belongs into the data", maxExtension))
		}
	}
	return nil
}
