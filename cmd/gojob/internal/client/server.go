package client

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Server is what a server says about itself.
type Server struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
	Go      string `json:"go"`
	Auth    struct {
		Modes []string `json:"modes"`
	} `json:"auth"`
	Runtimes []struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"runtimes"`
	// Raw is the answer as it was sent.
	Raw json.RawMessage `json:"-"`
	// Skew is how much the server's clock is ahead of this one, to a second.
	Skew time.Duration `json:"-"`
}

// Describe asks the server what it is. now is the clock of this machine.
func (c *Client) Describe(ctx context.Context, now func() time.Time) (Server, error) {
	before := now()
	response, err := c.Do(ctx, Call{Method: http.MethodGet, Path: "/api/v1/server"})
	if err != nil {
		return Server{}, err
	}
	defer response.Body.Close()
	half := now().Sub(before) / 2
	var s Server
	s.Raw, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Server{}, &UnreachableError{Server: c.Server(), Err: err}
	}
	if err := json.Unmarshal(s.Raw, &s); err != nil || len(s.Auth.Modes) == 0 {
		return Server{}, &ForeignError{Server: c.Server()}
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		s.Skew = date.Sub(before.Add(half).Truncate(time.Second))
	}
	return s, nil
}

// ForeignError says that what answers is no server of the Go Job Orchestrator.
type ForeignError struct{ Server string }

func (e *ForeignError) Error() string {
	return e.Server + " answers, but not as a server of the Go Job Orchestrator does; check the URL and its port"
}

// A capability is something of the API that commands need, with the line by which the server's own
// description of the API has it.
type capability struct{ line, commands string }

var capabilities = []capability{
	{"  /api/v1/whoami:", "login and whoami"},
	{"  /api/v1/jobs/{jobID}/token:", "cp from an open server"},
	{"  /api/v1/jobs/{jobID}/rerun:", "rerun"},
	{"  /api/v1/jobs/{jobID}/share:", "share"},
	{"  /api/v1/keys:", "key"},
	{"  /api/v1/templates:", "template"},
	{"        archive:", "run of a folder"},
	{"        stdin:", "run --stdin"},
}

// apiMajor is the major version of the API that this client speaks.
const apiMajor = 1

var apiVersion = regexp.MustCompile(`^  version: (\d+)\.`)

// Lacks reads the server's description of its API, and returns which commands it is too old for, and
// whether it is too new for this client.
func (c *Client) Lacks(ctx context.Context) (commands []string, tooNew bool, err error) {
	response, err := c.Do(ctx, Call{Method: http.MethodGet, Path: "/openapi.yaml"})
	if err != nil {
		return nil, false, err
	}
	defer response.Body.Close()
	found := map[string]bool{}
	lines := bufio.NewScanner(io.LimitReader(response.Body, maxAnswer))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := apiVersion.FindStringSubmatch(line); m != nil {
			major, err := strconv.Atoi(m[1])
			tooNew = tooNew || err != nil || major > apiMajor
		}
		for _, need := range capabilities {
			if strings.HasPrefix(line, need.line) {
				found[need.line] = true
			}
		}
	}
	for _, need := range capabilities {
		if !found[need.line] {
			commands = append(commands, need.commands)
		}
	}
	return commands, tooNew, lines.Err()
}

// Unknown reports whether the server answered that it does not know a call, a field or a parameter.
// Commands send only what the API has, so the server is older than they are.
func (e *Error) Unknown() bool {
	if e.Status == http.StatusMethodNotAllowed ||
		e.Status == http.StatusNotFound && strings.HasPrefix(e.Detail, "There is no such path") {
		return true
	}
	for _, f := range e.Faults {
		if strings.HasPrefix(f.Message, "is not a field of ") || strings.HasPrefix(f.Message, "is not a parameter of ") {
			return true
		}
	}
	return false
}
