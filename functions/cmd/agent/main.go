// Command agent runs the program of one job in its pod, and calls the orchestrator over HTTP.
package main

import (
	"os"

	"go-job-orchestrator/functions/agent"
)

func main() { os.Exit(agent.Main()) }
