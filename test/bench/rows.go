package main

import "context"

// row is a subject that is measured.
type row struct {
	name    string
	rounds  int // 0: as many as asked for
	measure func(ctx context.Context, r *room) ([]line, error)
}

// long is the rounds of rows in which one takes seconds.
const long = 7

func rows() []row {
	return []row{
		{name: "cold start", measure: coldStart},
		{name: "cold start with a cloud driver", measure: coldStartDriver},
		{name: "size", measure: size},
		{name: "submits", measure: submits},
		{name: "upload", rounds: long, measure: upload},
		{name: "put", rounds: long, measure: put},
		{name: "S3 upload", rounds: long, measure: s3Upload},
		{name: "get", rounds: long, measure: get},
		{name: "tail", measure: tail},
		{name: "follow", measure: follow},
		{name: "list", measure: list},
		{name: "reap", measure: reap},
		{name: "local job", measure: localJob},
		{name: "agent", measure: agent},
		{name: "memory", rounds: long, measure: memory},
		{name: "launch", measure: launch},
		{name: "first line", rounds: long, measure: firstLine},
	}
}
