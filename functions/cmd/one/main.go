// Command one is the whole API as one Knative Service.
package main

import (
	"os"

	"go-job-orchestrator/functions/one"
)

func main() { os.Exit(one.Main()) }
