package main

import (
	"context"
	"os"
)

// size measures the binaries as ko builds them: stripped, without cgo. An image is that and its
// base, which is the same for any program.
func size(_ context.Context, r *room) ([]line, error) {
	largest, name := 0.0, ""
	for _, function := range []string{"submit", "status", "logs", "outputs", "artifacts", "cancel", "front"} {
		n, err := r.mebibytes(function)
		if err != nil {
			return nil, err
		}
		if n > largest {
			largest, name = n, function
		}
	}
	agent, err := r.mebibytes("agent")
	if err != nil {
		return nil, err
	}
	return []line{
		limited("binary of the largest API function ("+name+")", largest, mebibytes, 16, "client-go and k8s.io/api, of "+
			"which the linker must keep all that could be called by reflection"),
		limited("binary of the agent", agent, mebibytes, 7, ""),
	}, nil
}

func (r *room) mebibytes(command string) (float64, error) {
	info, err := os.Stat(r.command(command))
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / (1 << 20), nil
}

// limited is a line about a figure that has a limit of its own and no rival.
func limited(what string, v float64, u unit, limit float64, missed string) line {
	l := line{what: what, against: "–", rival: "–", ours: u.format(v), target: "≤ " + u.format(limit), met: v <= limit,
		rounds: 1}
	if !l.met {
		l.reason = missed
	}
	return l
}
