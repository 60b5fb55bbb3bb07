// Command launch receives events and runs their jobs as processes on this machine.
package main

import (
	"os"

	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/shared/sandbox"
	"go-job-orchestrator/shared/serve"
)

func main() {
	sandbox.Main()
	os.Exit(serve.Main(launch.Open))
}
