package auth

// Addresses is how many addresses with failed logins are kept.
func Addresses(g *Gateway) int {
	g.failures.mu.Lock()
	defer g.failures.mu.Unlock()
	return len(g.failures.by)
}
