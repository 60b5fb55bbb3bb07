package version

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	noted := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-11-29T15:00:00Z"}},
	}
	for name, test := range map[string]struct {
		build  *debug.BuildInfo
		linked Info
		want   Info
		text   string
	}{
		"from a repository": {
			noted, Info{}, Info{Version: "v1.2.3", Commit: "abc", Date: "2026-11-29T15:00:00Z"},
			"v1.2.3 (commit abc of 2026-11-29T15:00:00Z) ",
		},
		"by the linker": {
			noted, Info{Version: "v2.0.0", Commit: "def"},
			Info{Version: "v2.0.0", Commit: "def", Date: "2026-11-29T15:00:00Z"},
			"v2.0.0 (commit def of 2026-11-29T15:00:00Z) ",
		},
		"from an archive": {
			&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, Info{},
			Info{Version: Unknown, Commit: Unknown, Date: Unknown},
			"unknown (commit unknown) ",
		},
		"not noted": {
			nil, Info{Version: "v1.2.3"}, Info{Version: "v1.2.3", Commit: Unknown, Date: Unknown},
			"v1.2.3 (commit unknown) ",
		},
	} {
		test.want.Go = runtime.Version()
		got := read(test.build, test.linked)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if want := test.text + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH; got.String() != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestLogValue(t *testing.T) {
	var out strings.Builder
	info := Info{Version: "v1.2.3", Commit: "abc", Date: "2026-11-29T15:00:00Z", Go: "go1.26"}
	slog.New(slog.NewTextHandler(&out, nil)).Info("starting", "", info)
	want := `msg=starting version=v1.2.3 commit=abc date=2026-11-29T15:00:00Z go=go1.26`
	if !strings.Contains(out.String(), want) {
		t.Errorf("got %q, want %q in it", &out, want)
	}
}
