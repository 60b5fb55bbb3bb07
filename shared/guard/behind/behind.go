// Package behind opens functions that stand behind the gateway.
package behind

import (
	"context"
	"errors"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/settings"
)

// Settings say who is let in besides the gateway.
type Settings struct {
	// Broker says that a request for POST /events without credentials comes from the Broker, since the
	// network lets in nothing else but the gateway.
	Broker bool `env:"EVENTS_FROM_BROKER" envDefault:"false"`
}

// function is what is guarded; serve.Function is one.
type function interface{ Mount(r *api.Router) }

// Guarded is a function behind the gateway, with what guards it.
type Guarded[F function] struct {
	Function F
	guard    *guard.Guard
}

// Mount routes the function.
func (g Guarded[F]) Mount(r *api.Router) { g.Function.Mount(r.Guarded(g.guard)) }

// Gateway returns what opens a function behind the gateway: it believes the gateway's assertions of
// who calls, and nobody else's.
func Gateway[F function](open func(*platform.Env) (F, error)) func(*settings.Env) (Guarded[F], error) {
	return func(process *settings.Env) (Guarded[F], error) {
		env := platform.Over(process)
		var s Settings
		err := env.Load(&s)
		keys, keysErr := env.Keys()
		f, openErr := open(env)
		if err := errors.Join(openErr, err, keysErr); err != nil {
			return Guarded[F]{}, err
		}
		return Guarded[F]{f, guard.New(guard.Deps{
			Identify: guard.Asserted(keys, env.Now), Tokens: keys, Owners: recorded{env}, Now: env.Now, Broker: s.Broker,
		})}, nil
	}
}

// recorded finds owners in the records of jobs. It opens them when it is asked: not every function
// has calls about jobs.
type recorded struct{ env *platform.Env }

// OwnerOf implements Owners.
func (o recorded) OwnerOf(ctx context.Context, id job.ID) (string, error) {
	records, err := o.env.Ledger()
	if err != nil {
		return "", err
	}
	return records.OwnerOf(ctx, id)
}
