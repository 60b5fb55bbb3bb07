//go:build !linux

package joblog

import (
	"context"
	"os"
)

// growth never tells: the files are looked at instead.
func growth(context.Context, ...*os.File) <-chan struct{} { return nil }
