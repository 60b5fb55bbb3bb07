package serve

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// NewLog returns the log of a process: JSON in a cluster, for people elsewhere.
func NewLog() *slog.Logger { return newLog(os.Stderr, os.Getenv("KUBERNETES_SERVICE_HOST") != "") }

func newLog(to io.Writer, inCluster bool) *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: shorten}
	if inCluster {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

// The bounds of one attribute. Much of what is logged comes from clients; a stack does not, and its
// end matters.
const (
	maxValue = 1 << 10
	maxStack = 32 << 10
)

// shorten bounds an attribute, the message among them.
func shorten(_ []string, a slog.Attr) slog.Attr {
	most := maxValue
	if a.Key == "stack" {
		most = maxStack
	}
	var text string
	switch a.Value.Kind() {
	case slog.KindString:
		text = a.Value.String()
	case slog.KindAny:
		// As the handlers for people write it; one in JSON is larger, but rarely so large.
		text = fmt.Sprintf("%+v", a.Value.Any())
	default:
		return a
	}
	if len(text) > most {
		a.Value = slog.StringValue(fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:most], ""), len(text)))
	}
	return a
}
