package gojob

import (
	"fmt"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// badLine is a proxy between gojob and a server, on which faults can be switched on.
type badLine struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// newBadLine returns a line to a server, without faults.
func newBadLine(t testing.TB, s *server) *badLine {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &badLine{t: t, proxy: toxiproxy.NewProxy(api, t.Name(), "localhost:0", "localhost:"+s.port)}
	if err := l.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

func (l *badLine) url() string { return "http://" + l.proxy.Listen }

// add switches a fault on: a toxic, such as limit_data, towards upstream or downstream, with
// attributes in JSON.
func (l *badLine) add(name, toxic, towards, attributes string) {
	l.t.Helper()
	text := fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"attributes":%s}`, name, toxic, towards, attributes)
	if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
		l.t.Fatal(err)
	}
}
