// Command all is the whole orchestrator in one process.
package main

import (
	"os"

	"go-job-orchestrator/functions/all"
	"go-job-orchestrator/shared/sandbox"
)

func main() {
	sandbox.Main()
	os.Exit(all.Main())
}
