package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/shared/job"
)

// maxPage is the largest page that the server gives of jobs, and maxTemplates of templates.
const (
	maxPage      = 500
	maxTemplates = 100
)

// list is a list of the API that is followed page by page.
type list[T any] struct {
	path    string
	query   url.Values
	page    int // the largest page
	limit   int // 0: all
	columns []column[T]
	name    func(T) string // for -o name
}

// listed is a page as the server sent it.
type listed struct {
	Items         []json.RawMessage `json:"items"`
	NextPageToken string            `json:"nextPageToken"`
}

// print prints the list page by page. more reports whether the server has more than the limit.
func (l *list[T]) print(ctx context.Context, c *client.Client, w io.Writer, o *output) (more bool, err error) {
	p := l.printer(w, o)
	for count, token := 0, ""; ; {
		want := l.page
		if l.limit > 0 {
			want = min(want, l.limit-count)
		}
		page, err := l.get(ctx, c, want, token)
		if err != nil {
			return false, errors.Join(err, p.end("", err))
		}
		if err := p.page(page.Items); err != nil {
			return false, err
		}
		count += len(page.Items)
		token = page.NextPageToken
		if token == "" || l.limit > 0 && count >= l.limit {
			return token != "", p.end(token, nil)
		}
	}
}

func (l *list[T]) get(ctx context.Context, c *client.Client, want int, token string) (listed, error) {
	query := maps.Clone(l.query)
	if query == nil {
		query = url.Values{}
	}
	if want > 0 {
		query.Set("limit", strconv.Itoa(want))
	}
	if token != "" {
		query.Set("pageToken", token)
	}
	var page listed
	_, err := c.JSON(ctx, client.Call{Method: http.MethodGet, Path: l.path, Query: query}, &page)
	return page, err
}

// pager prints pages of a list.
type pager interface {
	page(items []json.RawMessage) error
	// end ends the list. token is that of the next page, if the list was cut. Nothing completes a list
	// that has failed: what is printed of it must not look whole.
	end(token string, failed error) error
}

func (l *list[T]) printer(w io.Writer, o *output) pager {
	switch o.format {
	case formatJSON:
		return &jsonPager{w: w}
	case formatYAML:
		return &yamlPager{w: w, o: o}
	case formatName:
		return &rowPager[T]{rows: func(items []T) error {
			for _, item := range items {
				if _, err := fmt.Fprintln(w, l.name(item)); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	return &rowPager[T]{rows: newTable(w, o, l.columns).page}
}

type rowPager[T any] struct{ rows func([]T) error }

func (p *rowPager[T]) page(raw []json.RawMessage) error {
	items := make([]T, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &items[i]); err != nil {
			return fmt.Errorf("the answer of the server: %w; try: gojob version", err)
		}
	}
	return p.rows(items)
}

func (*rowPager[T]) end(string, error) error { return nil }

// jsonPager prints one page, as the API would answer it, from all pages.
type jsonPager struct {
	w     io.Writer
	count int
}

func (p *jsonPager) page(items []json.RawMessage) error {
	var out strings.Builder
	for _, item := range items {
		out.WriteString(map[bool]string{true: `{"items":[`, false: ","}[p.count == 0])
		out.Write(item)
		p.count++
	}
	_, err := io.WriteString(p.w, out.String())
	return err
}

func (p *jsonPager) end(token string, failed error) error {
	text := "]"
	switch {
	case failed != nil && p.count == 0:
		return nil
	case failed != nil:
		text = "\n"
	case p.count == 0:
		text = `{"items":[]`
	}
	if failed == nil {
		if token != "" {
			text += fmt.Sprintf(`,"nextPageToken":%q`, token)
		}
		text += "}\n"
	}
	_, err := io.WriteString(p.w, text)
	return err
}

type yamlPager struct {
	w     io.Writer
	o     *output
	count int
}

func (p *yamlPager) page(items []json.RawMessage) error {
	if len(items) == 0 {
		return nil
	}
	if p.count == 0 {
		if _, err := io.WriteString(p.w, "items:\n"); err != nil {
			return err
		}
	}
	p.count += len(items)
	raw, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return p.o.object(p.w, raw)
}

func (p *yamlPager) end(token string, failed error) (err error) {
	if failed == nil && p.count == 0 {
		_, err = io.WriteString(p.w, "items: []\n")
	}
	if failed == nil && token != "" {
		_, err = fmt.Fprintf(p.w, "nextPageToken: %q\n", token)
	}
	return err
}

// jobColumns are the columns of ls.
func (a *app) jobColumns() []column[job.Summary] {
	return []column[job.Summary]{
		{title: "ID", cell: func(j job.Summary) string { return short(j.JobID) }},
		{title: "NAME", cell: func(j job.Summary) string { return j.Name }},
		{title: "PHASE", cell: func(j job.Summary) string { return string(j.Phase) }},
		{title: "REASON", cell: func(j job.Summary) string { return string(j.Reason) }},
		{title: "EXIT", wide: true, cell: func(j job.Summary) string { return number(j.ExitCode) }},
		{title: "AGE", cell: func(j job.Summary) string { return age(j.CreatedAt, a.now()) }},
		{title: "TOOK", cell: func(j job.Summary) string { return a.took(j) }},
		{title: "RUNTIME", wide: true, cell: func(j job.Summary) string { return j.Runtime }},
		{title: "OWNER", wide: true, cell: func(j job.Summary) string { return j.Owner }},
		{title: "EXPIRES", wide: true, cell: func(j job.Summary) string { return a.expires(j.ExpiresAt) }},
		{title: "LABELS", wide: true, cell: func(j job.Summary) string { return pairs(j.Labels) }},
	}
}

// took is how long the program has run, until now if it still runs.
func (a *app) took(j job.Summary) string {
	if j.StartedAt == nil {
		return ""
	}
	end := a.now()
	if j.FinishedAt != nil {
		end = *j.FinishedAt
	}
	if d := end.Sub(*j.StartedAt); d >= 0 && d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return span(end.Sub(*j.StartedAt))
}

// expires says when something ends: "in 3h".
func (a *app) expires(at *time.Time) string {
	if at == nil {
		return ""
	}
	if d := at.Sub(a.now()); d > 0 {
		return "in " + span(d)
	}
	return "now"
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// pairs are labels as key=value, in the order of their keys.
func pairs(labels map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, key+"="+labels[key])
	}
	return strings.Join(list, ",")
}

// jobFilter are the flags of ls that select jobs.
type jobFilter struct {
	phase, name, owner string
	labels             []string
	limit              int
	all                bool
}

// defaultLimit is how many jobs ls shows: what fits on a screen.
const defaultLimit = 20

func (a *app) lsCommand() *cobra.Command {
	var f jobFilter
	var o output
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"ps", "list"},
		Short:   "List jobs, the newest first",
		Long: `List jobs, the newest first. It lists your own jobs; those of all owners for an admin.

The filters can be combined. With -o json the output is a page of the API, also if it was read in
several.`,
		Example: `  gojob ls
  gojob ls --phase Failed -l team=data
  gojob rm $(gojob ls --all --phase Succeeded -o name)`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error { return a.ls(command.Context(), f, &o) },
	}
	phases := make([]string, 0, len(job.Phases()))
	for _, p := range job.Phases() {
		phases = append(phases, string(p))
	}
	command.Flags().StringVar(&f.phase, "phase", "", "only jobs in this `PHASE`: "+strings.Join(phases, ", "))
	_ = command.RegisterFlagCompletionFunc("phase", cobra.FixedCompletions(phases, cobra.ShellCompDirectiveNoFileComp))
	command.Flags().StringArrayVarP(&f.labels, "label", "l", nil, "only jobs with the label `KEY=VALUE`; may be repeated")
	command.Flags().StringVarP(&f.name, "name", "n", "", "only jobs with this `NAME`")
	command.Flags().StringVar(&f.owner, "owner", "", "only jobs of this `OWNER`; for admins")
	command.Flags().IntVar(&f.limit, "limit", defaultLimit, "at most `N` jobs")
	command.Flags().BoolVarP(&f.all, "all", "a", false, "all jobs, without a limit")
	o.listFlags(command, formatTable, formatWide, formatJSON, formatYAML, formatName)
	return command
}

// query returns the filter as the API has it.
func (f *jobFilter) query() (url.Values, error) {
	q := url.Values{}
	if f.phase != "" {
		q.Set("phase", f.phase)
		for _, p := range job.Phases() {
			if strings.EqualFold(f.phase, string(p)) {
				q.Set("phase", string(p))
			}
		}
	}
	if len(f.labels) > 0 {
		q["label"] = f.labels
	}
	if f.name != "" {
		q.Set("name", f.name)
	}
	if f.owner != "" {
		q.Set("owner", f.owner)
	}
	if f.limit < 1 && !f.all {
		return nil, &usageError{fmt.Errorf("--limit %d: must be at least 1; for all jobs: --all", f.limit)}
	}
	return q, nil
}

func (a *app) ls(ctx context.Context, f jobFilter, o *output) error {
	query, err := f.query()
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	l := list[job.Summary]{path: "/api/v1/jobs", query: query, page: maxPage, limit: f.limit, columns: a.jobColumns(),
		name: func(j job.Summary) string { return string(j.JobID) }}
	if f.all {
		l.limit = 0
	}
	more, err := l.print(ctx, c, a.stdout, o)
	if more {
		fmt.Fprintf(a.stderr, "gojob: there are more; --all lists all\n")
	}
	return err
}
