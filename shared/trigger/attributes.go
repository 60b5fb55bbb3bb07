package trigger

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
)

// The bounds of an event's attributes. Attributes are stored with the job, become variables of its
// program and are logged, so large values belong in the data.
const (
	maxAttribute     = 2 << 10
	maxExtensions    = 64
	maxExtensionName = 64
	maxExtension     = 4 << 10
)

// checkAttributes refuses an event whose attributes are too long, or have characters that
// CloudEvents does not allow.
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
			return job.Invalid(one.name, fmt.Sprintf("has more than %d bytes; put large values in the data",
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
			return job.Invalid(name, fmt.Sprintf("has more than %d bytes; put large values in the data", maxExtension))
		}
	}
	return nil
}

func disallowed(name string) error {
	return api.BadRequest(name,
		"has a character that no attribute can have, such as a control character (CloudEvents 1.0, String)")
}

// isDisallowed reports whether CloudEvents forbids a character in strings. A program's variables
// cannot have some of these characters either.
func isDisallowed(r rune) bool {
	const firstNonCharacter, lastNonCharacter = 0xFDD0, 0xFDEF
	return unicode.IsControl(r) || firstNonCharacter <= r && r <= lastNonCharacter || r&0xFFFE == 0xFFFE
}
