package templates

import (
	"fmt"
	"strings"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/template"
)

// The fields of a template's form that let the Broker's events start it.
const (
	eventTypes   = "eventTypes"
	eventSources = "eventSources"
)

// The bounds of the two fields.
const (
	maxPatterns     = 32
	maxPatternBytes = 256
)

// readEvents reads which events may start a template without a caller; nil: none. Each field is a
// list of patterns with commas between, as in the setting EVENT_TYPES; one that is left out stands
// for all.
func readEvents(fields map[string]string) (*template.Events, []job.Fault) {
	if len(fields) == 0 {
		return nil, nil
	}
	e := &template.Events{}
	var faults []job.Fault
	for field, into := range map[string]*[]string{eventTypes: &e.Types, eventSources: &e.Sources} {
		text, sent := fields[field]
		if !sent {
			text = "*"
		}
		list, message := patterns(text)
		if message != "" {
			faults = append(faults, job.Fault{Field: field, Message: message})
		}
		*into = list
	}
	return e, faults
}

func patterns(text string) (list []string, message string) {
	for pattern := range strings.SplitSeq(text, ",") {
		pattern = strings.TrimSpace(pattern)
		switch {
		case pattern == "":
			return nil, "has an empty pattern; write such as com.example.*,com.example.upload.v1, or * for all"
		case len(pattern) > maxPatternBytes:
			return nil, fmt.Sprintf("has a pattern of %d bytes; at most %d are allowed", len(pattern), maxPatternBytes)
		case strings.Contains(strings.TrimSuffix(pattern, "*"), "*"):
			return nil, fmt.Sprintf("%q has * before its end; it stands at the end only", pattern)
		}
		list = append(list, pattern)
	}
	if len(list) > maxPatterns {
		return nil, fmt.Sprintf("has %d patterns; at most %d are allowed", len(list), maxPatterns)
	}
	return list, ""
}

// fingerprint is that of the job, as it was before templates said which events start them, unless
// this one does.
func fingerprint(sent *form.Job, starts *template.Events) (string, error) {
	print, err := admission.Fingerprint(sent.Spec, sent.Files, sent.Stdin)
	if err != nil || starts == nil {
		return print, err
	}
	return admission.Digest([]any{print, starts})
}
