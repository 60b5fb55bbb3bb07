package store

import (
	"time"

	"go-job-orchestrator/shared/store/internal/testhook"
)

func init() {
	testhook.WithHook = func(s any, hook func(op, key string) error) any {
		again := *s.(*Store) //nolint:forcetypeassert // see testhook
		again.hook = hook
		return &again
	}
	testhook.WithReads = func(s any, hook func(op, key string)) any {
		again := *s.(*Store) //nolint:forcetypeassert // see testhook
		again.reads = hook
		return &again
	}
	testhook.WithPatience = func(s any, answer, stall time.Duration) any {
		again := *s.(*Store) //nolint:forcetypeassert // see testhook
		again.driver = again.driver.withPatience(answer, stall)
		return &again
	}
}
