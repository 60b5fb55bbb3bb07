package trigger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/jsonpath"
)

// maxReferences bounds how many arguments of a template refer to its event.
const maxReferences = 1000

// isReference reports whether an argument of a template stands for a part of the event.
func isReference(arg string) bool {
	return strings.HasPrefix(arg, "$.") || strings.HasPrefix(arg, "$[")
}

// literal removes the extra $ from an argument that would otherwise be a reference: $$.x means $.x.
func literal(arg string) string {
	if rest, escaped := strings.CutPrefix(arg, "$"); escaped && isReference(rest) {
		return rest
	}
	return arg
}

// CheckArgs returns the faults of the references in the arguments of a template.
func CheckArgs(args []string) []job.Fault {
	var faults []job.Fault
	references := 0
	for i, arg := range args {
		if !isReference(arg) {
			continue
		}
		if references++; references > maxReferences {
			return append(faults, job.Fault{Field: "args", Message: fmt.Sprintf(
				"refer to parts of an event more than %d times; have the program read %s", maxReferences, EventFile)})
		}
		if _, err := jsonpath.Parse(arg); err != nil {
			faults = append(faults, job.Fault{Field: field(i), Message: fmt.Sprintf(
				"%.60q begins like a reference to a part of an event, but is not a JSONPath (RFC 9535): %s; begin it with $%s to "+
					"keep it unchanged",
				arg, printable(err.Error()), arg[:2])})
		}
	}
	return faults
}

func field(i int) string { return fmt.Sprintf("args[%d]", i) }

// Resolve returns the arguments of a template, with its references replaced by the parts of the
// event that they select. Text stays unchanged, other values become JSON, and several values become
// several arguments. Without an event, a reference is an error. The size of the arguments and the
// time to find them are bounded; beyond the bounds Resolve returns an error of kind job.ErrInvalid.
func Resolve(ctx context.Context, args []string, e *Event) ([]string, error) {
	r := resolver{event: e, budget: jsonpath.NewBudget(ctx, jsonpath.DefaultLimits()), out: []string{},
		left: job.MaxExecBytes}
	if faults := CheckArgs(args); e != nil && len(faults) > 0 { // the template was stored before these checks existed
		return nil, &job.Faults{Kind: job.ErrInvalid, List: faults[:1]}
	}
	for i, arg := range args {
		if !isReference(arg) {
			if err := r.add(i, literal(arg)); err != nil {
				return nil, err
			}
			continue
		}
		if e == nil {
			return nil, job.Invalid(field(i), fmt.Sprintf("%.60q refers to a part of an event, and there is none; send args "+
				"to replace it", arg))
		}
		if err := r.resolve(i, arg); err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

// resolver makes the arguments of one job. All arguments share the budget and the index of the
// event's document.
type resolver struct {
	event    *Event
	document *jsonpath.Document
	budget   *jsonpath.Budget
	out      []string
	left     int // bytes left for arguments
}

// add appends an argument.
func (r *resolver) add(i int, text string) error {
	const pointer = 8 // the kernel counts the pointer to each argument too
	if r.left -= len(text) + 1 + pointer; r.left < 0 {
		return job.Invalid(field(i), fmt.Sprintf("makes the arguments larger than %d bytes together; have the program "+
			"read %s", job.MaxExecBytes, EventFile))
	}
	r.out = append(r.out, text)
	return nil
}

func (r *resolver) resolve(i int, arg string) error {
	path, err := jsonpath.Parse(arg)
	if err != nil { // cannot happen: CheckArgs has parsed it
		return job.Invalid(field(i), fmt.Sprintf("%.60q is not a JSONPath (RFC 9535)", arg))
	}
	if r.document == nil {
		if r.document, err = r.event.index(r.budget); err != nil {
			return r.refuse(i, arg, "the event's data", err)
		}
	}
	nodes, err := path.Select(r.document, r.budget)
	if err != nil {
		return r.refuse(i, arg, "it", err)
	}
	if len(nodes) == 0 {
		return job.Invalid(field(i), fmt.Sprintf("%.60q selects nothing of this event", arg))
	}
	for _, n := range nodes {
		text, ok := r.document.Text(n, job.MaxArgBytes)
		if !ok {
			return job.Invalid(field(i), fmt.Sprintf("%.60q selects more than the %d bytes that an argument can have; have "+
				"the program read %s", arg, job.MaxArgBytes, EventFile))
		}
		if err := r.add(i, text); err != nil {
			return err
		}
	}
	return nil
}

// refuse turns an error of package jsonpath into a fault of the argument.
func (r *resolver) refuse(i int, arg, what string, err error) error {
	var limit *jsonpath.LimitError
	switch {
	case errors.As(err, &limit):
		return job.Invalid(field(i), fmt.Sprintf("%.60q cannot be resolved: %s %s; have the program read %s", arg, what,
			limit, EventFile))
	case errors.Is(err, jsonpath.ErrMalformed):
		return job.Invalid("data", "cannot be read as JSON")
	}
	return err
}
