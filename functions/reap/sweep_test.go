package reap_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/treecache"
)

// packages has the reaper keep next to no packages, and returns what stores an entry.
func (f *fixture) packages() (store func(key string)) {
	f.T.Helper()
	var err error
	f.reap, err = reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example", "DEPENDENCY_CACHE_BYTES=1"),
		Events: &event.Events{Sink: f, Ledger: f.Ledger}, Stopper: backend.Remote().Stopper})
	f.Must(err)
	cache := &treecache.Cache{Store: f.Store, Limit: 1 << 20, Now: f.clock, Log: slog.New(slog.DiscardHandler)}
	return func(key string) {
		f.T.Helper()
		f.Must(cache.Put(f.T.Context(), "ann", strings.Repeat(key, 64), "holder", strings.NewReader("packages")))
	}
}

// TestSweepsEverything has something old of each kind that is not a job's. A round removes all of it.
func TestSweepsEverything(t *testing.T) {
	f := newFixture(t)
	store := f.packages()
	store("a")
	_, err := f.Ledger.JoinChain(t.Context(), f.ID(), ledger.Lineage{Root: f.ID()}, 10)
	f.Must(err)
	upload := f.ID()
	f.Must(template.NewStore(f.Store, f.clock).Begin(t.Context(), "resize", upload))
	_, err = f.Store.Put(t.Context(), template.FileKey("resize", upload, "main.py"), strings.NewReader("x"))
	f.Must(err)
	f.Must(f.Store.Create(t.Context(), ledger.Reserved+"owner-entries.json", []byte(`{}`)))
	temp := filepath.Join(f.Dir, ".tmp", "left")
	f.Must(os.WriteFile(temp, nil, 0o600))
	f.Must(os.Chtimes(temp, time.Time{}, time.Now().Add(-3*time.Hour))) // that of the files, not of the test
	f.pass(72 * time.Hour)
	f.once(reap.Result{})
	f.wantNothing()
}

// TestSweepsPackagesSeldom looks at all cached packages every ten minutes.
func TestSweepsPackagesSeldom(t *testing.T) {
	f := newFixture(t)
	store := f.packages()
	f.once(reap.Result{})
	store("a")
	f.pass(10*time.Minute - time.Second)
	f.once(reap.Result{})
	if len(f.Files()) == 0 {
		t.Error("swept twice in ten minutes")
	}
	f.pass(time.Second)
	f.once(reap.Result{})
	f.wantNothing()
}

// TestLaunchesSeveralAtATime has a sink that takes a second for each event.
func TestLaunchesSeveralAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{now: time.Now()}
		f.Fixture = ledgertest.Open(t, "", f.clock)
		s := &slowSink{takes: time.Second}
		var err error
		f.reap, err = reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
			Events: &event.Events{Sink: s, Ledger: f.Ledger}, Stopper: backend.Remote().Stopper})
		f.Must(err)
		const jobs = 2 * event.MaxSending
		for range jobs {
			f.Job()
		}
		f.pass(time.Minute)
		f.once(reap.Result{Relaunched: jobs})
		if s.most != event.MaxSending {
			t.Errorf("launched %d at a time", s.most)
		}
	})
}
