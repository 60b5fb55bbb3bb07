package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/login"
	"go-job-orchestrator/cmd/gojob/internal/settings"
)

// caller is who the server says somebody is.
type caller struct {
	Owner string `json:"owner"`
	Role  string `json:"role"`
	Via   string `json:"via"`
}

func (c caller) String() string { return fmt.Sprintf("%s (%s)", c.Owner, c.Role) }

// loginFlags choose how to log in.
type loginFlags struct{ oidc, key bool }

func (a *app) loginCommand() *cobra.Command {
	var f loginFlags
	command := &cobra.Command{
		Use:   "login [URL]",
		Short: "Log in to a server, and use it from now on",
		Long: `Log in to a server, and use it from now on. The server is kept as a context, under the name of its
host or the one that --context gives. To log in again, leave the URL out.

Where the server has an OpenID Connect issuer you log in there with a browser, on this machine or
another. Otherwise gojob asks for a key, which is not shown; from a pipe it reads one line. The key is
checked, and kept in a file that only you can read.`,
		Example: `  gojob login https://jobs.example.com
  gojob login https://jobs.example.com --context prod --key
  pass show jobs | gojob login https://jobs.example.com`,
		Args: arguments("[URL]", 0, 1),
		RunE: func(command *cobra.Command, args []string) error { return a.login(command.Context(), args, f) },
	}
	command.Flags().BoolVar(&f.oidc, "oidc", false, "log in at the server's OpenID Connect issuer")
	command.Flags().BoolVar(&f.key, "key", false, "log in with a key")
	return command
}

func (a *app) login(ctx context.Context, args []string, f loginFlags) error {
	if f.oidc && f.key {
		return &usageError{errors.New("--oidc and --key are two ways to log in; give one of them")}
	}
	target, err := a.loginTarget(args)
	if err != nil {
		return err
	}
	var server struct{ Auth login.Server }
	raw, err := anonymous(target).JSON(ctx, client.Call{Method: http.MethodGet, Path: "/api/v1/server"}, &server)
	if err != nil {
		return err
	}
	modes := server.Auth.Modes
	if len(modes) == 0 {
		return fmt.Errorf("%s does not say how to log in (%.80s); try: gojob doctor --url %s", target.URL, raw, target.URL)
	}
	credential, err := a.credential(ctx, target, server.Auth, f)
	if err != nil {
		return err
	}
	c := client.New(target.URL, client.Token(sent(credential)))
	who, err := whoami(ctx, c)
	if err != nil {
		return err
	}
	if err := a.keep(target, credential); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "gojob: %s is now the context %s; you are %s", target.URL, target.Context, who)
	if slices.Contains(modes, "open") {
		fmt.Fprint(a.stderr, "; it is open, so nobody needs a key")
	}
	fmt.Fprintln(a.stderr)
	if u, err := settings.ParseURL(a.getenv("GOJOB_URL")); err == nil && u.String() != target.URL.String() {
		fmt.Fprintf(a.stderr, "gojob: GOJOB_URL is set, and comes before the context: unset GOJOB_URL\n")
	}
	return nil
}

func sent(c *settings.Credential) string {
	if c.OIDC != nil {
		return c.OIDC.Token
	}
	return c.Key
}

// loginTarget finds the server to log in to, and the name of its context, which may be new.
func (a *app) loginTarget(args []string) (settings.Target, error) {
	config, err := settings.LoadConfig(a.dirs)
	if err != nil {
		return settings.Target{}, err
	}
	flags := a.flags
	if len(args) == 1 {
		if flags.URL != "" {
			return settings.Target{}, &usageError{errors.New("give the URL once, without --url")}
		}
		flags.URL = args[0]
	}
	name := flags.Context
	if name != "" {
		if err := settings.CheckName(name); err != nil {
			return settings.Target{}, &usageError{err}
		}
		if flags.URL != "" || a.getenv("GOJOB_URL") != "" && !slices.Contains(config.Names(), name) {
			flags.Context = "" // the context may be new, or get another URL
		}
	}
	target, err := settings.Server(flags, a.getenv, &config)
	if err != nil {
		return settings.Target{}, err
	}
	if name == "" {
		name = target.Context
	}
	if name == "" {
		name = config.NameFor(target.URL)
	}
	target.Context = name
	return target, nil
}

// credential gets a key or tokens from the user. It has neither for an open server.
func (a *app) credential(
	ctx context.Context, target settings.Target, server login.Server, f loginFlags,
) (*settings.Credential, error) {
	oidc, keys := slices.Contains(server.Modes, "oidc"), slices.Contains(server.Modes, "keys")
	c := &settings.Credential{Context: target.Context, URL: target.URL.String()}
	switch {
	case f.oidc && !oidc:
		return nil, fmt.Errorf("%s has no OpenID Connect issuer; log in with a key, without --oidc", target.URL)
	case f.key && !keys:
		return nil, fmt.Errorf("%s takes no keys (AUTH=%s); log in without --key", target.URL,
			strings.Join(server.Modes, ","))
	case !oidc && !keys:
		return &settings.Credential{}, nil
	}
	if target.URL.Scheme == "http" && !settings.Loopback(target.URL.Hostname()) {
		fmt.Fprintf(a.stderr, "gojob: warning: %s is not encrypted; others on the way can read your key\n", target.URL)
	}
	if oidc && !f.key && (f.oidc || !keys || a.terminal() != nil) {
		tokens, err := login.Device(ctx, server, a.prompt)
		if err != nil {
			return nil, err
		}
		c.OIDC = tokens
		return c, nil
	}
	key, err := a.readKey(target)
	if err != nil {
		return nil, err
	}
	c.Key = key
	return c, nil
}

// prompt shows where to type the code of the device flow.
func (a *app) prompt(page, code, complete string, expires time.Time) {
	fmt.Fprintf(a.stderr, "gojob: open %s and type the code %s", printable(page), printable(code))
	if complete != "" && complete != page {
		fmt.Fprintf(a.stderr, "\ngojob: or open %s", printable(complete))
	}
	fmt.Fprintf(a.stderr, "\ngojob: waiting until you have logged in there")
	if !expires.IsZero() {
		fmt.Fprintf(a.stderr, ", for %s", span(expires.Sub(a.now())))
	}
	fmt.Fprintln(a.stderr)
}

// terminal returns the standard input if it is a terminal, else nil.
func (a *app) terminal() *os.File {
	if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// readKey reads a key: one line of a pipe, or what is typed at a terminal, which is not shown.
func (a *app) readKey(target settings.Target) (string, error) {
	var line string
	var err error
	if f := a.terminal(); f != nil {
		fmt.Fprintf(a.stderr, "Key for %s: ", target.URL)
		line, err = readHidden(f)
		fmt.Fprintln(a.stderr)
	} else {
		const longest = 64 << 10
		line, err = bufio.NewReader(io.LimitReader(a.stdin, longest)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(line)
	if key == "" {
		return "", errors.New("no key was given; an admin makes one with: gojob key new NAME")
	}
	if err := settings.CheckToken(key); err != nil {
		return "", fmt.Errorf("the key %w", err)
	}
	return key, nil
}

// readHidden reads a line without showing it. An interrupt leaves the terminal as it was.
func readHidden(f *os.File) (string, error) {
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	defer signal.Stop(signals)
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		answers <- answer{line, err}
	}()
	select {
	case got := <-answers:
		return string(got.line), got.err
	case <-signals:
		_ = term.Restore(fd, before)
		return "", &exitCodeError{code: exitInterrupted, err: errors.New("interrupted; nothing has changed")}
	}
}

// keep keeps a login. The credential comes first: a context without it would be of no use.
func (a *app) keep(target settings.Target, c *settings.Credential) error {
	var err error
	if sent(c) != "" {
		err = settings.SaveCredential(a.dirs, *c)
	} else {
		_, err = settings.RemoveCredentials(a.dirs, target.Context)
	}
	if err != nil {
		return err
	}
	return settings.ChangeConfig(a.dirs, func(config *settings.Config) error {
		config.Put(settings.Context{Name: target.Context, URL: target.URL.String()})
		config.Current = target.Context
		return nil
	})
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "Remove the stored key or login of a server",
		Long: `Remove the stored key or login of a server: of the current context, or of the one that --context or
--url names. The context stays, and the key stays valid: an admin can revoke it.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.logout() },
	}
}

func (a *app) logout() error {
	target, err := settings.Resolve(a.flags, func(name string) string {
		if name == "GOJOB_TOKEN" { // it is not stored, and hides what is
			return ""
		}
		return a.getenv(name)
	}, a.dirs)
	if err != nil {
		return err
	}
	if target.Credential == nil {
		fmt.Fprintf(a.stderr, "gojob: there is no login for %s\n", target.URL)
		return nil
	}
	if _, err := settings.RemoveCredentials(a.dirs, target.Credential.Context); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "gojob: logged out of %s", target.URL)
	if id := keyID(target.Credential.Key); id != "" {
		fmt.Fprintf(a.stderr, "; the key %s stays valid until an admin revokes it: gojob key rm %s", id, id)
	}
	fmt.Fprintln(a.stderr)
	if a.getenv("GOJOB_TOKEN") != "" {
		fmt.Fprintln(a.stderr, "gojob: GOJOB_TOKEN is still set, and will be used: unset GOJOB_TOKEN")
	}
	return nil
}

func (a *app) whoamiCommand() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use:   "whoami",
		Short: "Show who you are at the server",
		Args:  noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var who caller
			raw, err := c.JSON(command.Context(), whoamiCall(), &who)
			switch {
			case err != nil:
				return err
			case o.machine():
				return o.object(a.stdout, raw)
			case o.format == formatName:
				_, err = fmt.Fprintln(a.stdout, printable(who.Owner))
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s at %s by %s\n", printable(who.String()), a.target.URL, a.how(who))
			return err
		},
	}
	o.flags(command, formatTable, formatJSON, formatYAML, formatName)
	return command
}

// how says how the caller was authenticated, and where the credential is from.
func (a *app) how(who caller) string {
	switch {
	case who.Via == "open":
		return "an open server"
	case a.target.Credential != nil:
		return printable(who.Via) + " of the context " + a.target.Credential.Context
	}
	return printable(who.Via) + " in GOJOB_TOKEN"
}

func whoamiCall() client.Call { return client.Call{Method: http.MethodGet, Path: "/api/v1/whoami"} }

func whoami(ctx context.Context, c *client.Client) (caller, error) {
	var who caller
	_, err := c.JSON(ctx, whoamiCall(), &who)
	return who, err
}
