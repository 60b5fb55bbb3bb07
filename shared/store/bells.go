package store

import (
	"strings"
	"sync"
)

// bells tell who waits in this process that something has changed in a folder. They are rung by the Stores over one bucket that
// OpenDir or OpenBucket made together, so what other processes change passes unnoticed: whoever waits must look from time to time as well.
type bells struct {
	mu   sync.Mutex
	hung map[string]map[chan struct{}]struct{} // by folder
}

// Watch returns a channel that has a value once something was stored or removed right in one of the folders, whose names end with a
// slash, through this Store. Several changes may be one value. Changes in other processes are not told, nor those before the call.
// leave is to be called by who does not watch any longer.
func (s *Store) Watch(folders ...string) (changed <-chan struct{}, leave func()) {
	bell := make(chan struct{}, 1) // so that nobody who rings waits for a slow watcher
	b := s.bells
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, folder := range folders {
		if b.hung[folder] == nil {
			b.hung[folder] = map[chan struct{}]struct{}{}
		}
		b.hung[folder][bell] = struct{}{}
	}
	return bell, func() { b.take(bell, folders) }
}

// Watchers returns how many watch a folder.
func (s *Store) Watchers(folder string) int {
	s.bells.mu.Lock()
	defer s.bells.mu.Unlock()
	return len(s.bells.hung[folder])
}

func newBells() *bells { return &bells{hung: map[string]map[chan struct{}]struct{}{}} }

func (b *bells) take(bell chan struct{}, folders []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, folder := range folders {
		delete(b.hung[folder], bell)
		if len(b.hung[folder]) == 0 {
			delete(b.hung, folder)
		}
	}
}

// ring tells of a change of a key, or of a whole folder.
func (b *bells) ring(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for bell := range b.hung[key[:strings.LastIndexByte(key, '/')+1]] {
		select {
		case bell <- struct{}{}:
		default: // it has not been heard yet
		}
	}
}
