package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pkg/browser"
	"github.com/spf13/cobra"

	"go-job-orchestrator/shared/job"
)

// page is the URL of the server's page, or of a job there.
func (a *app) page(id job.ID) string {
	if id == "" {
		return a.target.URL.JoinPath("ui").String() + "/"
	}
	return a.target.URL.JoinPath("ui", "jobs", string(id)).String()
}

func (a *app) openCommand() *cobra.Command {
	var printOnly bool
	command := &cobra.Command{
		Use:   "open [JOB]",
		Short: "Open the server's page in a browser, signed in",
		Long: `Open the server's page, or that of a job, in a browser, signed in as you. The key reaches the browser
through a redirect that works once, on this machine alone. It is never in the arguments of a process.

BROWSER is the program to open, if it is set.`,
		Example: `  gojob open @
  gojob open --print`,
		Args:              arguments("[JOB]", 0, 1),
		ValidArgsFunction: once(a.jobRefs()),
		RunE: func(command *cobra.Command, args []string) error {
			return a.openPage(command.Context(), args, printOnly)
		},
	}
	command.Flags().BoolVar(&printOnly, "print", false, "print the URL, without a token, and open nothing")
	return command
}

func (a *app) openPage(ctx context.Context, args []string, printOnly bool) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var id job.ID
	if len(args) == 1 {
		if id, err = a.resolve(ctx, c, args[0]); err != nil {
			return err
		}
	}
	page := a.page(id)
	if printOnly {
		_, err := fmt.Fprintln(a.stdout, page)
		return err
	}
	who, err := whoami(ctx, c)
	if err != nil {
		return err
	}
	token, err := a.tokens(a.target)(ctx)
	if err != nil {
		return err
	}
	if who.Via == "open" || token == "" {
		err = a.browse(ctx, page)
	} else {
		err = a.openSigned(ctx, page+"#token="+token)
	}
	if err != nil {
		return fmt.Errorf("no browser was opened: %w; open %s yourself", err, page)
	}
	return nil
}

// openPatience is how long a browser has to fetch the redirect.
const openPatience = 30 * time.Second

// openSigned has the browser open a URL that holds a token. What is in the arguments of the browser,
// which all users of this machine see, is the name of a file that only this user can read. The file
// leads to a redirect on loopback whose address is a secret, and which works once. So neither holds
// the token, and both are gone when the browser has it.
func (a *app) openSigned(ctx context.Context, target string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	path := "/" + rand.Text()
	fetched := make(chan struct{}, 1)
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: redirectOnce(path, target, fetched)}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()

	dir, err := os.MkdirTemp("", "gojob-") // with mode 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "open.html")
	leads := fmt.Sprintf("<!doctype html><meta name=referrer content=no-referrer>"+
		"<meta http-equiv=refresh content='0;url=%s'>",
		html.EscapeString("http://"+listener.Addr().String()+path))
	if err := os.WriteFile(file, []byte(leads), 0o600); err != nil {
		return err
	}
	if err := a.browse(ctx, fileURL(file)); err != nil {
		return err
	}
	select {
	case <-fetched:
		shut, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = server.Shutdown(shut) // the answer must be out before this process ends
		return nil
	case <-time.After(openPatience):
		return fmt.Errorf("it did not open %s within %s", file, openPatience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// redirectOnce redirects the first request of the path, and refuses all others.
func redirectOnce(path, target string, fetched chan<- struct{}) http.Handler {
	once := make(chan struct{}, 1)
	once <- struct{}{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path || r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		select {
		case <-once:
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusSeeOther)
		fetched <- struct{}{}
	})
}

func fileURL(path string) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") { // C:/…
		slashed = "/" + slashed
	}
	return "file://" + strings.ReplaceAll(slashed, " ", "%20")
}

// browse opens a URL with the program in BROWSER, or with that of the system. A browser may go on for
// hours, so it gets none of our streams: who reads them would wait for it.
func (a *app) browse(ctx context.Context, url string) error {
	words := strings.Fields(a.getenv("BROWSER"))
	if len(words) == 0 {
		if !a.graphical() {
			return errors.New("there is no screen here")
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		browser.Stdout, browser.Stderr = null, null
		return browser.OpenURL(url)
	}
	command := exec.CommandContext(context.WithoutCancel(ctx), words[0], append(words[1:], url)...)
	if err := command.Start(); err != nil {
		return err
	}
	go func() { _ = command.Wait() }()
	return nil
}
