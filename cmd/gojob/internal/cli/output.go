package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"go-job-orchestrator/shared/job"
)

// The formats of -o. JSON is what the API answered, unchanged.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
)

// output is how a command prints what the API answered.
type output struct {
	format    string
	noHeaders bool
}

// flags adds -o to a command. The first format is the default.
func (o *output) flags(command *cobra.Command, formats ...string) {
	command.Flags().StringVarP(&o.format, "output", "o", formats[0], "the `FORMAT`: "+strings.Join(formats, ", "))
	before := command.PreRunE
	command.PreRunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains(formats, o.format) {
			return &usageError{fmt.Errorf("-o %s: the formats are %s%s", o.format, strings.Join(formats, ", "),
				job.Meant(o.format, formats, nil))}
		}
		if before != nil {
			return before(c, args)
		}
		return nil
	}
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// listFlags adds the flags of a command that prints a list.
func (o *output) listFlags(command *cobra.Command, formats ...string) {
	o.flags(command, formats...)
	command.Flags().BoolVar(&o.noHeaders, "no-headers", false, "print no headings of columns")
}

// machine reports whether the output is for programs: the API's object.
func (o *output) machine() bool { return o.format == formatJSON || o.format == formatYAML }

// object prints one object of the API as JSON or YAML.
func (o *output) object(w io.Writer, raw json.RawMessage) error {
	if o.format == formatYAML {
		text, err := toYAML(raw)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n", bytes.TrimRight(raw, "\n"))
	return err
}

// toYAML writes JSON as YAML, with the fields in their order.
func toYAML(raw json.RawMessage) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	node, err := yamlNode(d)
	if err != nil {
		return nil, fmt.Errorf("the answer of the server: %w", err)
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		return yamlCollection(d, t)
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(t.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(t)}, nil
	case string:
		node := &yaml.Node{}
		node.SetString(t)
		return node, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

func yamlCollection(d *json.Decoder, begin json.Delim) (*yaml.Node, error) {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	if begin == '{' {
		node.Kind = yaml.MappingNode
	}
	for d.More() {
		child, err := yamlNode(d)
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, child)
	}
	_, err := d.Token() // the end
	return node, err
}

// column is a column of a table.
type column[T any] struct {
	title string
	wide  bool // only in -o wide
	cell  func(T) string
}

// table prints rows as they come. The rows of a page are aligned together, and later pages are
// never narrower.
type table[T any] struct {
	w       io.Writer
	columns []column[T]
	widths  []int
	headed  bool
}

func newTable[T any](w io.Writer, o *output, columns []column[T]) *table[T] {
	t := &table[T]{w: w, headed: o.noHeaders}
	for _, c := range columns {
		if !c.wide || o.format == formatWide {
			t.columns = append(t.columns, c)
		}
	}
	t.widths = make([]int, len(t.columns))
	return t
}

// page prints a page of rows. The headings come before the first page that has rows.
func (t *table[T]) page(items []T) error {
	if len(items) == 0 {
		return nil
	}
	var rows [][]string
	if !t.headed {
		t.headed = true
		var titles []string
		for _, c := range t.columns {
			titles = append(titles, c.title)
		}
		rows = append(rows, titles)
	}
	for _, item := range items {
		var row []string
		for _, c := range t.columns {
			text := printable(c.cell(item))
			if text == "" {
				text = "-"
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		for i, text := range row {
			t.widths[i] = max(t.widths[i], runewidth.StringWidth(text))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		t.line(&out, row)
	}
	_, err := io.WriteString(t.w, out.String())
	return err
}

func (t *table[T]) line(out *strings.Builder, row []string) {
	for i, text := range row {
		out.WriteString(text)
		if i < len(row)-1 {
			out.WriteString(strings.Repeat(" ", t.widths[i]-runewidth.StringWidth(text)+2))
		}
	}
	out.WriteString("\n")
}

// printable shows characters that cannot be seen, or that a terminal would obey, as escapes. What
// others have named must not move the cursor.
func printable(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			out.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		out.WriteString(quoted[1 : len(quoted)-1])
	}
	return out.String()
}

// age is how long ago a time was, such as 5s, 12m, 3h or 8d.
func age(from, now time.Time) string {
	if from.IsZero() {
		return ""
	}
	return span(now.Sub(from))
}

// span is a duration in the largest unit of which it has two or more: 90s, 12m, 3h, 8d.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
