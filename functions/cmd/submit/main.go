// Command submit serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(submit.Open, "Accepts jobs, templates and events that start jobs.", &submit.Settings{}))
}
