// Command deadletter serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/deadletter"
	"go-job-orchestrator/shared/serve"
)

func main() { os.Exit(serve.Main(deadletter.New, "Logs events that a Broker could not deliver.")) }
