// Command artifacts serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(artifacts.Open, "Hands uploaded files to agents, and takes results.", &artifacts.Settings{}))
}
