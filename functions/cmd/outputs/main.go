// Command outputs serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/outputs"
	"go-job-orchestrator/shared/guard/behind"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(behind.Gateway(outputs.New), "Lets users download what their jobs left."))
}
