// Command gojob runs programs on a server of the Go Job Orchestrator as if they ran here.
package main

import (
	"os"

	"go-job-orchestrator/cmd/gojob/internal/cli"
)

func main() {
	os.Exit(cli.Main())
}
