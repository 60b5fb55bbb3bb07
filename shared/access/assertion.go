package access

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go-job-orchestrator/shared/token"
)

// AssertionHeader carries, from the gateway to the functions behind it, who calls.
const AssertionHeader = "Gojob-Assertion"

// AssertionLifetime is how long an assertion is valid. A request waits for a cold start before its
// function reads the assertion, and clocks differ by some seconds.
const AssertionLifetime = time.Minute

// maxSkew is how far ahead the clock of the gateway may be.
const maxSkew = 10 * time.Second

// assertionPurpose keeps the codes of assertions apart from all others under the same keys.
const assertionPurpose = "assertion/v1"

// ErrAssertion is the error for an assertion that is forged, expired, or of another request.
var ErrAssertion = errors.New("not a valid assertion")

// claims are what an assertion says. The method and the path of the request are not in it: they are
// in its code, so an assertion is of no use for another request.
type claims struct {
	Owner string `json:"sub"`
	Role  Role   `json:"role"`
	Via   string `json:"via"`
	Time  int64  `json:"iat"` // seconds since 1970
}

// Assert puts onto a request who sends it.
func Assert(r *http.Request, c Caller, keys token.Keys, now time.Time) error {
	data, err := json.Marshal(claims{c.Owner, c.Role, c.Via, now.Unix()})
	if err != nil {
		return fmt.Errorf("encode an assertion: %w", err)
	}
	payload := base64.RawURLEncoding.EncodeToString(data)
	code := keys.Code(assertionPurpose, payload, r.Method, r.URL.EscapedPath())
	r.Header.Set(AssertionHeader, payload+"."+code)
	return nil
}

// ReadAssertion returns who the gateway says has sent the request, and false if it says nothing.
// Every other error is ErrAssertion.
func ReadAssertion(r *http.Request, keys token.Keys, now time.Time) (c Caller, found bool, err error) {
	values := r.Header.Values(AssertionHeader)
	if len(values) == 0 {
		return Caller{}, false, nil
	}
	payload, code, _ := strings.Cut(values[0], ".")
	if len(values) > 1 || !keys.VerifyCode(code, assertionPurpose, payload, r.Method, r.URL.EscapedPath()) {
		return Caller{}, false, fmt.Errorf("%w: its code is not that of this request", ErrAssertion)
	}
	var said claims
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(data, &said)
	}
	if err != nil {
		return Caller{}, false, fmt.Errorf("%w: %w", ErrAssertion, err)
	}
	age := now.Sub(time.Unix(said.Time, 0))
	if age > AssertionLifetime || age < -maxSkew {
		return Caller{}, false, fmt.Errorf("%w: it is %s old; it is valid for %s",
			ErrAssertion, age.Round(time.Second), AssertionLifetime)
	}
	return Caller{Owner: said.Owner, Role: said.Role, Via: said.Via}, true, nil
}
