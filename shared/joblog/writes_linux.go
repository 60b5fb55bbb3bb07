package joblog

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// writes returns a channel that has a value when one of the files was written to, until ctx ends.
// All writes while nobody receives become one value, so that a program that floods its log does not
// keep the shipper busy. Where the kernel cannot tell, as across the kernels of a sandboxed pod, or
// has no more watches to give, nothing ever comes.
func writes(ctx context.Context, files ...*os.File) <-chan struct{} {
	written := make(chan struct{})
	notices, err := openInotify(files)
	if err != nil {
		return written
	}
	context.AfterFunc(ctx, func() { notices.Close() })
	go func() {
		var events [4096]byte
		for {
			if _, err := notices.Read(events[:]); err != nil {
				return // closed
			}
			select {
			case written <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return written
}

// openInotify asks the kernel for notices. The files are those that are open, whatever a program
// has done to their names.
func openInotify(files []*os.File) (*os.File, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	notices := os.NewFile(uintptr(fd), "inotify")
	for _, f := range files {
		if _, err := syscall.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), syscall.IN_MODIFY); err != nil {
			notices.Close()
			return nil, err
		}
	}
	return notices, nil
}
