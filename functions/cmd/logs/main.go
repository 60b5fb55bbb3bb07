// Command logs serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/logs"
	"go-job-orchestrator/shared/guard/behind"
	"go-job-orchestrator/shared/serve"
)

func main() {
	os.Exit(serve.Main(behind.Gateway(logs.New), "Shows the logs of jobs.", &logs.Settings{}))
}
