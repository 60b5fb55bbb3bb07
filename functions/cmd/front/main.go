// Command front serves the function of that name.
package main

import (
	"os"

	"go-job-orchestrator/functions/front"
	"go-job-orchestrator/shared/auth"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/wakeup"
)

func main() {
	os.Exit(serve.Main(front.Open, "Is the one public URL, and passes requests to the functions.",
		&front.Settings{}, &auth.Settings{}, &wakeup.Settings{}))
}
