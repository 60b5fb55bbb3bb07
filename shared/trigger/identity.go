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

// Identity returns a digest of an event's source and id, and of all else that the job's program
// would see. A producer gives two events with the same source and id the same content, so equal
// events have equal digests. A forged event has other content, and so another digest. The digest
// leaves out what brokers and senders add or change on the way, the mode of the request, and the
// space between the values of JSON. It also leaves out the time: SDKs set it when they make an
// event, and a producer that repeats an event may make it anew.
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
		_, _ = io.Copy(h, compacted(e.Data())) // neither can fail
	} else {
		h.Write(e.Data())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// write adds a text after its length, so that two different lists of texts never give the same
// bytes.
func write(h hash.Hash, text string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(text)))
	h.Write(length[:])
	h.Write([]byte(text))
}

// isInTransit reports whether brokers and senders may add or change the extension on the way.
func isInTransit(name string) bool {
	return strings.HasPrefix(name, "knative") || slices.Contains([]string{ours.TraceParent, ours.TraceState, ours.Hops},
		name)
}

// contentType returns the normalized content type of the event's data. In structured mode JSON may
// have none, and the charset of JSON is always UTF-8.
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
