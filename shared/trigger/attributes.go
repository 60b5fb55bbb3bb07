package trigger

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
)

// The bounds of an event's attributes. They are kept with the job, become variables of its program
// and are logged; what is large belongs into the data.
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
		if strings.ContainsFunc(one.value, isDisallowed) {
			return disallowed(one.name)
		}
		if len(one.value) > maxAttribute {
			return job.Invalid(one.name, fmt.Sprintf("has more than %d bytes; what is large belongs into the data",
				maxAttribute))
		}
	}
	if n := len(e.Extensions()); n > maxExtensions {
		return job.Invalid("body", fmt.Sprintf("has %d extension attributes; at most %d are taken", n, maxExtensions))
	}
	for name, value := range e.Extensions() {
		if len(name) > maxExtensionName {
			return job.Invalid("body", fmt.Sprintf("has an extension attribute whose name has more than %d characters",
				maxExtensionName))
		}
		text, _ := value.(string)
		if strings.ContainsFunc(text, isDisallowed) {
			return disallowed(name)
		}
		if len(text) > maxExtension {
			return job.Invalid(name, fmt.Sprintf("has more than %d bytes; what is large belongs into the data", maxExtension))
		}
	}
	return nil
}

func disallowed(name string) error {
	return api.BadRequest(name,
		"has a character that no attribute can have, such as a control character (CloudEvents 1.0, String)")
}

// isDisallowed reports whether a character is one that CloudEvents keeps out of strings. The
// variables of a program cannot have all of them either.
func isDisallowed(r rune) bool {
	const firstNonCharacter, lastNonCharacter = 0xFDD0, 0xFDEF
	return unicode.IsControl(r) || firstNonCharacter <= r && r <= lastNonCharacter || r&0xFFFE == 0xFFFE
}
