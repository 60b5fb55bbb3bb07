package joblog_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/spool"
)

func TestName(t *testing.T) {
	t.Parallel()
	tests := map[string]joblog.Range{
		"000000000000-000000000000": {},
		"000000000020-00000000003f": {First: 0x20, Last: 0x3f},
		"ffffffffffff-ffffffffffff": {First: 1<<48 - 1, Last: 1<<48 - 1},
	}
	for name, want := range tests {
		got, err := joblog.ParseName(name)
		if err != nil || got != want || got.Name() != name {
			t.Errorf("ParseName(%q) = %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestBadName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "x", "-", "..", "../x", "000000000000", "000000000000-", "-000000000000", "000000000001-000000000000",
		"00000000000G-00000000000G",
		"00000000000A-00000000000A", "+00000000001-000000000001", "0x0000000001-0x0000000001", "0_0000000001-0_0000000001",
		"000000000000-000000000000-",
		"000000000000_000000000000", "00000000000-0000000000000", "0000000000000-0000000000000",
		"000000000000-000000000000/", "000000000000-000000000000\x00",
		strings.Repeat("0", 25), strings.Repeat("0", 1<<16),
	} {
		if r, err := joblog.ParseName(name); !errors.Is(err, job.ErrInvalid) || len(err.Error()) > 200 {
			t.Errorf("ParseName(%.40q) = %+v, %.300v", name, r, err)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	r := joblog.Range{First: 10, Last: 20}
	for o, want := range map[joblog.Range]bool{
		{10, 20}: true, {10, 10}: true, {20, 20}: true, {12, 15}: true, {9, 20}: false, {10, 21}: false, {0, 5}: false,
		{30, 40}: false,
	} {
		if got := r.Covers(o); got != want {
			t.Errorf("%+v covers %+v: %t, want %t", r, o, got, want)
		}
	}
}

// stored returns how a header's records are stored.
func stored(records ...spool.Record) string {
	var all []byte
	for _, r := range records {
		all = append(all, r.Encode()...)
	}
	return base64.StdEncoding.EncodeToString(all)
}

func at(stdout, stderr int64) spool.Position { return spool.Position{Stdout: stdout, Stderr: stderr} }

func TestReadHeader(t *testing.T) {
	t.Parallel()
	begun := time.UnixMicro(1_790_000_000_123_456)
	records := []spool.Record{{At: begun, Attempt: 2, End: at(5, 9)},
		{At: begun.Add(time.Second), Attempt: 3, End: at(8, 9)}}
	for line, want := range map[string][]spool.Record{
		`{"stdout":5,"stderr":7,"records":"` + stored(records...) + `"}` + "\n": records,
		// As agents wrote it that did not know times.
		`{"stdout":5,"stderr":7,"runs":[{"stream":"stderr","bytes":2},{"stream":"stdout","bytes":3}]}` +
			"\n": {{End: at(5, 9)}, {End: at(8, 9)}},
	} {
		got, n, err := joblog.ReadHeader(strings.NewReader(line + "\n\x00\xffab"))
		if diff := cmp.Diff(&joblog.Header{Start: at(5, 7), Records: want}, got); diff != "" || err != nil ||
			n != int64(len(line)) {
			t.Fatalf("%d bytes, %v (-want +got):\n%s", n, err, diff)
		}
		if got.Body() != 5 || got.End() != at(8, 9) {
			t.Errorf("body %d, end %+v", got.Body(), got.End())
		}
	}
}

func TestBadHeader(t *testing.T) {
	t.Parallel()
	huge := fmt.Sprintf(`{"stream":"stdout","bytes":%d}`, int64(1)<<62)
	for name, data := range map[string]string{
		"nothing":           "",
		"no end":            "{}",
		"no JSON":           "stdout\n",
		"another type":      "[]\n",
		"negative position": `{"stdout":-1}` + "\n",
		"negative run":      `{"runs":[{"stream":"stdout","bytes":-1}]}` + "\n",
		"no stream":         `{"runs":[{"bytes":1}]}` + "\n",
		"another stream":    `{"runs":[{"stream":"stdin","bytes":1}]}` + "\n",
		"number too large":  `{"stdout":9223372036854775808}` + "\n",
		"far out":           `{"stdout":9223372036854775807}` + "\n",
		"half a record":     `{"records":"AAAA"}` + "\n",
		"no base64":         `{"records":"AAA*"}` + "\n",
		"goes back":         `{"stdout":5,"records":"` + stored(spool.Record{End: at(4, 9)}) + `"}` + "\n",
		"goes back later":   `{"records":"` + stored(spool.Record{End: at(4, 9)}, spool.Record{End: at(5, 8)}) + `"}` + "\n",
		"more than fit":     `{"records":"` + stored(spool.Record{End: at(joblog.MaxSegment, 0)}) + `"}` + "\n",
		"sum overflows":     `{"runs":[` + huge + "," + huge + "," + huge + `]}` + "\n",
		"too many bytes":    fmt.Sprintf(`{"runs":[{"stream":"stdout","bytes":%d}]}`, joblog.MaxSegment+1) + "\n",
		"too long":          `{"runs":[` + strings.Repeat(" ", joblog.MaxSegment) + `]}` + "\n",
	} {
		if h, n, err := joblog.ReadHeader(strings.NewReader(data)); err == nil {
			t.Errorf("%s: header %+v of %d bytes", name, h, n)
		}
	}
}

// FuzzReadHeader gives any bytes to the parser of headers. What it lets through must be fit to be
// reckoned with.
func FuzzReadHeader(f *testing.F) {
	f.Add([]byte(`{"stdout":0,"stderr":5,"runs":[{"stream":"stdout","bytes":3}]}` + "\nabc"))
	f.Add([]byte(`{"stdout":1,"stderr":5,"records":"` + stored(spool.Record{Attempt: 1, End: at(4, 5)}) + `"}` + "\nabc"))
	f.Add([]byte("{}\n"))
	f.Add([]byte("null\n"))
	f.Add([]byte(`{"stdout":9223372036854775807,"runs":[{"stream":"stdout","bytes":9223372036854775807}]}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, n, err := joblog.ReadHeader(bytes.NewReader(data))
		if err != nil {
			return
		}
		if n < 1 || n > int64(len(data)) || data[n-1] != '\n' {
			t.Errorf("the header takes %d of %d bytes", n, len(data))
		}
		before := h.Start
		for _, r := range h.Records {
			if r.End.Stdout < before.Stdout || r.End.Stderr < before.Stderr || r.End.Stdout < 0 {
				t.Errorf("record %+v after %+v", r, before)
			}
			before = r.End
		}
		if h.End() != before || h.Start.Stdout < 0 || h.Start.Stderr < 0 {
			t.Errorf("from %+v to %+v", h.Start, h.End())
		}
		if body := h.Body(); body < 0 || body > joblog.MaxSegment {
			t.Errorf("body of %d bytes", body)
		}
	})
}

// FuzzParseName gives any text to the parser of names.
func FuzzParseName(f *testing.F) {
	f.Add("000000000001-00000000000f")
	f.Add("+00000000001-000000000001")
	f.Add("00000000000A-00000000000A")
	f.Fuzz(func(t *testing.T, name string) {
		r, err := joblog.ParseName(name)
		switch {
		case err != nil && !errors.Is(err, job.ErrInvalid):
			t.Errorf("%q: %v", name, err)
		case err == nil && (r.Name() != name || r.First > r.Last):
			t.Errorf("%q is %+v, whose name is %q", name, r, r.Name())
		}
	})
}
