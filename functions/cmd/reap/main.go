// Command reap makes one round of reaping.
package main

import (
	"os"

	"go-job-orchestrator/functions/reap"
)

func main() { os.Exit(reap.Main()) }
