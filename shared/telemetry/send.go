package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// sender sends the spans of one push. After the first request that the collector does not take it
// makes no other, since each may take all of its time.
type sender struct {
	pusher *Pusher
	err    error // why the collector took none
	owed   int   // how many jobs are kept already; counted when it is needed
	listed bool
	lost   int // jobs whose spans could not be kept
	// refused is how many jobs' spans were given up because the collector does not take what they are.
	refused int
}

// send sends the spans of jobs, and keeps the jobs whose spans the collector does not take now.
func (s *sender) send(ctx context.Context, lives []*ledger.Life) error {
	if rest := s.deliver(ctx, lives); len(rest) > 0 {
		return s.keep(ctx, rest)
	}
	return nil
}

// deliver sends the spans of jobs. It returns the jobs that are to be sent later. What the collector
// refuses for good is sent in smaller requests, down to single jobs, which are given up: they would be
// refused each time.
func (s *sender) deliver(ctx context.Context, lives []*ledger.Life) (rest []*ledger.Life) {
	for len(lives) > 0 {
		n, spans := some(lives)
		err := s.upload(ctx, spans)
		switch {
		case err == nil:
		case !isRefused(err) || n == 1 && s.refused == maxRefused:
			s.err = err
			return append(rest, lives...)
		case n == 1:
			s.refused++
			s.pusher.log.WarnContext(ctx, "spans of a job lost: the collector refuses them", "job", lives[0].Index.JobID,
				"error", err)
		default:
			for _, half := range [][]*ledger.Life{lives[:n/2], lives[n/2 : n]} {
				rest = append(rest, s.deliver(ctx, half)...)
			}
		}
		lives = lives[n:]
	}
	return rest
}

// isRefused reports whether the same request would be refused each time. That of a wrong address or
// key would not: they can be mended. The exporter has no type for it (otlptracehttp v1.46, client.go).
func isRefused(err error) bool {
	_, rest, _ := strings.Cut(err.Error(), "failed to send to ")
	_, status, _ := strings.Cut(rest, ": ")
	return slices.ContainsFunc([]string{"400 ", "413 ", "422 "}, func(code string) bool {
		return strings.HasPrefix(status, code)
	})
}

// isPartial reports whether the collector took the request, but not all that is in it, or took all and
// had something to say. It must not be sent again (OTLP, partial success).
func isPartial(err error) bool { return strings.Contains(err.Error(), "OTLP partial success: ") }

// some returns the spans of the first jobs, at least of one, and how many jobs these are.
func some(lives []*ledger.Life) (n int, spans []*tracepb.Span) {
	for n < len(lives) && len(spans) < maxSpans {
		spans = append(spans, spansOf(lives[n])...)
		n++
	}
	return n, spans
}

func (s *sender) upload(ctx context.Context, spans []*tracepb.Span) error {
	if s.err != nil {
		return s.err
	}
	p := s.pusher
	ctx, stop := context.WithTimeout(ctx, sendTimeout)
	defer stop()
	err := p.traces.UploadTraces(ctx, []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: keyValues(p.resource.Attributes())}, SchemaUrl: p.resource.SchemaURL(),
		ScopeSpans: []*tracepb.ScopeSpans{{
			Scope: &commonpb.InstrumentationScope{Name: scope, Version: p.build.Version}, Spans: spans, SchemaUrl: schemaURL,
		}},
	}})
	switch {
	case err == nil:
		return nil
	case isPartial(err):
		p.log.WarnContext(ctx, "the collector did not take all spans", "error", err)
		return nil
	}
	return fmt.Errorf("send the spans: %w", err)
}

// keep stores what the spans of jobs are made from, as far as there is room.
func (s *sender) keep(ctx context.Context, lives []*ledger.Life) error {
	if !s.listed {
		if err := s.countOwed(ctx); err != nil {
			return err
		}
	}
	p := s.pusher
	for _, life := range lives {
		if s.owed >= maxOwed {
			s.lost++
			continue
		}
		data, err := json.Marshal(life)
		if err != nil {
			return fmt.Errorf("encode the spans of job %s: %w", life.Index.JobID, err)
		}
		if _, err := p.store.Put(ctx, spanKeys+string(life.Index.JobID), bytes.NewReader(data)); err != nil {
			return err
		}
		s.owed++
	}
	if s.lost > 0 {
		p.log.WarnContext(ctx, "spans of jobs lost: the collector has not taken those of so many others", "lost", s.lost,
			"kept", s.owed)
		s.lost = 0
	}
	return nil
}

func (s *sender) countOwed(ctx context.Context) error {
	for after := ""; ; {
		keys, err := s.pusher.store.List(ctx, spanKeys, after, batch)
		if err != nil {
			return err
		}
		s.owed += len(keys)
		if len(keys) < batch || s.owed >= maxOwed {
			s.listed = true
			return nil
		}
		after = keys[len(keys)-1]
	}
}

// sendOwed sends the spans that were kept, as long as the collector takes them.
func (s *sender) sendOwed(ctx context.Context) {
	for s.err == nil && ctx.Err() == nil {
		keys, err := s.pusher.store.List(ctx, spanKeys, "", batch)
		if err == nil && len(keys) > 0 {
			err = s.sendKept(ctx, keys)
		}
		if err != nil {
			s.err = err
			return
		}
		if len(keys) < batch {
			return
		}
	}
}

func (s *sender) sendKept(ctx context.Context, keys []string) error {
	var lives []*ledger.Life
	for _, key := range keys {
		var life ledger.Life
		data, err := s.pusher.store.Read(ctx, key)
		if errors.Is(err, job.ErrNotFound) {
			continue // sent by another process
		}
		if err != nil {
			return err
		}
		// What is not what was kept is removed below.
		if err := json.Unmarshal(data, &life); err == nil && life.Index != nil && wanted(&life) {
			lives = append(lives, &life)
		}
	}
	kept := map[string]bool{}
	for _, life := range s.deliver(ctx, lives) {
		kept[spanKeys+string(life.Index.JobID)] = true
	}
	for _, key := range keys {
		if kept[key] {
			continue
		}
		if err := s.pusher.store.Remove(ctx, key); err != nil {
			return err
		}
	}
	return s.err
}
