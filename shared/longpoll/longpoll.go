// Package longpoll answers a client that waits for a job once the job is over, or the client's time
// is up.
package longpoll

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
)

// Look tells how a job fares.
type Look func(ctx context.Context, id job.ID) (*job.Status, error)

// maxWait is how long an answer is held back at the most: proxies cut off what is silent for
// longer.
const maxWait = time.Minute

// Preferred returns how long the client would wait (RFC 7240: Prefer: wait=30), and whether it said
// so. What is not understood is ignored, as the RFC demands, and the first of several counts.
func Preferred(h http.Header) (time.Duration, bool) {
	for preference := range strings.SplitSeq(strings.Join(h.Values("Prefer"), ","), ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		if err != nil {
			return 0, false
		}
		return min(time.Duration(seconds)*time.Second, maxWait), true
	}
	return 0, false
}

// Applied is the header field that says what was made of the preference.
func Applied(wait time.Duration) (name, value string) {
	return "Preference-Applied", "wait=" + strconv.Itoa(int(wait/time.Second))
}

// Until returns how the job fares, once it is over or the time is up, the client gone or the server
// stopping. It looks when changed has a value, and from time to time: others can change the job
// without a word. changed may be nil.
func Until(
	ctx context.Context, wait time.Duration, look Look, id job.ID, changed <-chan struct{},
) (*job.Status, error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	var pace Pace
	for {
		s, err := look(ctx, id)
		if err != nil || s.Phase.Terminal() || wait == 0 {
			return s, err
		}
		select {
		case <-changed:
		case <-pace.Next():
		case <-end.C:
			wait = 0 // one last look
		case <-ctx.Done():
			return s, nil
		case <-api.Stopping(ctx):
			return s, nil
		}
	}
}

// Pace is how often to look: often at first, when a short job may be over any moment, and rarely in
// the long run, since each look is a few reads of the bucket.
type Pace struct{ pause time.Duration }

const (
	firstPause = 4 * time.Millisecond
	briskPause = 50 * time.Millisecond // up to here the pauses grow by a half each, then by a quarter
	lastPause  = time.Second
)

// Next returns a channel that says when to look again.
func (p *Pace) Next() <-chan time.Time {
	growth := p.pause / 4
	if p.pause < briskPause {
		growth = p.pause / 2
	}
	p.pause = min(max(p.pause+growth, firstPause), lastPause)
	return time.After(p.pause)
}

// Reset says that something has happened, and more may follow soon.
func (p *Pace) Reset() { p.pause = 0 }
