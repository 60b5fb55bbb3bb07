package manifests

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"sigs.k8s.io/yaml"
)

// TestKo reads ko.yaml as ko does, and demands that images are built as make build builds.
func TestKo(t *testing.T) {
	text, err := os.ReadFile(root + "/ko.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var ko struct {
		BaseImage string   `json:"defaultBaseImage"`
		Flags     []string `json:"defaultFlags"`
		Ldflags   []string `json:"defaultLdflags"`
	}
	if err := yaml.UnmarshalStrict(text, &ko); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(ko.BaseImage, ":nonroot") || !slices.Equal(ko.Ldflags, []string{"-s", "-w"}) ||
		len(ko.Flags) != 1 {
		t.Fatalf("got %+v", ko)
	}
	makefile, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	tags := regexp.MustCompile(`(?m)^BASE_TAGS := (\S+)$`).FindSubmatch(makefile)
	if tags == nil {
		t.Fatal("the Makefile has no BASE_TAGS")
	}
	flags, err := template.New("").Option("missingkey=error").Parse(ko.Flags[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, env := range []map[string]string{
		{}, {"DRIVERS": "gs"}, {"DRIVERS": "s3,azblob"}, {"JOBS": "kubernetes"}, {"DRIVERS": "s3", "JOBS": "kubernetes"},
	} {
		env["HOME"] = "/"
		var got strings.Builder
		if err := flags.Execute(&got, map[string]any{"Env": env}); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("-tags=%s,%s,%s", tags[1], env["DRIVERS"], env["JOBS"])
		if got.String() != want {
			t.Errorf("%v: got %s, want %s", env, got.String(), want)
		}
	}
	if !regexp.MustCompile(`(?m)^export KO_CONFIG_PATH := ko.yaml$`).Match(makefile) {
		t.Error("the Makefile does not show ko its configuration")
	}
}
