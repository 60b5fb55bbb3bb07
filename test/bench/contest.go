package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
)

// contestant takes one turn and returns its figures.
type contestant func(ctx context.Context) ([]float64, error)

// contest is the figures of all turns: by contestant, round and figure. The first contestant is
// ours.
type contest [][][]float64

// contest lets the contestants take turns, once as a warm-up that does not count.
func (r *room) contest(ctx context.Context, all ...contestant) (contest, error) {
	c := make(contest, len(all))
	for round := range r.rounds + 1 {
		for i, turn := range all {
			figures, err := turn(ctx)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				c[i] = append(c[i], figures)
			}
		}
	}
	return c, nil
}

// unit is what a figure counts.
type unit string

const (
	milliseconds unit = "ms"
	seconds      unit = "s"
	mebibytes    unit = "MiB"
	perSecond    unit = "/s"
	calls        unit = "calls"

	mebibytesPerSecond unit = "MiB/s"
)

func (u unit) format(v float64) string {
	digits := 2
	if u == mebibytes || v >= 100 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + string(u)
}

// figure is one comparison: ours of a contest with that of a rival.
type figure struct {
	what    string
	against string
	rival   int // which contestant
	index   int // which figure
	unit
	limit   float64 // of the ratio
	atLeast bool    // the limit is the least, not the most
	missed  string  // why the limit is not kept, if it is not
}

// line is the figure's line in the table. Its ratio is the median of the rounds' ratios, so that a
// machine whose speed drifts does no harm.
func (c contest) line(f figure) line {
	ours, rivals := c.column(0, f.index), c.column(f.rival, f.index)
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / rivals[i]
	}
	return f.line(median(ours), median(rivals), median(ratios), len(ours))
}

func (f figure) line(ours, rival, ratio float64, rounds int) line {
	l := line{
		what: f.what, against: f.against, ours: f.format(ours), rival: f.format(rival), ratio: f.ratio(ratio),
		target: "≤ " + f.ratio(f.limit), met: ratio <= f.limit, rounds: rounds,
	}
	if f.atLeast {
		l.target, l.met = "≥ "+f.ratio(f.limit), ratio >= f.limit
	}
	if !l.met {
		l.reason = f.missed
	}
	return l
}

// ratio writes a ratio so that it can be told from the limit.
func (f figure) ratio(v float64) string {
	if f.limit < 0.1 {
		return fmt.Sprintf("%.3f×", v)
	}
	return fmt.Sprintf("%.2f×", v)
}

func (c contest) lines(figures ...figure) []line {
	lines := make([]line, len(figures))
	for i, f := range figures {
		lines[i] = c.line(f)
	}
	return lines
}

func (c contest) column(contestant, index int) []float64 {
	values := make([]float64, len(c[contestant]))
	for i, figures := range c[contestant] {
		values[i] = figures[index]
	}
	return values
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
