package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/settings"
	"go-job-orchestrator/shared/version"
)

// The states of a finding.
const (
	fine  = "ok"
	note  = "note"  // it may matter
	wrong = "WRONG" // something does not work
)

// finding is what a check has found.
type finding struct {
	State string `json:"state"`
	Check string `json:"check"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what to do
}

// doctor makes the checks one after the other. A check that needs what an earlier one missed is left
// out.
type doctor struct {
	a        *app
	ctx      context.Context //nolint:containedctx // it lives as long as the command
	findings []finding
	report   func(finding)
}

func (d *doctor) find(state, check, text, do string) {
	f := finding{state, check, text, do}
	d.findings = append(d.findings, f)
	if d.report != nil {
		d.report(f)
	}
}

// doctorPatience bounds each request.
const doctorPatience = 10 * time.Second

func (a *app) doctorCommand() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why the server cannot be used",
		Long: `Find out why the server cannot be used: configuration, connection, version, clock, login and storage.
It says for each fault what to do, and ends with 1 if there is one.`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error { return a.doctor(command.Context(), &o) },
	}
	o.flags(command, formatTable, formatJSON, formatYAML)
	return command
}

func (a *app) doctor(ctx context.Context, o *output) error {
	d := &doctor{a: a, ctx: ctx}
	if !o.machine() {
		d.report = a.printFinding
	}
	d.run()
	if o.machine() {
		raw, err := json.Marshal(map[string]any{"items": d.findings})
		if err == nil {
			err = o.object(a.stdout, raw)
		}
		if err != nil {
			return err
		}
	}
	if slices.ContainsFunc(d.findings, func(f finding) bool { return f.State == wrong }) {
		return &exitCodeError{code: exitError}
	}
	return nil
}

func (a *app) printFinding(f finding) {
	fmt.Fprintf(a.stdout, "%-5s  %-7s  %s\n", f.State, f.Check, lines(f.Text))
	if f.Do != "" {
		fmt.Fprintf(a.stdout, "%-5s  %-7s  do: %s\n", "", "", lines(f.Do))
	}
}

func (d *doctor) run() {
	own := version.Get()
	d.find(fine, "gojob", own.String(), "")
	if !d.configuration() {
		return
	}
	d.proxy()
	if !d.connection() {
		return
	}
	s, ok := d.server()
	if !ok {
		return
	}
	d.clock(s.Skew)
	if d.login(s) {
		d.storage()
	}
}

func (d *doctor) configuration() bool {
	for _, path := range []string{settings.ConfigFile(d.a.dirs), settings.CredentialsFile(d.a.dirs)} {
		if _, err := os.Stat(path); err == nil {
			d.find(fine, "files", path, "")
		}
	}
	target, err := settings.Resolve(d.a.flags, d.a.getenv, d.a.dirs)
	if err != nil {
		d.find(wrong, "config", err.Error(), "correct what the message names; "+settings.ConfigFile(d.a.dirs)+
			" can also be removed, and made again by: gojob login URL")
		return false
	}
	d.a.target = target
	text := fmt.Sprintf("%s, named by %s", target.URL, target.Source)
	if target.Source == "the default" {
		d.find(note, "config", text, "to use another server: gojob login URL")
		return true
	}
	d.find(fine, "config", text, "")
	return true
}

func (d *doctor) proxy() {
	u, err := http.ProxyFromEnvironment(&http.Request{URL: d.a.target.URL})
	switch {
	case err != nil:
		d.find(wrong, "proxy", "HTTP_PROXY or HTTPS_PROXY is no URL: "+err.Error(), "correct or unset it")
	case u != nil:
		d.find(note, "proxy", fmt.Sprintf("requests go through %s", u.Redacted()),
			fmt.Sprintf("if that proxy does not reach the server: export NO_PROXY=%s", d.a.target.URL.Hostname()))
	}
}

// get makes a request without credentials.
func (d *doctor) get(path string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(d.ctx, doctorPatience)
	response, err := anonymous(d.a.target).Do(ctx, client.Call{Method: http.MethodGet, Path: path})
	if err != nil {
		cancel()
		return nil, err
	}
	response.Body = &closes{response.Body, cancel}
	return response, nil
}

// closes ends a request with its body.
type closes struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c *closes) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

func (d *doctor) connection() bool {
	begin := time.Now()
	response, err := d.get("/healthz")
	took := time.Since(begin)
	var answer *client.Error
	switch {
	case err == nil:
		defer response.Body.Close()
		const longest = 16
		body, _ := io.ReadAll(io.LimitReader(response.Body, longest))
		if string(body) != "ok\n" {
			d.foreign(fmt.Sprintf("it answers %.16q to GET /healthz", body))
			return false
		}
		d.find(fine, "server", fmt.Sprintf("%s answers in %s", d.a.target.URL, took.Round(time.Millisecond)), "")
		return true
	case errors.As(err, &answer):
		d.refused(answer)
		return false
	}
	text, do := d.unreachable(err)
	d.find(wrong, "server", text, do)
	return false
}

func (d *doctor) foreign(text string) {
	d.find(wrong, "server", d.a.target.URL.String()+" is no server of the Go Job Orchestrator: "+text,
		"check the URL and the port; the server prints its own when it starts")
}

func (d *doctor) refused(answer *client.Error) {
	switch {
	case answer.Status == http.StatusMisdirectedRequest:
		d.find(wrong, "server", answer.Error(), "have the operator add "+d.a.target.URL.Hostname()+" to ALLOWED_HOSTS")
	case answer.Status/100 == 5:
		d.find(wrong, "server", answer.Error(), "it, or what is before it, does not work now; tell its operator")
	case answer.Status == http.StatusProxyAuthRequired:
		d.find(wrong, "server", answer.Error(), "give the proxy your name and password in HTTPS_PROXY, or set NO_PROXY")
	case answer.Status/100 == 3:
		d.find(wrong, "server", answer.Error(), "log in at the URL that it redirects to")
	default:
		d.foreign(fmt.Sprintf("it answers %d to GET /healthz", answer.Status))
	}
}

// unreachable says what a fault of the network is, and what to do.
func (d *doctor) unreachable(err error) (text, do string) {
	u := d.a.target.URL
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s has no address: %s", u.Hostname(), dns.Err),
			"check the URL, and that you are in the right network or VPN"
	case errors.Is(err, syscall.ECONNREFUSED):
		do := "check the host and the port, and whether the server runs"
		if settings.Loopback(u.Hostname()) {
			do = "start the server (make run), or name another: gojob login URL"
		}
		return fmt.Sprintf("nothing listens at %s", hostPort(u)), do
	case errors.As(err, &unknown):
		return "the server's certificate is signed by nobody that this machine knows",
			"add its CA to the system, or name the file of it: export SSL_CERT_FILE=ca.pem"
	case errors.As(err, &name):
		return "the server's certificate is for another name: " + name.Error(), "use a name that the certificate has"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is not valid now: " + invalid.Error(),
			"check the clock of this machine; else have the operator renew the certificate"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		plain := *u
		plain.Scheme = "http"
		return "the server does not speak TLS at this port", "use " + plain.String()
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("%s does not answer within %s", hostPort(u), doctorPatience),
			"check the host and the port, and whether a firewall or VPN is in between"
	}
	return err.Error(), "check the URL and the network"
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
}

func (d *doctor) server() (client.Server, bool) {
	ctx, cancel := context.WithTimeout(d.ctx, doctorPatience)
	defer cancel()
	c := anonymous(d.a.target)
	s, err := c.Describe(ctx, d.a.now)
	var answer *client.Error
	var foreign *client.ForeignError
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusNotFound:
		d.find(wrong, "version", "the server is too old for this gojob: it has no GET /api/v1/server",
			"ask its operator to update it, or use an older gojob")
		return s, false
	case errors.As(err, &foreign):
		d.foreign("its answer to GET /api/v1/server is something else")
		return s, false
	case err != nil:
		d.find(wrong, "server", err.Error(), "try again")
		return s, false
	}
	text, err := misfit(ctx, c, s.Version)
	if err != nil {
		d.find(note, "version", "the server does not describe its API: "+err.Error(), "")
		return s, true
	}
	if text != "" {
		d.find(wrong, "version", text, "bring both to the same release")
		return s, true
	}
	d.find(fine, "version",
		fmt.Sprintf("the server is %s (commit %s), and knows all that gojob needs", s.Version, s.Commit), "")
	return s, true
}

// The server takes tokens of an issuer by clocks that differ by 30 s. Dates have no fractions.
const (
	skewNoted = 5 * time.Second
	skewWrong = 30 * time.Second
)

func (d *doctor) clock(skew time.Duration) {
	behind := "behind"
	if skew < 0 {
		behind = "ahead of"
	}
	text := fmt.Sprintf("this machine is %s %s the server", skew.Abs().Round(time.Second), behind)
	switch {
	case skew.Abs() >= skewWrong:
		d.find(wrong, "clock", text, "set the clock of the wrong one, for instance with: timedatectl set-ntp true")
	case skew.Abs() >= skewNoted:
		d.find(note, "clock", text, "")
	default:
		d.find(fine, "clock", "it agrees with that of the server", "")
	}
}

// login checks who the caller is. It reports whether calls can be made.
func (d *doctor) login(s client.Server) bool {
	ctx, cancel := context.WithTimeout(d.ctx, doctorPatience)
	defer cancel()
	target := d.a.target
	with := loginOf(target)
	again := "log in again: gojob login " + target.URL.String()
	who, err := whoami(ctx, client.New(target.URL, d.a.tokens(target)))
	var answer *client.Error
	var expired *loginError
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusUnauthorized && with == "":
		d.find(wrong, "login", fmt.Sprintf("the server asks who calls (%s), and there is no key or login",
			strings.Join(s.Auth.Modes, ", ")), "log in: gojob login "+target.URL.String())
		return false
	case errors.As(err, &answer) && answer.Status == http.StatusUnauthorized:
		if target.Credential == nil {
			again = "set GOJOB_TOKEN to another key, or unset it and log in: gojob login " + target.URL.String()
		}
		d.find(wrong, "login", fmt.Sprintf("the server does not take %s: %s", with, answer.Detail), again)
		return false
	case errors.As(err, &answer) && answer.Status == http.StatusForbidden:
		d.find(wrong, "login", answer.Detail, "ask an admin for a role")
		return false
	case errors.As(err, &expired):
		d.find(wrong, "login", expired.err.Error(), again)
		return false
	case err != nil:
		d.find(wrong, "login", err.Error(), "try again")
		return false
	}
	text := fmt.Sprintf("you are %s by %s", who, d.a.how(who))
	if who.Role == "read" {
		d.find(note, "login", text, "this role cannot run jobs; ask an admin for the role user")
		return true
	}
	d.find(fine, "login", text, "")
	return true
}

// storage has the server read its storage.
func (d *doctor) storage() {
	ctx, cancel := context.WithTimeout(d.ctx, doctorPatience)
	defer cancel()
	c := client.New(d.a.target.URL, d.a.tokens(d.a.target))
	if _, err := listJobs(ctx, c, url.Values{"limit": {"1"}}); err != nil {
		d.find(wrong, "storage", err.Error(), "tell the operator of the server: its storage does not answer, or see its log")
		return
	}
	d.find(fine, "storage", "the server reads its storage", "")
}
