package store

import (
	"strings"
	"sync"
)

// notifier tells those who wait in this process that something has changed in a folder. The Stores
// over one bucket that OpenDir or OpenBucket made together notify it. Changes by other processes
// pass unnoticed, so those who wait must look from time to time as well.
type notifier struct {
	mu       sync.Mutex
	watchers map[string]map[chan struct{}]struct{} // by folder
}

// Watch returns a channel that has a value once something was stored or removed right in one of the
// folders, whose names end with a slash, through this Store. Several changes may be one value.
// Changes by other processes, and those before the call, are not reported. The caller calls leave
// when it no longer watches.
func (s *Store) Watch(folders ...string) (changed <-chan struct{}, leave func()) {
	watcher := make(chan struct{}, 1) // so that a slow watcher holds up nobody
	n := s.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, folder := range folders {
		if n.watchers[folder] == nil {
			n.watchers[folder] = map[chan struct{}]struct{}{}
		}
		n.watchers[folder][watcher] = struct{}{}
	}
	return watcher, func() { n.remove(watcher, folders) }
}

// Watchers returns how many watch a folder.
func (s *Store) Watchers(folder string) int {
	s.notifier.mu.Lock()
	defer s.notifier.mu.Unlock()
	return len(s.notifier.watchers[folder])
}

func newNotifier() *notifier { return &notifier{watchers: map[string]map[chan struct{}]struct{}{}} }

func (n *notifier) remove(watcher chan struct{}, folders []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, folder := range folders {
		delete(n.watchers[folder], watcher)
		if len(n.watchers[folder]) == 0 {
			delete(n.watchers, folder)
		}
	}
}

// notify tells of a change of a key, or of a whole folder.
func (n *notifier) notify(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for watcher := range n.watchers[key[:strings.LastIndexByte(key, '/')+1]] {
		select {
		case watcher <- struct{}{}:
		default: // the watcher has not seen the change before
		}
	}
}
