package access

import "context"

// The tokens of jobs by which a request without a caller can be let in, as TokenOf names them.
const (
	UserToken   = "job token"
	SharedToken = "shared token"
	AgentToken  = "agent token"
)

type tokenKey struct{}

// WithToken returns a context that says which token of a job has let a request in.
func WithToken(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, tokenKey{}, token)
}

// TokenOf returns which token of a job has let a request in, and nothing if none has.
func TokenOf(ctx context.Context) string {
	token, _ := ctx.Value(tokenKey{}).(string)
	return token
}
