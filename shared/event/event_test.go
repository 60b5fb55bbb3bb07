package event_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
)

const id job.ID = "fe6aa1b2c3d4000102030405060708ff"

func submitted() cloudevent.Event {
	return event.New(event.Submitted, "http://orchestrator", id, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
}

func TestNew(t *testing.T) {
	data, err := json.Marshal(submitted())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"specversion": "1.0", "id": string(id) + "." + event.Submitted,
		"type":   "io.github.go-job-orchestrator.job.submitted.v1",
		"source": "http://orchestrator", "subject": string(id), "time": "2026-03-01T12:00:00Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestJobID(t *testing.T) {
	for _, test := range []struct {
		kind, subject string
		want          error
	}{
		{event.Submitted, string(id), nil}, {event.Submitted, "", job.ErrNotFound},
		{event.Submitted, "../x", job.ErrNotFound}, {event.Submitted, strings.ToUpper(string(id)), job.ErrNotFound},
		{event.Launch, string(id), nil}, {event.Launch, "x", job.ErrNotFound},
		{"another.type", string(id), job.ErrInvalid}, {"", string(id), job.ErrInvalid},
		{event.Submitted + "2", string(id), job.ErrInvalid},
	} {
		e := submitted()
		e.SetType(test.kind)
		e.SetSubject(test.subject)
		got, err := event.JobID(e)
		if !errors.Is(err, test.want) || (got == id) != (test.want == nil) {
			t.Errorf("JobID(%q, %q) = %q, %v; want %v", test.kind, test.subject, got, err, test.want)
		}
	}
}

func TestHTTPSink(t *testing.T) {
	for status, ok := range map[int]bool{200: true, 202: true, 204: true, 400: false, 404: false, 429: false, 500: false,
		503: false} {
		var got *http.Request
		var body []byte
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++
			got = r
			body, _ = io.ReadAll(r.Body)
			w.WriteHeader(status)
		}))
		sink, err := event.NewHTTPSink(server.URL + "/in")
		if err != nil {
			t.Fatal(err)
		}
		if err := sink.Send(t.Context(), submitted()); (err == nil) != ok {
			t.Errorf("%d: %v; want ok %v", status, err, ok)
		}
		server.Close()
		if requests != 1 {
			t.Fatalf("%d: %d requests; want 1, since the reaper is what tries again", status, requests)
		}
		if got.Method != http.MethodPost || got.URL.Path != "/in" || got.Header.Get("Ce-Type") != event.Submitted ||
			got.Header.Get("Ce-Subject") != string(id) ||
			got.Header.Get("Ce-Id") != string(id)+"."+event.Submitted || len(body) != 0 {
			t.Errorf("%d: request %s %s %v with %q", status, got.Method, got.URL, got.Header, body)
		}
		if err := sink.Send(t.Context(), submitted()); err == nil {
			t.Error("an event went to a closed port")
		}
	}
	if _, err := event.NewHTTPSink("://"); err == nil {
		t.Error("a sink without a URL")
	}
}

func TestHTTPSinkIsCancelled(t *testing.T) {
	began := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}))
	defer server.Close()
	sink, err := event.NewHTTPSink(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if err := sink.Send(ctx, submitted()); err == nil {
		t.Error("Send succeeded without an answer")
	}
}

// sinkFunc is a sink that is a function.
type sinkFunc func(context.Context, cloudevent.Event) error

func (f sinkFunc) Send(ctx context.Context, e cloudevent.Event) error { return f(ctx, e) }

func TestAsyncSink(t *testing.T) {
	failed := errors.New("refused")
	quick := event.NewAsyncSink(sinkFunc(func(context.Context, cloudevent.Event) error { return failed }),
		slog.New(slog.DiscardHandler))
	if err := quick.Send(t.Context(), submitted()); !errors.Is(err, failed) {
		t.Errorf("Send: %v; want the answer of a quick sink", err)
	}
	quick.Drain()

	goOn, sent := make(chan struct{}), false
	slow := event.NewAsyncSink(sinkFunc(func(ctx context.Context, _ cloudevent.Event) error {
		<-goOn
		sent = ctx.Err() == nil
		return nil
	}), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	if err := slow.Send(ctx, submitted()); err != nil {
		t.Errorf("Send: %v; want nil when it takes long", err)
	}
	cancel() // the caller's end is not the event's
	close(goOn)
	slow.Drain()
	if !sent {
		t.Error("Drain did not wait for the event, or the event was given up with its caller")
	}
}

// TestAsyncSinkIsBounded has a sink that takes nothing for now: only so many events are sent at a
// time, the others wait in order to be sent as soon as there is a place, and beyond that much
// memory an event is refused.
func TestAsyncSinkIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sending, most, sent atomic.Int64
		goOn := make(chan struct{})
		b := event.NewAsyncSink(sinkFunc(func(context.Context, cloudevent.Event) error {
			if n := sending.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-goOn
			sending.Add(-1)
			sent.Add(1)
			return nil
		}), slog.New(slog.DiscardHandler))
		large := submitted()
		if err := large.SetData("text/plain", strings.Repeat("x", 1<<20)); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for range 2 * event.MaxSending {
			if err := b.Send(t.Context(), submitted()); err != nil {
				t.Fatalf("a small event: %v", err)
			}
		}
		for range 40 {
			if err := b.Send(t.Context(), large); errors.Is(err, job.ErrUnavailable) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if most.Load() != event.MaxSending || refused < 20 || refused > 30 {
			t.Errorf("%d were sent at a time, %d of 40 large ones refused", most.Load(), refused)
		}
		close(goOn)
		synctest.Wait()
		if want := int64(2*event.MaxSending + 40 - refused); sent.Load() != want {
			t.Errorf("%d were sent in the end, want %d", sent.Load(), want)
		}
		if err := b.Send(t.Context(), large); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		b.Drain()
	})
}

// TestDrainLeavesTheQueue has a sink that takes a minute for each event: the process ends when
// those are taken that are being sent.
func TestDrainLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		b := event.NewAsyncSink(sinkFunc(func(context.Context, cloudevent.Event) error {
			time.Sleep(time.Minute)
			sent.Add(1)
			return nil
		}), slog.New(slog.DiscardHandler))
		for range 3 * event.MaxSending {
			go func() { _ = b.Send(t.Context(), submitted()) }()
		}
		synctest.Wait()
		begun := time.Now()
		b.Drain()
		if took := time.Since(begun); took != time.Minute || sent.Load() != event.MaxSending {
			t.Errorf("%d were sent in %s, want %d in a minute", sent.Load(), took, event.MaxSending)
		}
	})
}
