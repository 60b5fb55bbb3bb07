package joblog

// maxRuns bounds an Order. A program that writes to both streams in turn for days gets a coarser one.
const maxRuns = 4096

// Order says in which order the bytes of both streams came, as finely as the files were looked at.
type Order struct {
	Runs []Run `json:"runs"`
}

// Add appends runs.
func (o *Order) Add(runs ...Run) {
	for _, r := range runs {
		if n := len(o.Runs); n > 0 && o.Runs[n-1].Stream == r.Stream {
			o.Runs[n-1].Bytes += r.Bytes
		} else if r.Bytes > 0 {
			o.Runs = append(o.Runs, r)
		}
	}
	if len(o.Runs) > maxRuns {
		o.coarsen()
	}
}

// coarsen joins the runs of each four neighbours by stream, and so halves their number. Neighbours never are of
// the same stream.
func (o *Order) coarsen() {
	old := o.Runs
	o.Runs = make([]Run, 0, maxRuns)
	for ; len(old) > 0; old = old[min(4, len(old)):] {
		joined := map[Stream]int64{}
		for _, r := range old[:min(4, len(old))] {
			joined[r.Stream] += r.Bytes
		}
		first, second := old[0].Stream, Stderr
		if first == Stderr {
			second = Stdout
		}
		o.Add(Run{first, joined[first]}, Run{second, joined[second]})
	}
}

// clone returns a copy that later changes do not touch.
func (o *Order) clone() Order { return Order{Runs: append([]Run(nil), o.Runs...)} }
