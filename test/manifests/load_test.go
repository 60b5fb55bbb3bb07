// Package manifests checks config/ against the rules of Kubernetes, of Knative and of this project.
package manifests

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	knativenetworking "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/config"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../.."
	folder    = root + "/config"
	namespace = "job-orchestrator"
	commands  = "go-job-orchestrator/functions/cmd/"
)

// object is one document of a manifest.
type object struct {
	file   string
	Object runtime.Object
	meta   metav1.Object
}

// scheme knows all kinds that we use.
func scheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, networkingv1.AddToScheme,
		servingv1.AddToScheme, servingv1beta1.AddToScheme, eventingv1.AddToScheme, sourcesv1.AddToScheme,
		knativenetworking.AddToScheme,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// files lists the manifests with the ending.
func files(t testing.TB, ending string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ending {
			all = append(all, path)
		}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("manifests %s: %q, %v", ending, all, err)
	}
	return all
}

// image is what ko puts in the place of a command.
var image = regexp.MustCompile(`ko://([a-z0-9/_-]+)`)

// load decodes the manifests as ko would send them. Unknown and repeated fields fail.
func load(t testing.TB, ending string) []object {
	t.Helper()
	var all []object
	for _, path := range files(t, ending) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, decode(t, path, text)...)
	}
	return all
}

// decode decodes the documents of a file.
func decode(t testing.TB, path string, text []byte) []object {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme(t), serializer.EnableStrict).UniversalDeserializer()
	var all []object
	text = image.ReplaceAll(text, []byte("registry.example/$1@sha256:"+strings.Repeat("0", 64)))
	for _, document := range split(t, path, text) {
		decoded, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		meta, ok := decoded.(metav1.Object)
		if !ok {
			t.Errorf("%s: %T has no metadata", path, decoded)
			continue
		}
		all = append(all, object{filepath.Base(path), decoded, meta})
	}
	return all
}

// split returns the documents of a file that are not only comments.
func split(t testing.TB, path string, text []byte) [][]byte {
	t.Helper()
	var all [][]byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var value any
		if err := yaml.UnmarshalStrict(document, &value); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if value != nil {
			all = append(all, bytes.Clone(document))
		}
	}
}

// each calls do with every object of one kind.
func each[T runtime.Object](all []object, do func(file string, one T)) {
	for _, o := range all {
		if one, ok := o.Object.(T); ok {
			do(o.file, one)
		}
	}
}

// features returns the flags that make features sets.
func features(t testing.TB) map[string]string {
	t.Helper()
	text, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	patch := regexp.MustCompile(`patch configmap config-features -n knative-serving --type merge -p '(.*)'`).FindSubmatch(
		text)
	if patch == nil {
		t.Fatal("make features patches nothing")
	}
	var configMap struct{ Data map[string]string }
	if err := yaml.UnmarshalStrict(patch[1], &configMap); err != nil || len(configMap.Data) == 0 {
		t.Fatalf("make features: %s: %v", patch[1], err)
	}
	return configMap.Data
}

// webhook returns the context in which Knative Serving's webhook looks at new objects, with these
// flags.
func webhook(t testing.TB, flags map[string]string) context.Context {
	t.Helper()
	var c config.Config
	var errs [3]error
	c.Features, errs[0] = config.NewFeaturesConfigFromMap(flags)
	c.Defaults, errs[1] = config.NewDefaultsConfigFromMap(nil)
	c.Autoscaler, errs[2] = autoscaler.NewConfigFromMap(nil)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return config.ToContext(apis.WithinCreate(t.Context()), &c)
}
