package sandbox

import (
	"time"
)

// How often the memory of a program is measured where no cgroup limits it. A brief measurement
// reads a few figures of each process. A whole one counts all kernel objects, so the program can
// make it slow. It follows when the brief one finds too much, and from time to time for what only
// it finds. The pause after it is wholeShare times as long as it took, but at most maxPause, so
// that measuring takes only a part of one CPU.
const (
	memoryPeriod = 100 * time.Millisecond
	wholePeriod  = 500 * time.Millisecond
	wholeShare   = 3
	maxPause     = 500 * time.Millisecond
)

// monitorMemory ends the program when it uses more memory than its limit. stop ends the monitoring.
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

// meter reports whether the processes of a program together use more memory than its limit.
type meter struct {
	limit  int64
	pids   func() []int
	alone  bool   // only the program uses /dev/shm and System V shared memory
	device string // of shared memory without a name, as in maps
	buffer []byte

	kept *kernelObjects // of the last whole measurement
	next time.Time      // the earliest time of the next one
}

func newMeter(limit int64, pids func() []int, alone bool) *meter {
	return &meter{limit: limit, pids: pids, alone: alone, device: sharedDevice(), buffer: make([]byte, 64<<10),
		kept: &kernelObjects{}}
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

// figures are the kernel's figures of all processes together.
type figures struct {
	processes []process
	private   int64 // memory of processes; shared pages count for each process until exact is called
	mapped    int64 // shared memory in the address spaces, in the same way
	kernel    int64 // page tables and threads
	files     int64 // files in memory and System V shared memory, mapped or not
}

func (f *figures) total(k *kernelObjects) int64 {
	return f.private + f.kernel + k.bytes() + max(f.mapped, f.files+k.sharedBytes(f.files))
}

// brief reads the figures that take the same time for small and large processes.
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

// exactBelow is the size below which a process is always read exactly. The kernel counts pages for
// each CPU and adds them up in batches, so on a large machine a small process can seem to have
// none.
const exactBelow = 16 << 20

// whole reads everything, and stops as soon as it is too much. Everything that takes time to read
// is counted as memory, so the time grows with the limit at most.
func (m *meter) whole(f *figures) (over bool) {
	k := newKernelObjects(m)
	for n := range f.processes {
		p := &f.processes[n]
		k.add(p)
		if p.private < exactBelow {
			f.exact(p)
		}
		if f.kernel+f.files+k.bytes() > m.limit {
			return true
		}
	}
	k.addSockets()
	m.kept = k
	if f.total(k) <= m.limit {
		return false
	}
	known := f.kernel + f.files + k.bytes()
	for n := range f.processes {
		p := &f.processes[n]
		if !p.exact {
			f.exact(p)
		}
		if known += p.private; known > m.limit {
			return true
		}
	}
	return f.total(k) > m.limit
}

// exact replaces the figures of a process by proportional ones: shared pages are divided among the
// processes that share them.
func (f *figures) exact(p *process) {
	private, shared, err := proportional(p.pid)
	if err != nil {
		return
	}
	f.private += private - p.private
	f.mapped += shared - p.shared
	p.private, p.shared, p.exact = private, shared, true
}
