package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// shared is the answer to a share.
type shared struct {
	JobID     string    `json:"jobID"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func (a *app) shareCommand() *cobra.Command {
	var o output
	var expires string
	command := &cobra.Command{
		Use:   "share JOB",
		Short: "Let others look at a job, until a time",
		Long: `Make a token by which everybody who has it can look at one job: its state, log and outputs. It cannot be
revoked before its time. The first line of the output is the token.`,
		Example:           `  gojob share @ --expires 1h`,
		Args:              arguments("JOB", 1, 1),
		ValidArgsFunction: once(a.jobRefs()),
		RunE: func(command *cobra.Command, args []string) error {
			return a.share(command.Context(), args[0], expires, &o)
		},
	}
	command.Flags().StringVar(&expires, "expires", "24h", "how `LONG` the token is valid, from 1m to 30d")
	o.flags(command, formatTable, formatJSON, formatYAML)
	return command
}

func (a *app) share(ctx context.Context, ref, expires string, o *output) error {
	c, id, err := a.find(ctx, ref)
	if err != nil {
		return err
	}
	var s shared
	raw, err := postJSON(ctx, c, "/api/v1/jobs/"+string(id)+"/share", map[string]string{"expiresIn": expires}, &s)
	if err != nil {
		return err
	}
	if o.machine() {
		return o.object(a.stdout, raw)
	}
	_, err = fmt.Fprintf(a.stdout, `%s

Until %s whoever has this token can look at the job, by one of:
  GOJOB_URL=%s GOJOB_TOKEN=%s gojob logs -f %s
  %s#token=%s
`, s.Token, s.ExpiresAt.Local().Format("2006-01-02 15:04"), a.target.URL, s.Token, id, a.page(id), s.Token)
	return err
}
