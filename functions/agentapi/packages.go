package agentapi

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/dependencies"
	"go-job-orchestrator/shared/indexgate"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/treecache"
	"go-job-orchestrator/shared/upload"
)

// PackageSettings are those of the installation of packages.
type PackageSettings = dependencies.Settings

// packages plans the installation of packages in pods, keeps what they installed, and leads them to
// the package indexes. The credentials of the indexes do not leave this process.
type packages struct {
	settings dependencies.Settings
	cache    *treecache.Cache
	gate     *indexgate.Gate // nil: no indexes are set
}

func openPackages(d Deps, b *upload.Base) (*packages, error) {
	p := &packages{cache: &treecache.Cache{Store: b.Store, Now: b.Now, Log: b.Log}}
	if err := d.Env.Load(&p.settings); err != nil {
		return nil, err
	}
	p.cache.Limit = int64(p.settings.Cache)
	var err error
	// All instances of this function serve the same installations, so they need the same key.
	p.gate, err = indexgate.New(&p.settings.Indexes, []byte(b.Keys.Derive(token.Index, "")), b.Log)
	return p, err
}

// maxPackages bounds the archive of installed packages that a pod sends, before it is compressed.
const maxPackages = 64 << 30

func (p *packages) mount(f *Function, r *api.Router) {
	r.Handle(routes.PlanPackages, f.receive(maxManifest, f.plan))
	r.Handle(routes.ClaimPackages, f.forKey(maxRecord, f.claimPackages))
	r.Handle(routes.ReleasePackages, f.forKey(maxRecord, f.releasePackages))
	r.Handle(routes.GetPackages, f.getPackages)
	r.Handle(routes.PutPackages, f.forKey(maxPackages, f.putPackages))
	r.Handle(routes.GetIndex, f.index)
	r.Handle(routes.HeadIndex, f.index)
}

// forKey returns a handler for what is sent for a key of the cache.
func (f *Function) forKey(limit int64, to func(key string) upload.Store) api.Handler {
	return func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
		return f.receive(limit, to(p.ByName("key")))(w, r, p)
	}
}

// plan answers with what is to be installed for a job, or nothing. From then on the job is preparing.
func (f *Function) plan(ctx context.Context, u upload.Upload) (any, error) {
	if u.Index.Dependencies == job.DependenciesOff {
		return nil, nil //nolint:nilnil // nothing is to be installed
	}
	var sources prepare.Sources
	if err := u.Body.Decode(ctx, &sources); err != nil {
		return nil, err
	}
	sources.Runtime, sources.Entrypoint = u.Index.Runtime, u.Index.Entrypoint
	plan, err := f.packages.settings.Plan(&sources)
	if err != nil || plan == nil {
		return nil, err
	}
	id := u.Index.JobID
	if f.packages.gate != nil && !plan.Offline {
		base := strings.TrimSuffix(sources.Service, "/") +
			strings.TrimSuffix(routes.GetIndex.URL(string(id), f.Keys.Derive(token.Index, id), ""), "/")
		plan.Env = f.packages.gate.Env(base, &sources)
	}
	if err := f.Ledger.BeginPreparing(ctx, id); err != nil {
		return nil, err
	}
	return plan, nil
}

func (f *Function) claimPackages(key string) upload.Store {
	return func(ctx context.Context, u upload.Upload) (any, error) {
		turn, err := f.packages.cache.Claim(ctx, u.Index.Owner, key, string(u.Index.JobID))
		return prepare.Claimed{Turn: turn}, err
	}
}

func (f *Function) releasePackages(key string) upload.Store {
	return func(ctx context.Context, u upload.Upload) (any, error) {
		return nil, f.packages.cache.Release(ctx, u.Index.Owner, key, string(u.Index.JobID))
	}
}

func (f *Function) putPackages(key string) upload.Store {
	return func(ctx context.Context, u upload.Upload) (any, error) {
		return nil, f.packages.cache.Put(ctx, u.Index.Owner, key, string(u.Index.JobID), u.Body)
	}
}

// getPackages answers with cached packages, as a tar archive. One that turns out to be spoiled is
// cut off.
func (f *Function) getPackages(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := f.read(r, p)
	if err != nil {
		return err
	}
	index, err := f.Ledger.Index(r.Context(), id)
	if err != nil {
		return err
	}
	in, err := f.packages.cache.Open(r.Context(), index.Owner, p.ByName("key"))
	if err != nil {
		return err
	}
	defer in.Close()
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return api.Stream(w, r, f.Log.With("job", id), func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}

// index leads an installer to a package index, while the job's packages are installed: never while
// its program runs, which may know the address.
func (f *Function) index(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return err
	}
	secret := p.ByName("token")
	if f.packages.gate == nil {
		return job.ErrNotFound
	}
	if err := f.checkPreparing(r.Context(), id); err != nil {
		return err
	}
	path := r.URL.EscapedPath()
	at := strings.TrimSuffix(routes.GetIndex.URL(string(id), secret, ""), "/")
	rest, found := strings.CutPrefix(path, at)
	if !found {
		return job.ErrNotFound
	}
	f.packages.gate.Serve(w, r, serviceOf(r)+at, rest)
	return nil
}

// serviceOf is where a client reaches this function.
func serviceOf(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// checkPreparing is an error for a job whose program runs, or that is over.
func (f *Function) checkPreparing(ctx context.Context, id job.ID) error {
	if _, err := f.Ledger.Index(ctx, id); err != nil {
		return err
	}
	over, err := f.Ledger.Over(ctx, id)
	if err != nil {
		return err
	}
	attempts, err := f.Ledger.Attempts(ctx, id)
	if err != nil {
		return err
	}
	if n := len(attempts); over || n > 0 && attempts[n-1].FinishedAt == nil {
		return api.Fail(http.StatusConflict, "The job's packages are not being installed.")
	}
	return nil
}
