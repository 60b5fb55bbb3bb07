package job

import (
	"errors"
	"slices"
	"strings"
)

// The kinds of errors. A callee wraps one with %w and its context; callers act on the kind with
// errors.Is, never on the text. One table in package api maps them to HTTP.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("already exists")
	ErrInvalid      = errors.New("invalid")
	ErrTooLarge     = errors.New("too large")
	ErrUnauthorized = errors.New("unauthorized")
	ErrForbidden    = errors.New("forbidden")
	ErrConflict     = errors.New("conflict")
	ErrGone         = errors.New("gone")
	ErrUnavailable  = errors.New("unavailable") // temporary: worth another try
	ErrExhausted    = errors.New("exhausted")   // no storage left
)

// Fault is one thing that is wrong with a request: the field, by its name in the API, and a message
// for people that says what is wrong and what to do.
type Fault struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Faults are all the things that are wrong with one request. Kind is ErrInvalid unless set.
type Faults struct {
	Kind error
	List []Fault
}

// Invalid returns an error with one fault of kind ErrInvalid.
func Invalid(field, message string) error {
	return &Faults{Kind: ErrInvalid, List: []Fault{{Field: field, Message: message}}}
}

// Refuse returns an error with one fault of the given kind.
func Refuse(kind error, field, message string) error {
	return &Faults{Kind: kind, List: []Fault{{Field: field, Message: message}}}
}

func (f *Faults) Error() string {
	parts := make([]string, len(f.List))
	for i, one := range f.List {
		parts[i] = one.Message
		if one.Field != "" {
			parts[i] = one.Field + ": " + one.Message
		}
	}
	return strings.Join(parts, "; ")
}

// Unwrap makes errors.Is(err, f.Kind) hold.
func (f *Faults) Unwrap() error { return f.Kind }

// Prepend puts the faults of an error of kind ErrInvalid before those that there are, and returns any
// other error.
func (f *Faults) Prepend(err error) error {
	var more *Faults
	if err == nil {
		return nil
	}
	if !errors.As(err, &more) || !errors.Is(err, ErrInvalid) {
		return err
	}
	f.List = append(slices.Clone(more.List), f.List...)
	return nil
}

// add appends a fault when message is not empty.
func (f *Faults) add(field, message string) {
	if message != "" {
		f.List = append(f.List, Fault{Field: field, Message: message})
	}
}

// err returns f as an error, or nil when nothing is wrong.
func (f *Faults) err() error {
	if len(f.List) == 0 {
		return nil
	}
	return f
}
