package events_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go-job-orchestrator/shared/admission/admissiontest"
)

func TestMain(m *testing.M) { admissiontest.Main(m, openAll) }

// TestMemoryOfEvents sends forty events at once that are as large as they may be, of the shapes
// that take the most memory to read.
func TestMemoryOfEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 160 MiB")
	}
	pid, url := admissiontest.Process(t)
	w := &admissiontest.Server{T: t, HTTP: &httptest.Server{URL: url}}
	w.PutTemplate("a", "", script(field("args", `["$.data[0]","$..none"]`))...)
	idle := admissiontest.Peak(t, pid)
	const clients, size = 40, 4<<20 - 1000
	fill := func(element string) string {
		return "[" + strings.Repeat(element+",", (size-2)/(len(element)+1)) + "0]"
	}
	shapes := []string{
		fill("0"), fill("[]"), fill(`{"":0}`), fill(`""`), strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		`"` + strings.Repeat("x", size) + `"`, `{"x":[` + strings.Repeat(" ", size-20) + "]}",
	}
	structured := func(data, more string) string {
		return `{"specversion":"1.0","id":"1","source":"/s","type":"t"` + more + `,"data":` + data[:len(data)-200] + "}"
	}
	var wait sync.WaitGroup
	for n := range clients {
		wait.Go(func() {
			data := shapes[n%len(shapes)]
			send(w, "?template=a", data, eventHeader(fmt.Sprint(n))...)
			send(w, "?template=a", structured(`"`+data[:len(data)-300]+`"`, ""), "Content-Type", "application/cloudevents+json")
			send(w, "?template=a", structured("[0]"+strings.Repeat(" ", 300), `,"ext":`+data[:len(data)-300]), "Content-Type",
				"application/cloudevents+json")
		})
	}
	wait.Wait()
	rise := admissiontest.Peak(t, pid) - idle
	t.Logf("memory rose by %.1f MiB: %.1f for each of the %d events of 4 MiB", float64(rise)/(1<<20),
		float64(rise)/(1<<20)/clients, clients)
	if most := int64(clients * 3 * size * memoryFactor); rise > most {
		t.Errorf("memory rose by %.1f MiB, want at most %d", float64(rise)/(1<<20), most>>20)
	}
}
