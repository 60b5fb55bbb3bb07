// Command cancel serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/cancel"
	"go-job-orchestrator/shared/serve"
)

func main() { os.Exit(serve.Main(cancel.Open)) }
