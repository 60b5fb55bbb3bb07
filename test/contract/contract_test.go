// Package contract holds the service to its description: every call that the tests make, good or
// bad, is checked against shared/openapi, and every status that is described must have been
// answered.
package contract

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	validation "github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/responses"
	"github.com/pb33f/libopenapi-validator/router"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// TestContract makes every call there is and holds the answers to the description.
func TestContract(t *testing.T) {
	c := load(t)
	t.Run("all", func(t *testing.T) { testAll(t, c) })
	t.Run("telemetry", func(t *testing.T) { testTelemetry(t, c) })
	t.Run("functions", func(t *testing.T) { testFunctions(t, c) })
	if pattern := flag.Lookup("test.run").Value.String(); strings.Contains(pattern, "/") {
		return // only a part of the calls was made
	}
	for _, m := range c.missing(exceptions()) {
		t.Error(m)
	}
}

// exceptions lists the described answers that no test can get, with the reason. It is empty.
func exceptions() map[answer]string { return nil }

// contract is the description, and what has been answered of it.
type contract struct {
	document  *v3.Document
	validator validator.Validator
	schemas   schema_validation.SchemaValidator
	router    router.Router
	options   []config.Option

	mu   sync.Mutex
	seen map[answer]bool
}

// answer is one kind of answer that the description has. Type is empty where no body is described.
type answer struct{ operation, status, contentType string }

func (a answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", a.operation, a.status, a.contentType))
}

// transportHeaders are those that belong to HTTP itself, and are described nowhere.
func transportHeaders() []string {
	return []string{
		"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Length", "Content-Type", "Date", "Host",
		"Origin", "Trailer", "User-Agent",
	}
}

// load reads both descriptions.
func load(t *testing.T) *contract {
	t.Helper()
	return parse(t, bundle(t))
}

func parse(t *testing.T, description []byte) *contract {
	t.Helper()
	source, err := libopenapi.NewDocument(description)
	if err != nil {
		t.Fatal(err)
	}
	model, err := source.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	options := []config.Option{
		config.WithFormatAssertions(), config.WithContentAssertions(), config.WithStandardBodyDecoders(),
		// Strict about headers and parameters. Bodies have additionalProperties, which say more than yes
		// or no.
		config.WithRejectUndeclaredRequestBody(), config.WithStrictMode(),
		config.WithStrictIgnoredHeaders(transportHeaders()...),
		config.WithStrictIgnorePaths("$.body.**", "$.body[*].**"),
	}
	v, errs := validator.NewValidator(source, options...)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return &contract{
		document: &model.Model, validator: v, schemas: schema_validation.NewSchemaValidator(options...),
		router: router.NewRouter(&model.Model, router.WithPathOnlyMatching()), options: options, seen: map[answer]bool{},
	}
}

// checked makes calls, and returns an error for those that are not as described.
type checked struct {
	*contract
	next http.RoundTripper
}

var _ http.RoundTripper = checked{}

// RoundTrip implements http.RoundTripper.
func (c checked) RoundTrip(r *http.Request) (*http.Response, error) {
	sent, err := drain(&r.Body)
	if err != nil {
		return nil, err
	}
	got, err := c.next.RoundTrip(withBody(r, sent))
	if err != nil {
		return nil, err
	}
	body, err := drain(&got.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer to %s %s: %w", r.Method, r.URL.Path, err)
	}
	got.Body = io.NopCloser(bytes.NewReader(body))
	if err := c.check(withBody(r, sent), got, body); err != nil {
		return nil, fmt.Errorf("%s %s: %s is not as described: %w\n%s", r.Method, r.URL, got.Status, err, excerpt(body))
	}
	return got, nil
}

func drain(body *io.ReadCloser) ([]byte, error) {
	if *body == nil {
		return nil, nil
	}
	defer (*body).Close()
	return io.ReadAll(*body)
}

func withBody(r *http.Request, body []byte) *http.Request {
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return r
}

func excerpt(body []byte) string { return fmt.Sprintf("%.2000s", body) }

// check compares a call with the description. The request must be as described, unless the server
// refused it for that reason.
func (c *contract) check(r *http.Request, got *http.Response, body []byte) error {
	answered := *got
	answered.Body = io.NopCloser(bytes.NewReader(body))
	answered.Header = got.Header.Clone()
	maps.Copy(answered.Header, got.Trailer) // a description has no other place for trailers
	r = asDescribed(r)
	route, err := c.router.FindRoute(r)
	switch {
	case errors.Is(err, router.ErrPathNotFound):
		return c.checkUndescribed(r, &answered, body, http.StatusNotFound, "NotFound")
	case errors.Is(err, router.ErrMethodNotAllowed):
		return c.checkUndescribed(r, &answered, body, http.StatusMethodNotAllowed, "MethodNotAllowed")
	case err != nil:
		return err
	}
	if !isRequestFault(got.StatusCode) {
		if ok, errs := c.validator.ValidateHttpRequestSync(r); !ok {
			return fmt.Errorf("request: %w", joined(errs))
		}
	}
	if ok, errs := c.validator.ValidateHttpResponse(r, &answered); !ok {
		return fmt.Errorf("response: %w", joined(errs))
	}
	return c.note(route.Operation, got)
}

var indexCall = regexp.MustCompile(`^/agent/v1/jobs/[^/]+/index/[^/]+/`)

// asDescribed returns a request with the path as OpenAPI can describe it: its parameters have no
// slashes, so those of a path of a package index are escaped.
func asDescribed(r *http.Request) *http.Request {
	path := r.URL.EscapedPath()
	call := indexCall.FindString(path)
	if call == "" {
		return r
	}
	address := *r.URL
	address.RawPath = call + strings.ReplaceAll(path[len(call):], "/", "%2F")
	described := *r
	described.URL = &address
	return &described
}

func isRequestFault(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// checkUndescribed checks the answer to a path or method that is not described.
func (c *contract) checkUndescribed(
	r *http.Request, got *http.Response, body []byte, status int, component string,
) error {
	want := c.document.Components.Responses.GetOrZero(component)
	if want == nil {
		return fmt.Errorf("no response %s is described", component)
	}
	if got.StatusCode != status {
		return fmt.Errorf("status %d, want %d: the path or method is not described", got.StatusCode, status)
	}
	const problem = "application/problem+json"
	if ct := got.Header.Get("Content-Type"); ct != problem {
		return fmt.Errorf("content type %q, want %q", ct, problem)
	}
	if ok, errs := responses.ValidateResponseHeaders(r, got, want.Headers, "", fmt.Sprint(status), c.options...); !ok {
		return joined(errs)
	}
	if r.Method == http.MethodHead {
		return nil
	}
	if ok, errs := c.schemas.ValidateSchemaBytes(want.Content.GetOrZero(problem).Schema.Schema(), body); !ok {
		return joined(errs)
	}
	return nil
}

// note remembers which of the described answers this was.
func (c *contract) note(o *v3.Operation, got *http.Response) error {
	a := answer{operation: o.OperationId, status: fmt.Sprint(got.StatusCode)}
	described := o.Responses.Codes.GetOrZero(a.status)
	if described == nil && o.Responses.Default != nil {
		a.status, described = "default", o.Responses.Default
	}
	if described == nil {
		return fmt.Errorf("status %s is not described", a.status)
	}
	if described.Content != nil && described.Content.Len() > 0 {
		sent, _, _ := strings.Cut(got.Header.Get("Content-Type"), ";")
		for _, name := range []string{"*/*", sent} {
			if _, found := described.Content.Get(name); found {
				a.contentType = name
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[a] = true
	return nil
}

// described lists every answer that the description has.
func (c *contract) described() map[answer]bool {
	all := map[answer]bool{}
	for _, item := range c.document.Paths.PathItems.FromOldest() {
		for _, o := range item.GetOperations().FromOldest() {
			add := func(status string, response *v3.Response) {
				if response.Content == nil || response.Content.Len() == 0 {
					all[answer{o.OperationId, status, ""}] = true
					return
				}
				for contentType := range response.Content.KeysFromOldest() {
					all[answer{o.OperationId, status, contentType}] = true
				}
			}
			for status, response := range o.Responses.Codes.FromOldest() {
				add(status, response)
			}
			if o.Responses.Default != nil {
				add("default", o.Responses.Default)
			}
		}
	}
	return all
}

// missing lists the described answers that no test has received, except those in except. An entry
// in except that is not needed is listed too.
func (c *contract) missing(except map[answer]string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	described := c.described()
	for a := range described {
		if _, excepted := except[a]; !c.seen[a] && !excepted {
			list = append(list, "never answered: "+a.String())
		}
	}
	for a := range except {
		if c.seen[a] || !described[a] {
			list = append(list, "needless exception: "+a.String())
		}
	}
	slices.Sort(list)
	return list
}

// joined is what the validator found, in one error.
func joined(found []*validation.ValidationError) error {
	var errs []error
	for _, e := range found {
		if len(e.SchemaValidationErrors) == 0 {
			errs = append(errs, fmt.Errorf("%s: %s", e.Message, e.Reason))
		}
		for _, s := range e.SchemaValidationErrors {
			errs = append(errs, fmt.Errorf("%s: %s: %s (%s)", e.Message, s.FieldPath, s.Reason, s.KeywordLocation))
		}
	}
	return errors.Join(errs...)
}
