// Command all is the whole orchestrator in one process.
package main

import (
	"os"

	"go-job-orchestrator/functions/all"
)

func main() {
	os.Exit(all.Main())
}
