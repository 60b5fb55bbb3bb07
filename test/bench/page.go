package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// The limits of the page. The times are those of a browser on a machine with two cores.
const (
	mostPageKiB      = 40
	mostPageRequests = 4
	mostPageList     = 1000 // ms
	mostPageClick    = 1000
)

// page measures the page in Chromium: what is sent for it, and how soon it shows something.
func page(ctx context.Context, r *room) ([]line, error) {
	dir := filepath.Join(r.module, "test", "browser")
	if _, err := output(ctx, "make", "-C", r.module, "test/browser/node_modules"); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "node", "measure.js", strconv.Itoa(r.rounds))
	cmd.Dir, cmd.Env = dir, append(cmd.Environ(), "SERVER="+r.command("all"))
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("measure the page: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var got struct{ Bytes, Requests, List, Click float64 }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		return nil, fmt.Errorf("measure the page: %w", err)
	}
	return []line{
		limited("the page, as it is sent", got.Bytes/(1<<10), "KiB", mostPageKiB, ""),
		limited("requests until the list shows", got.Requests, "requests", mostPageRequests, ""),
		limited("time until the list shows, in a new browser", got.List, milliseconds, mostPageList, ""),
		limited("time from a click to the first line of a log", got.Click, milliseconds, mostPageClick, ""),
	}, nil
}
