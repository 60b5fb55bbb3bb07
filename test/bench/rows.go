package main

import "context"

// row is a subject that is measured.
type row struct {
	name    string
	measure func(ctx context.Context, r *room) ([]line, error)
}

func rows() []row {
	return []row{
		{name: "cold start", measure: coldStart},
		{name: "cold start with a cloud driver", measure: coldStartDriver},
		{name: "size", measure: size},
		{name: "submits", measure: submits},
		{name: "upload", measure: upload},
		{name: "put", measure: put},
		{name: "S3 upload", measure: s3Upload},
		{name: "get", measure: get},
		{name: "tail", measure: tail},
		{name: "follow", measure: follow},
		{name: "list", measure: list},
		{name: "reap", measure: reap},
		{name: "local job", measure: localJob},
		{name: "gojob", measure: commandLine},
		{name: "agent", measure: agent},
		{name: "memory", measure: memory},
		{name: "launch", measure: launch},
		{name: "first line", measure: firstLine},
		{name: "from cold", measure: fromCold},
		{name: "page", measure: page},
	}
}
