//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestFiles has a program in a pod run another uploaded one, and write where nothing is collected.
func TestFiles(t *testing.T) {
	t.Parallel()
	f := shell("./tool && ! [ -x data ] && echo x >out.csv && mkdir -p results/stdout.log results/empty && echo x " +
		">results/stdout.log/x")
	f.files["tool"], f.files["data"] = strings.NewReader("#!/bin/sh\necho tool"), strings.NewReader("data")
	j := installed(t).submit(t, f)
	j.ends("Succeeded", "Completed")
	if got := j.logs("tail=all"); got != "tool\n" {
		t.Errorf("log %q", got)
	}
	_, data := j.call(http.MethodGet, "/api/v1/jobs/"+j.ID)
	for _, want := range []string{`"notCollected":{"count":1,"names":["out.csv"]}`,
		`{"name":"empty","reason":"is an empty folder`,
		`{"name":"stdout.log","reason":"is the name of the program's own log`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the status lacks %s: %s", want, data)
		}
	}
}

// TestJavaSources compiles several sources in a pod.
func TestJavaSources(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ helper, phase, reason, log, message string }{
		"compiled": {`package app; class Helper { static String text() { return "helped "; } }`, "Succeeded", "Completed",
			"helped $x\n", ""},
		"broken": {"package app; class Helper {\n static String text() { return 1; } }", "Failed", "Error", "",
			"it could not be compiled: Helper.java:2: error: "},
	} {
		t.Run(name, func(t *testing.T) {
			f := script("java", "Main.java",
				`package app; class Main { public static void main(String[] a) { System.out.println(Helper.text() + a[0]); } }`,
				"arg=$x")
			f.files["Helper.java"] = strings.NewReader(test.helper)
			j := installed(t).submit(t, f)
			end := j.ends(test.phase, test.reason)
			if got := j.logs("tail=all&stream=stdout"); got != test.log || !strings.HasPrefix(end.Message, test.message) {
				t.Errorf("log %q, message %q", got, end.Message)
			}
		})
	}
}
