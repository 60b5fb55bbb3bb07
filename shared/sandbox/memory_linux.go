package sandbox

import (
	"time"
)

// How often the memory of a program is looked at where no cgroup holds it. A brief look reads what
// the kernel has at hand. A whole one takes time that the program has a say in, by how many things
// it has: it comes when the brief one finds too much, and now and then for what only it finds. The
// pause after it is wholeShare times what it took, so that watching costs no more than a part of a
// CPU, but never longer than maxPause.
const (
	memoryPeriod = 100 * time.Millisecond
	wholePeriod  = 500 * time.Millisecond
	wholeShare   = 3
	maxPause     = 500 * time.Millisecond
)

// monitorMemory ends the program when it has more memory than allowed. The function it returns ends
// the watching.
func (i *initStage) monitorMemory() (stop func()) {
	if i.request.MemoryBytes == 0 {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		m := newMeter(i.request.MemoryBytes, i.tree.Processes, i.alone)
		tick := time.NewTicker(memoryPeriod)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if m.exceeded(time.Now()) {
				i.oom.Store(true)
				i.tree.Kill()
				return
			}
		}
	}()
	return func() { close(done) }
}

// meter says whether the processes of a program have more memory together than they may.
type meter struct {
	limit  int64
	pids   func() []int
	alone  bool   // /dev/shm and System V shared memory are the program's alone
	device string // of shared memory without a name, as in maps
	buffer []byte

	kept *holdings // what the last whole look found
	next time.Time // not before this is there another one
}

func newMeter(limit int64, pids func() []int, alone bool) *meter {
	return &meter{limit: limit, pids: pids, alone: alone, device: sharedDevice(), buffer: make([]byte, 64<<10),
		kept: &holdings{}}
}

func (m *meter) exceeded(now time.Time) bool {
	f := m.brief()
	over := f.total(m.kept) > m.limit
	if now.Before(m.next) || !over && now.Before(m.next.Add(wholePeriod)) {
		return false
	}
	over = m.whole(f)
	end := time.Now()
	m.next = end.Add(min(wholeShare*end.Sub(now), maxPause))
	return over
}

// figures are what the kernel says of processes.
type figures struct {
	processes []process
	private   int64 // memory of processes; what several share counts for each, until it is known exactly
	mapped    int64 // shared memory in the address spaces, in the same way
	kernel    int64 // what the kernel has for the processes
	files     int64 // files in memory and System V shared memory, mapped or not
}

func (f *figures) total(h *holdings) int64 {
	return f.private + f.kernel + h.bytes() + max(f.mapped, f.files+h.sharedBytes(f.files))
}

// brief reads what takes no longer for a process that has much.
func (m *meter) brief() *figures {
	pids := m.pids()
	f := &figures{processes: make([]process, 0, len(pids))}
	for _, pid := range pids {
		p := readProcess(pid)
		f.processes = append(f.processes, p)
		f.private += p.private
		f.mapped += p.shared
		f.kernel += p.tables + p.threads*threadBytes
	}
	if m.alone {
		f.files = sharedFiles() + systemV()
	}
	return f
}

// exactBelow is up to which size a process is always read exactly: the kernel adds up the pages of
// a process in batches for each CPU, so that a small one on a large machine can seem to have
// nothing.
const exactBelow = 16 << 20

// whole reads everything, until it is known that it is too much. How long it takes grows with the
// limit at worst: each thing that is to be read is counted, and reading ends with what is too much.
func (m *meter) whole(f *figures) (over bool) {
	h := newHoldings(m)
	for n := range f.processes {
		p := &f.processes[n]
		h.add(p)
		if p.private < exactBelow {
			f.exact(p)
		}
		if f.kernel+f.files+h.bytes() > m.limit {
			return true
		}
	}
	h.addSockets()
	m.kept = h
	if f.total(h) <= m.limit {
		return false
	}
	known := f.kernel + f.files + h.bytes()
	for n := range f.processes {
		p := &f.processes[n]
		if !p.exact {
			f.exact(p)
		}
		if known += p.private; known > m.limit {
			return true
		}
	}
	return f.total(h) > m.limit
}

// exact puts the proportional figures of a process in the place of those that count for each
// process what several share.
func (f *figures) exact(p *process) {
	private, shared, err := proportional(p.pid)
	if err != nil {
		return
	}
	f.private += private - p.private
	f.mapped += shared - p.shared
	p.private, p.shared, p.exact = private, shared, true
}
