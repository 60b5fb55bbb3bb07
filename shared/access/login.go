package access

import "slices"

// The words of AUTH, which say how callers are authenticated.
const (
	ModeAuto = "auto" // open on a loopback listener, else keys
	ModeOpen = "open"
	ModeKeys = "keys"
	ModeOIDC = "oidc"
)

// Login is what a command line or a page has to know to get credentials for its user. Nothing in it
// is secret. With ModeOIDC it sends the issuer's users through the device flow (RFC 8628) or the code
// flow with PKCE (RFC 7636), as a public client that has no secret. Then it calls with a token for
// Audience: the ID token where that is the client ID, and otherwise an access token that the issuer
// has made for the audience.
type Login struct {
	Modes    []string `json:"modes"` // ModeOpen alone, or ModeKeys and ModeOIDC
	Issuer   string   `json:"issuer,omitempty"`
	ClientID string   `json:"clientID,omitempty"` // empty: the operator has registered no client for such flows
	Audience string   `json:"audience,omitempty"`
}

// LoginSettings are as much of the gateway's settings as others need to know how callers log in. A
// function behind the gateway has them so that it need not link OpenID Connect.
type LoginSettings struct {
	Auth     []string `env:"AUTH" envDefault:"auto"`
	Issuer   string   `env:"OIDC_ISSUER"`
	Audience string   `env:"OIDC_AUDIENCE"`
	// ClientID is the public client of command lines and pages at the issuer.
	ClientID string `env:"OIDC_CLIENT_ID"`
}

// Login returns how callers log in at a gateway with these settings. loopback says that only programs
// of its own machine reach it.
func (s *LoginSettings) Login(loopback bool) Login {
	l := Login{Modes: slices.Clone(s.Auth)}
	if slices.Equal(l.Modes, []string{ModeAuto}) {
		l.Modes = []string{ModeKeys}
		if loopback {
			l.Modes = []string{ModeOpen}
		}
	}
	if slices.Contains(l.Modes, ModeOIDC) {
		l.Issuer, l.ClientID, l.Audience = s.Issuer, s.ClientID, s.Audience
	}
	return l
}
