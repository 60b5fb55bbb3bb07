package cli

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/shared/job"
)

// A shell asks at each press of Tab, so the server has little time to answer, and every fault is
// silent: there is nothing to complete then.
const (
	completeTimeout = time.Second
)

// completion is a function by which cobra completes arguments, or the value of a flag.
type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completes makes a completion from a function that asks the server.
func (a *app) completes(ask func(ctx context.Context, c *client.Client, begun string) ([]string, error)) completion {
	return func(command *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(command.Context(), completeTimeout)
		defer cancel()
		c, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		words, err := ask(ctx, c, begun)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// once completes only the first argument.
func once(complete completion) completion {
	return func(command *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(command, args, begun)
	}
}

// jobRefs completes jobs: names and IDs of the newest ones.
func (a *app) jobRefs() completion {
	return a.completes(func(ctx context.Context, c *client.Client, begun string) ([]string, error) {
		page, err := listJobs(ctx, c, url.Values{"limit": {"50"}})
		if err != nil {
			return nil, err
		}
		return jobWords(page.Items, begun), nil
	})
}

// jobWords are the words for jobs that begin with what was typed: names, each once, for the newest
// job with it, then IDs.
func jobWords(items []job.Summary, begun string) []string {
	var names, ids []string
	seen := map[string]bool{}
	for _, item := range items {
		about := "\t" + printable(strings.TrimSpace(item.Name+" "+string(item.Phase)))
		if item.Name != "" && !seen[item.Name] && strings.HasPrefix(item.Name, begun) {
			seen[item.Name] = true
			names = append(names, item.Name+"\t"+short(item.JobID)+" "+string(item.Phase))
		}
		if strings.HasPrefix(string(item.JobID), begun) {
			ids = append(ids, short(item.JobID)+about)
		}
	}
	return append(names, ids...)
}

// profiles completes the profiles that the caller can use.
func (a *app) profiles() completion {
	return a.completes(func(ctx context.Context, c *client.Client, _ string) ([]string, error) {
		var server struct {
			Profiles []struct{ Name, Description string }
		}
		_, err := c.JSON(ctx, client.Call{Method: http.MethodGet, Path: "/api/v1/server"}, &server)
		var words []string
		for _, p := range server.Profiles {
			words = append(words, p.Name+"\t"+printable(p.Description))
		}
		return words, err
	})
}

// templates completes the names of templates.
func (a *app) templates() completion {
	return a.completes(func(ctx context.Context, c *client.Client, _ string) ([]string, error) {
		var page struct{ Items []struct{ Name string } }
		_, err := c.JSON(ctx, client.Call{
			Method: http.MethodGet, Path: "/api/v1/templates", Query: url.Values{"limit": {"100"}},
		}, &page)
		var words []string
		for _, t := range page.Items {
			words = append(words, t.Name)
		}
		return words, err
	})
}

// jobFlagWords completes the values of the flags that describe a job.
func (a *app) jobFlagWords(command *cobra.Command) {
	runtimes := []string{"python", "node", "java", "binary"}
	for name, complete := range map[string]completion{
		"profile": a.profiles(), "runtime": cobra.FixedCompletions(runtimes, cobra.ShellCompDirectiveNoFileComp),
	} {
		if command.Flags().Lookup(name) != nil {
			_ = command.RegisterFlagCompletionFunc(name, complete)
		}
	}
}
