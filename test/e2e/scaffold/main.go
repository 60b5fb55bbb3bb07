// Command scaffold is the main that func writes around the root package, as one of this module, so
// that ko can build it.
package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"

	f "go-job-orchestrator"
)

func main() {
	if err := http.Start(f.New()); err != nil {
		fmt.Fprintln(os.Stderr, err.Error())
		os.Exit(1)
	}
}
