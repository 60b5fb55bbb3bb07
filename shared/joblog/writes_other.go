//go:build !linux

package joblog

import (
	"context"
	"os"
)

// writes never has a value here: the shipper looks at the files instead.
func writes(context.Context, ...*os.File) <-chan struct{} { return nil }
