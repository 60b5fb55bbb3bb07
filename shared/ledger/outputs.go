package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go-job-orchestrator/shared/job"
)

// searchBytes is how much of a list of outputs is in memory while one of them is looked for.
const searchBytes = 64 << 10

// Output returns one of the stored outputs, or an error of kind job.ErrNotFound. It costs one pass
// over the list up to that output, in little memory: a list may have hundreds of thousands, and be
// read for each of them.
func (l *Ledger) Output(ctx context.Context, id job.ID, name string) (job.File, error) {
	r, err := l.store.Open(ctx, outputsKey(id), 0, -1)
	if err != nil {
		return job.File{}, err
	}
	defer r.Close()
	f, err := findFile(r, name)
	if err != nil {
		return job.File{}, fmt.Errorf("output %.200q of job %s: %w", name, id, err)
	}
	return f, nil
}

// findFile looks through a list of files as PutOutputs writes it for the beginning of the one with
// a name. Nothing else in the list has these bytes: quotes within strings are escaped.
func findFile(r io.Reader, name string) (job.File, error) {
	quoted, err := json.Marshal(name)
	if err != nil {
		return job.File{}, err
	}
	beginning := fmt.Appendf(nil, `{"name":%s,`, quoted)
	if len(beginning) > searchBytes/2 { // no output has so long a name
		return job.File{}, job.ErrNotFound
	}
	list := bufio.NewReaderSize(r, searchBytes)
	for {
		window, err := list.Peek(searchBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			return job.File{}, err
		}
		i := bytes.Index(window, beginning)
		if i < 0 && err != nil {
			return job.File{}, job.ErrNotFound
		}
		if i < 0 {
			i = len(window) - len(beginning) + 1
		}
		if _, err := list.Discard(i); err != nil {
			return job.File{}, err
		}
		if bytes.HasPrefix(window[i:], beginning) {
			return decodeFile(list, name)
		}
	}
}

func decodeFile(r io.Reader, name string) (job.File, error) {
	var f job.File
	if err := json.NewDecoder(r).Decode(&f); err != nil {
		return job.File{}, err
	}
	if f.Name != name { // which is not UTF-8, so that it was written as another
		return job.File{}, job.ErrNotFound
	}
	return f, nil
}
