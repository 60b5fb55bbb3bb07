//go:build s3 && gs && azblob

package buckets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/storetest"
)

// patience is how long the tests wait for a bucket that does not answer.
const patience = 2 * time.Second

// TestLostAnswers has writes stored whose answers never come: the writer must learn that the record
// is its own.
func TestLostAnswers(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		for name, times := range map[string]int64{"one": 1, "two": 2, "all": 0} {
			t.Run(name, func(t *testing.T) {
				b := storetest.WithPatience(s.fresh(t), 10*time.Second, 10*time.Second)
				f := &fault{applies: isWrite, times: times, answer: hangUp}
				right := s.proxy.wrong(f)
				defer right()
				if err := b.Create(t.Context(), "a/claim", []byte("the same")); err != nil {
					t.Errorf("Create: %v", err)
				}
				if f.hits.Load() == 0 {
					t.Error("no answer was lost")
				}
				right()
				if err := b.Create(t.Context(), "a/claim", []byte("the same")); !errors.Is(err, job.ErrExists) {
					t.Errorf("Create of what another stored: %v, want ErrExists", err)
				}
				if got, err := b.Read(t.Context(), "a/claim"); err != nil || string(got) != "the same" {
					t.Errorf("Read = %q, %v", got, err)
				}
			})
		}
	})
}

// TestLostAnswersOfMany has one winner all the same.
func TestLostAnswersOfMany(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		b := s.fresh(t)
		for round := range 5 {
			f := &fault{applies: isWrite, times: 4, answer: hangUp}
			right := s.proxy.wrong(f)
			const writers = 8
			errs := make([]error, writers)
			var all sync.WaitGroup
			key := fmt.Sprintf("claim/%d", round)
			for w := range writers {
				all.Go(func() { errs[w] = b.Create(t.Context(), key, fmt.Appendf(nil, "writer %d", w)) })
			}
			all.Wait()
			right()
			got, err := b.Read(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			for w, err := range errs {
				mine := string(got) == fmt.Sprintf("writer %d", w)
				if mine != (err == nil) || err != nil && !errors.Is(err, job.ErrExists) {
					t.Errorf("round %d: %q is stored, and writer %d was told %v", round, got, w, err)
				}
			}
		}
	})
}

// TestConflict has an S3 server refuse writes because of other writes at the same time. It asks the
// client to send them again.
func TestConflict(t *testing.T) {
	s := running["s3"]
	for _, code := range []string{"ConditionalRequestConflict", "ExistingObjectIsDirectory"} {
		b := s.fresh(t)
		f := &fault{applies: isWrite, times: 2, unsent: true, answer: refusal(http.StatusConflict, code)}
		right := s.proxy.wrong(f)
		defer right()
		if err := b.Create(t.Context(), "a/claim", []byte("mine")); err != nil || f.hits.Load() != 3 {
			t.Errorf("%s: Create after %d requests: %v", code, f.hits.Load(), err)
		}
		f.hits.Store(0)
		if _, err := b.Put(t.Context(), "a/blob", strings.NewReader("put")); err != nil || f.hits.Load() != 3 {
			t.Errorf("%s: Put after %d requests: %v", code, f.hits.Load(), err)
		}
		f.times = 0
		if err := b.Create(t.Context(), "a/other", []byte("other")); !errors.Is(err, job.ErrUnavailable) {
			t.Errorf("%s: Create of what is always refused: %v, want ErrUnavailable", code, err)
		}
		right()
		if got, err := b.List(t.Context(), "", "", 10); err != nil || cmp.Diff([]string{"a/blob", "a/claim"}, got) != "" {
			t.Errorf("%s: List = %q, %v", code, got, err)
		}
	}
}

// TestCutUpload breaks every connection on which a blob comes: nothing is stored, and nothing is
// left behind.
func TestCutUpload(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		name := s.bucket(t)
		b := storetest.WithPatience(s.open(t, name, ""), patience, patience)
		right := s.proxy.wrong(&fault{applies: isWrite, cut: 100_000})
		defer right()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := b.Put(ctx, "job/large", bytes.NewReader(make([]byte, 20<<20))); !errors.Is(err, job.ErrUnavailable) {
			t.Errorf("Put: %v, want ErrUnavailable", err)
		}
		right()
		if _, err := b.Stat(t.Context(), "job/large"); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("Stat: %v, want ErrNotFound", err)
		}
		if err := b.Sweep(t.Context(), 0); err != nil {
			t.Errorf("Sweep: %v", err)
		}
		if s.name == "s3" {
			wantNoUploads(t, s, name)
		}
	})
}

// TestGivenUp is the same with a sender that breaks off midway.
func TestGivenUp(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		name := s.bucket(t)
		b := s.open(t, name, "")
		gone := errors.New("the client went away")
		body := io.MultiReader(bytes.NewReader(make([]byte, 30<<20)),
			readerFunc(func([]byte) (int, error) { return 0, gone }))
		if _, err := b.Put(t.Context(), "job/large", body); !errors.Is(err, gone) {
			t.Errorf("Put: %v, want the reader's error", err)
		}
		if got, err := b.List(t.Context(), "", "", 10); err != nil || len(got) > 0 {
			t.Errorf("stored: %q, %v", got, err)
		}
		if err := b.Sweep(t.Context(), time.Hour); err != nil {
			t.Errorf("Sweep: %v", err)
		}
		if err := b.Sweep(t.Context(), 0); err != nil {
			t.Errorf("Sweep: %v", err)
		}
		if s.name == "s3" {
			wantNoUploads(t, s, name)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// wantNoUploads asks S3 for uploads that were begun and never ended.
func wantNoUploads(t *testing.T, s *server, name string) {
	t.Helper()
	b, err := blob.OpenBucket(t.Context(), s.url(s.direct, name))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var client *s3.Client
	b.As(&client)
	out, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(name)})
	if err != nil || len(out.Uploads) > 0 {
		t.Errorf("%d uploads are left: %v", len(out.Uploads), err)
	}
}

// operations calls every operation of a bucket at the same time, on a bucket where none can have an
// effect. They take as long as they may.
func operations(ctx context.Context, b *store.Store) map[string]error {
	readAll := func() error {
		r, err := b.Open(ctx, "job/blob", 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	calls := map[string]func() error{
		"Put":       func() error { return second(b.Put(ctx, "job/new", strings.NewReader("x"))) },
		"Create":    func() error { return b.Create(ctx, "job/new", []byte("x")) },
		"Mark":      func() error { return b.Mark(ctx, "job/mark") },
		"Read":      func() error { return second(b.Read(ctx, "job/blob")) },
		"Open":      readAll,
		"Stat":      func() error { return second(b.Stat(ctx, "job/blob")) },
		"Exists":    func() error { return second(b.Exists(ctx, "job/blob")) },
		"List":      func() error { return second(b.List(ctx, "job/", "", 5)) },
		"Remove":    func() error { return b.Remove(ctx, "job/blob") },
		"RemoveAll": func() error { return b.RemoveAll(ctx, "job/") },
	}
	errs := make(map[string]error, len(calls))
	var all sync.WaitGroup
	var one sync.Mutex
	for name, call := range calls {
		all.Go(func() {
			err := call()
			one.Lock()
			defer one.Unlock()
			errs[name] = err
		})
	}
	all.Wait()
	return errs
}

func second[T any](_ T, err error) error { return err }

// TestAway has a server that gives no useful answer. Each call must report that, never that a blob
// is missing, and must end in time.
func TestAway(t *testing.T) {
	kinds := map[string]*fault{
		"busy":     {applies: always, unsent: true, answer: status(http.StatusServiceUnavailable)},
		"broken":   {applies: always, unsent: true, answer: status(http.StatusInternalServerError)},
		"too many": {applies: always, unsent: true, answer: status(http.StatusTooManyRequests)},
		"hung up":  {applies: always, unsent: true, answer: hangUp},
		"silent":   {applies: always, unsent: true, silent: true},
	}
	each(t, func(t *testing.T, s *server) {
		for name, f := range kinds {
			t.Run(name, func(t *testing.T) {
				b := s.fresh(t)
				if _, err := b.Put(t.Context(), "job/blob", strings.NewReader("there")); err != nil {
					t.Fatal(err)
				}
				right := s.proxy.wrong(f)
				defer right()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // which nothing may need
				defer cancel()
				for op, err := range operations(ctx, storetest.WithPatience(b, patience, patience)) {
					if !errors.Is(err, job.ErrUnavailable) || ctx.Err() != nil {
						t.Errorf("%s: %v, want ErrUnavailable", op, err)
					}
				}
				right()
				if got, err := b.Read(t.Context(), "job/blob"); err != nil || string(got) != "there" {
					t.Errorf("afterwards Read = %q, %v", got, err)
				}
			})
		}
	})
}

// TestStuck has answers stop after their head.
func TestStuck(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		b := s.fresh(t)
		if _, err := b.Put(t.Context(), "job/blob", strings.NewReader("there")); err != nil {
			t.Fatal(err)
		}
		right := s.proxy.wrong(&fault{applies: func(r *http.Request) bool { return r.Method == http.MethodGet }, stuck: true})
		defer right()
		hurried := storetest.WithPatience(b, patience, patience)
		for op, err := range map[string]error{
			"Read": second(hurried.Read(t.Context(), "job/blob")), "List": second(hurried.List(t.Context(), "job/", "", 5)),
			"RemoveAll": hurried.RemoveAll(t.Context(), "job/"),
		} {
			if !errors.Is(err, job.ErrUnavailable) {
				t.Errorf("%s: %v, want ErrUnavailable", op, err)
			}
		}
	})
}

// TestForbidden takes the rights away. This error is neither a missing blob nor a temporary one.
func TestForbidden(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		b := s.fresh(t)
		if _, err := b.Put(t.Context(), "job/blob", strings.NewReader("there")); err != nil {
			t.Fatal(err)
		}
		right := s.proxy.wrong(&fault{applies: always, unsent: true, answer: status(http.StatusForbidden)})
		defer right()
		for op, err := range operations(t.Context(), b) {
			if err == nil || errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrExists) ||
				errors.Is(err, job.ErrUnavailable) {
				t.Errorf("%s: %v, want an error of no kind", op, err)
			}
		}
	})
}

// TestRecovers has a server that fails sometimes. Callers must not notice it.
func TestRecovers(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		b := s.fresh(t)
		if _, err := b.Put(t.Context(), "job/blob", strings.NewReader("there")); err != nil {
			t.Fatal(err)
		}
		for name, answer := range map[string]func(http.ResponseWriter,
			*http.Request){"busy": status(http.StatusServiceUnavailable), "hung up": hangUp} {
			f := &fault{applies: func(r *http.Request) bool { return r.Method == http.MethodGet }, times: 1, unsent: true,
				answer: answer}
			right := s.proxy.wrong(f)
			if got, err := b.Read(t.Context(), "job/blob"); err != nil || string(got) != "there" || f.hits.Load() < 2 {
				t.Errorf("%s: Read = %q, %v after %d requests", name, got, err, f.hits.Load())
			}
			right()
		}
	})
}
