// Command status serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/serve"
)

func main() { os.Exit(serve.Main(status.Open)) }
