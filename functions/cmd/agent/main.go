// Command agent runs one job's program and speaks to the orchestrator over HTTP.
package main

import (
	"os"

	"go-job-orchestrator/functions/agent"
)

func main() { os.Exit(agent.Main()) }
