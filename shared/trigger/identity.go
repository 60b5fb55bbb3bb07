package trigger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"maps"
	"mime"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	ours "go-job-orchestrator/shared/event"
)

// Identity is a digest of an event: of its source and id, and of all that the program it starts
// would see. A producer gives two events with the same source and id the same content, so it tells
// them apart as those two do. A forged event has other content, and so is another event. What
// brokers and senders on the way add or change does not count, nor the mode in which an event
// comes, nor the space between the values of JSON. The time does not count either: SDKs set it when
// they make an event, and a producer that sends the event again may make it again.
func Identity(e event.Event) string {
	h := sha256.New()
	for _, text := range []string{e.Source(), e.ID(), e.Type(), e.Subject(), e.DataSchema(), contentType(&e)} {
		write(h, text)
	}
	extensions := e.Extensions()
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		if isInTransit(name) {
			continue
		}
		text, err := types.Format(extensions[name])
		if err != nil { // New refuses such an event
			continue
		}
		write(h, name)
		write(h, text)
	}
	write(h, "data") // no extension has this name
	if formOf(&e) == asJSON {
		_, _ = io.Copy(h, compacted(e.Data())) // neither fails
	} else {
		h.Write(e.Data())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// write adds a text with its length before it, so that no two lists of texts run into the same
// bytes.
func write(h hash.Hash, text string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(text)))
	h.Write(length[:])
	h.Write([]byte(text))
}

// isInTransit reports whether brokers and senders on the way add or change an extension.
func isInTransit(name string) bool {
	return strings.HasPrefix(name, "knative") || slices.Contains([]string{ours.TraceParent, ours.TraceState, ours.Hops},
		name)
}

// contentType is what the event says of its data. JSON need not be named in structured mode, and it
// is always UTF-8.
func contentType(e *event.Event) string {
	given := e.DataContentType()
	if given == "" && formOf(e) == asJSON {
		return event.ApplicationJSON
	}
	kind, parameters, err := mime.ParseMediaType(given)
	if err != nil {
		return given
	}
	if isJSON(kind) && strings.EqualFold(parameters["charset"], "utf-8") {
		delete(parameters, "charset")
	}
	return mime.FormatMediaType(kind, parameters)
}
