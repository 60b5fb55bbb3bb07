package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/settings"
	"go-job-orchestrator/shared/job"
)

const keysPath = "/api/v1/keys"

// key is a key of callers, as the server lists it.
type key struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Owner     string     `json:"owner"`
	Role      string     `json:"role"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt"`
	Expired   bool       `json:"expired"`
	Key       string     `json:"key"` // only when it was made
}

// keyRequest is what the server makes a key of.
type keyRequest struct {
	Name      string `json:"name,omitempty"`
	Owner     string `json:"owner,omitempty"`
	Role      string `json:"role,omitempty"`
	ExpiresIn string `json:"expiresIn,omitempty"`
	Replaces  string `json:"replaces,omitempty"`
	Grace     string `json:"grace,omitempty"`
}

func (a *app) keyCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "key",
		Short: "Make, list and revoke the keys of callers; for admins",
	}, a.keyLs(), a.keyNew(), a.keyRotate(), a.keyRm())
}

func (a *app) keyLs() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use:   "ls",
		Short: "List the keys of all owners, the newest first",
		Args:  noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			l := list[key]{path: keysPath, columns: a.keyColumns(), name: func(k key) string { return k.ID }}
			_, err = l.print(command.Context(), c, a.stdout, &o)
			return err
		},
	}
	o.listFlags(command, formatTable, formatJSON, formatYAML, formatName)
	return command
}

func (a *app) keyColumns() []column[key] {
	return []column[key]{
		{title: "ID", cell: func(k key) string { return k.ID }},
		{title: "NAME", cell: func(k key) string { return k.Name }},
		{title: "OWNER", cell: func(k key) string { return k.Owner }},
		{title: "ROLE", cell: func(k key) string { return k.Role }},
		{title: "AGE", cell: func(k key) string { return age(k.CreatedAt, a.now()) }},
		{title: "EXPIRES", cell: func(k key) string {
			if k.Expired {
				return "expired"
			}
			return a.expires(k.ExpiresAt)
		}},
	}
}

func (a *app) keyNew() *cobra.Command {
	var o output
	var request keyRequest
	command := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a key, and print it once",
		Long:  `Make a key, and print it once: the server keeps only its hash. Standard output has the key alone.`,
		Example: `  gojob key new ann-laptop --owner ann --expires 90d
  gojob key new ci --role user > key.txt`,
		Args: arguments("NAME", 1, 1),
		RunE: func(command *cobra.Command, args []string) error {
			request.Name = args[0]
			_, err := a.makeKey(command.Context(), request, &o)
			return err
		},
	}
	command.Flags().StringVar(&request.Owner, "owner", "", "whose jobs the key opens, an `OWNER`; the name by default")
	command.Flags().StringVar(&request.Role, "role", "user", "what the key may do, a `ROLE`: read, user, admin")
	command.Flags().StringVar(&request.ExpiresIn, "expires", "", "how `LONG` it is valid, such as 90d or 12h; without it, for ever")
	_ = command.RegisterFlagCompletionFunc("role",
		cobra.FixedCompletions([]string{"read", "user", "admin"}, cobra.ShellCompDirectiveNoFileComp))
	o.flags(command, formatTable, formatJSON, formatYAML)
	return command
}

func (a *app) makeKey(ctx context.Context, request keyRequest, o *output) (key, error) {
	c, err := a.client()
	if err != nil {
		return key{}, err
	}
	var made key
	raw, err := postJSON(ctx, c, keysPath, request, &made)
	if err != nil {
		return key{}, err
	}
	if o.machine() {
		return made, o.object(a.stdout, raw)
	}
	fmt.Fprintf(a.stderr, "gojob: key %s of %s (%s); it is shown this once\n", made.ID, printable(made.Owner), made.Role)
	_, err = fmt.Fprintln(a.stdout, made.Key)
	return made, err
}

// postJSON sends a value as JSON.
func postJSON(ctx context.Context, c *client.Client, path string, body, answer any) (json.RawMessage, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.JSON(ctx, client.Call{
		Method: http.MethodPost, Path: path, Body: bytes.NewReader(text), Length: int64(len(text)),
		Header: http.Header{"Content-Type": {"application/json"}},
	}, answer)
}

func (a *app) keyRotate() *cobra.Command {
	var o output
	var request keyRequest
	command := &cobra.Command{
		Use:   "rotate KEY",
		Short: "Make a key that takes the place of another",
		Long: `Make a key with the name, owner and role of another, by its ID or name. The other one stays valid for
the time in --grace. If the other is your own, the new one is stored in its place.`,
		Example:           `  gojob key rotate ann-laptop --grace 1h`,
		Args:              arguments("KEY", 1, 1),
		ValidArgsFunction: once(a.keyRefs()),
		RunE: func(command *cobra.Command, args []string) error {
			return a.rotate(command.Context(), args[0], request, &o)
		},
	}
	command.Flags().StringVar(&request.Grace, "grace", "24h", "how `LONG` the old key stays valid")
	command.Flags().StringVar(&request.ExpiresIn, "expires", "", "how `LONG` the new key is valid; without it, for ever")
	o.flags(command, formatTable, formatJSON, formatYAML)
	return command
}

func (a *app) rotate(ctx context.Context, ref string, request keyRequest, o *output) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if request.Replaces, err = findKey(ctx, c, ref); err != nil {
		return err
	}
	made, err := a.makeKey(ctx, request, o)
	if err != nil {
		return err
	}
	own := a.target.Credential
	if own == nil || keyID(own.Key) != request.Replaces {
		return nil
	}
	renewed := *own
	renewed.Key = made.Key
	if err := settings.SaveCredential(a.dirs, renewed); err != nil {
		return fmt.Errorf("the new key cannot be stored: %w; log in with it: gojob login %s", err, a.target.URL)
	}
	fmt.Fprintf(a.stderr, "gojob: the context %s has the new key\n", own.Context)
	return nil
}

func listKeys(ctx context.Context, c *client.Client) ([]key, error) {
	var page struct{ Items []key }
	_, err := c.JSON(ctx, client.Call{Method: http.MethodGet, Path: keysPath}, &page)
	return page.Items, err
}

// findKey returns the ID of a key that is named by its ID or by a name that only it has.
func findKey(ctx context.Context, c *client.Client, ref string) (string, error) {
	keys, err := listKeys(ctx, c)
	if err != nil {
		return "", err
	}
	var found, names []string
	for _, k := range keys {
		if k.ID == ref {
			return k.ID, nil
		}
		if k.Name == ref {
			found = append(found, k.ID)
		}
		names = append(names, k.ID, k.Name)
	}
	switch len(found) {
	case 0:
		return "", &exitCodeError{exitNotFound, fmt.Errorf("%s: there is no key %q%s; list them with: gojob key ls",
			c.Server(), ref, job.Meant(ref, names, nil))}
	case 1:
		return found[0], nil
	}
	return "", &usageError{fmt.Errorf("several keys have the name %q, such as %s and %s; give the ID", ref, found[0],
		found[1])}
}

// keyRefs completes keys.
func (a *app) keyRefs() completion {
	return a.completes(func(ctx context.Context, c *client.Client, _ string) ([]string, error) {
		keys, err := listKeys(ctx, c)
		var words []string
		for _, k := range keys {
			words = append(words, k.ID+"\t"+printable(k.Name+" "+k.Role))
		}
		return words, err
	})
}

func (a *app) keyRm() *cobra.Command {
	return &cobra.Command{
		Use:               "rm KEY…",
		Short:             "Revoke keys, by their IDs or names",
		Args:              arguments("KEY", 1, -1),
		ValidArgsFunction: a.keyRefs(),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return each(args, func(ref string) error { return a.revoke(command.Context(), c, ref) })
		},
	}
}

func (a *app) revoke(ctx context.Context, c *client.Client, ref string) error {
	id, err := findKey(ctx, c, ref)
	if err != nil {
		return err
	}
	if _, err := c.JSON(ctx, client.Call{Method: http.MethodDelete, Path: keysPath + "/" + id}, nil); err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	_, err = fmt.Fprintln(a.stdout, id)
	return err
}
