package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/budget"
	ours "go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
)

// maxBatch bounds how many jobs one request may start.
const maxBatch = 100

// Read reads the events in a request of at most limit bytes: a single event in binary or structured
// mode, or a batch.
func Read(w http.ResponseWriter, r *http.Request, limit int64) ([]event.Event, error) {
	tooLarge := job.Refuse(job.ErrTooLarge, "body",
		fmt.Sprintf("has more than %d bytes (MAX_EVENT_BYTES); have the event name where its data lies", limit))
	if r.ContentLength > limit { // refuse it without waiting for the body
		return nil, tooLarge
	}
	if wrapped, is := w.(interface{ Unwrap() http.ResponseWriter }); is {
		w = wrapped.Unwrap() // MaxBytesReader tells the server's own writer to close the connection
	}
	body, err := budget.ReadAll(r.Context(), http.MaxBytesReader(w, r.Body, limit), r.ContentLength, limit)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, tooLarge
	}
	switch {
	case errors.Is(err, job.ErrUnavailable), errors.Is(err, context.Canceled):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded): // 408, so that a Broker tries again
		return nil, api.Fail(http.StatusRequestTimeout, "The event took too long to arrive (STALL_TIMEOUT); send it again.")
	case err != nil:
		return nil, api.BadRequest("body", "ends early")
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case event.ApplicationCloudEventsBatchJSON:
		return readBatch(body)
	case event.ApplicationCloudEventsJSON:
		e, err := readStructured(body)
		if err != nil {
			return nil, err
		}
		return []event.Event{*e}, check(*e)
	}
	e, err := readBinary(r.Context(), r.Header, body)
	if err != nil {
		return nil, err
	}
	return []event.Event{*e}, check(*e)
}

// readBinary decodes the headers and has the SDK read them. It does not copy the data.
func readBinary(ctx context.Context, header http.Header, body []byte) (*event.Event, error) {
	header, err := ours.DecodeHeader(header)
	var fault *ours.HeaderError
	if errors.As(err, &fault) {
		return nil, api.BadRequest(printable(fault.Attribute), fault.Message)
	}
	if version := header.Get("Ce-Specversion"); version != "" && version != event.CloudEventsVersionV1 {
		return nil, wrongVersion(version)
	}
	message := cehttp.NewMessage(header, nil)
	if message.ReadEncoding() != binding.EncodingBinary {
		return nil, api.BadRequest("body", "is not a CloudEvent of version 1.0: it has neither ce-specversion among its "+
			"headers nor a Content-Type "+
			event.ApplicationCloudEventsJSON+" or "+event.ApplicationCloudEventsBatchJSON)
	}
	e, err := binding.ToEvent(ctx, message)
	if err != nil {
		return nil, unreadable(err)
	}
	if len(body) > 0 {
		e.DataEncoded = body
	}
	return e, nil
}

func wrongVersion(version string) error {
	return api.BadRequest("specversion", fmt.Sprintf("is %.20q; only CloudEvents of version 1.0 are accepted", version))
}

func notUTF8() error { return api.BadRequest("body", "is not UTF-8, as JSON is") }

func unreadable(err error) error {
	return api.BadRequest("body", "is not a CloudEvent that can be read: "+printable(err.Error()))
}

func readBatch(body []byte) ([]event.Event, error) {
	if !utf8.Valid(body) {
		return nil, notUTF8()
	}
	list, err := elements(body, maxBatch+1)
	if err != nil {
		return nil, api.BadRequest("body", "is not a batch of CloudEvents: "+printable(err.Error()))
	}
	if len(list) > maxBatch {
		return nil, job.Refuse(job.ErrTooLarge, "body", fmt.Sprintf("has more than %d events; send them in several "+
			"batches", maxBatch))
	}
	batch := make([]event.Event, len(list))
	for i, text := range list {
		e, err := structuredEvent(text)
		if err == nil {
			err = check(*e)
		}
		if err != nil {
			return nil, fmt.Errorf("event %d of the batch: %w", i+1, err)
		}
		batch[i] = *e
	}
	return batch, nil
}

// check returns the first fault of an event that could be read.
func check(e event.Event) error {
	if e.Context == nil {
		return api.BadRequest("body", "is not a CloudEvent of version 1.0")
	}
	if e.SpecVersion() != event.CloudEventsVersionV1 {
		return wrongVersion(e.SpecVersion())
	}
	if err := e.Validate(); err != nil {
		return api.BadRequest("body", "is not a valid CloudEvent: "+printable(err.Error()))
	}
	if err := checkAttributes(e); err != nil {
		return err
	}
	for name := range e.Extensions() {
		if name == "data" {
			return api.BadRequest("data", "cannot be the name of an extension attribute")
		}
	}
	if isJSON(e.DataMediaType()) && len(e.Data()) > 0 && !json.Valid(e.Data()) {
		return api.BadRequest("data", "is not the JSON that datacontenttype says it is")
	}
	return nil
}

func isJSON(mediaType string) bool {
	kind, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json"))
}

const maxMessage = 300

// printable makes one short line of a library's message about an event.
func printable(message string) string {
	text := strings.Join(strings.Fields(message), " ")
	return strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
}
