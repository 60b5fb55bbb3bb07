package kubernetes

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// refuse answers as an API server does that does not do what it is asked for.
func refuse(w http.ResponseWriter, code int32, reason metav1.StatusReason) {
	w.WriteHeader(int(code))
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status: metav1.StatusFailure, Reason: reason, Code: code})
}

// secrets is an API server with the Secret of the keys, or without it. It takes an update only of
// the newest version.
type secrets struct {
	secret  *corev1.Secret
	version int
	before  func() // called before each update
}

func (s *secrets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodPost: // the account may not create Secrets
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden)
	case r.URL.Path != "/api/v1/namespaces/jobs/secrets/keys" || s.secret == nil:
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	case r.Method == http.MethodPut:
		s.before()
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		scheme := runtime.NewScheme()
		_ = corev1.AddToScheme(scheme)
		sent, _, err := serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode(data, nil, nil)
		update, is := sent.(*corev1.Secret)
		if err != nil || !is || update.ResourceVersion != strconv.Itoa(s.version) {
			refuse(w, http.StatusConflict, metav1.StatusReasonConflict)
			return
		}
		s.put(update.Data)
		_ = json.NewEncoder(w).Encode(s.secret)
	default:
		_ = json.NewEncoder(w).Encode(s.secret)
	}
}

// put stores a new version of the Secret.
func (s *secrets) put(data map[string][]byte) {
	s.version++
	s.secret = &corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: KeysSecret, ResourceVersion: strconv.Itoa(s.version)}, Data: data}
}

// add makes a key for an owner.
func add(owner string) func(*access.Keyring) error {
	return func(ring *access.Keyring) error {
		_, _, err := ring.Add(access.Request{Name: owner, Role: access.User}, time.Now(), rand.Reader)
		return err
	}
}

// owners are those of the keys that the Secret has.
func (s *secrets) owners(t *testing.T) string {
	t.Helper()
	ring, err := access.ParseKeyring(s.secret.Data[KeysEntry])
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, k := range ring.Keys {
		all = append(all, k.Owner)
	}
	return strings.Join(all, " ")
}

func TestKeyring(t *testing.T) {
	s := &secrets{before: func() {}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := NewClient(&rest.Config{Host: server.URL}, "jobs")
	if err != nil {
		t.Fatal(err)
	}
	ring := NewKeyring(client)

	if got, err := ring.Load(t.Context()); err != nil || len(got.Keys) != 0 {
		t.Errorf("without a Secret: %+v, %v", got, err)
	}
	err = ring.Update(t.Context(), add("ann"))
	if !errors.Is(err, job.ErrUnavailable) || !strings.Contains(err.Error(), "make secret") {
		t.Errorf("update without a Secret: %v", err)
	}
	s.put(nil)
	if err := ring.Update(t.Context(), add("ann")); err != nil {
		t.Fatal(err)
	}
	// Somebody else is faster, once.
	s.before = func() {
		s.before = func() {}
		others, err := access.ParseKeyring(s.secret.Data[KeysEntry])
		if err == nil {
			err = add("bob")(others)
		}
		data, encodeErr := others.Encode()
		if err := errors.Join(err, encodeErr); err != nil {
			t.Error(err)
		}
		s.put(map[string][]byte{KeysEntry: data, "other": []byte("stays")})
	}
	if err := ring.Update(t.Context(), add("eve")); err != nil {
		t.Fatal(err)
	}
	if got := s.owners(t); got != "ann bob eve" || string(s.secret.Data["other"]) != "stays" {
		t.Errorf("the Secret has keys of %s, and %v", got, s.secret.Data)
	}
	if got, err := ring.Load(t.Context()); err != nil || len(got.Keys) != 3 {
		t.Errorf("load: %+v, %v", got, err)
	}
	// A change that is refused stores nothing.
	version := s.version
	refused := func(*access.Keyring) error { return access.ErrLastAdmin }
	if err := ring.Update(t.Context(), refused); !errors.Is(err, access.ErrLastAdmin) || s.version != version {
		t.Errorf("refused: %v", err)
	}
	// Others change it all the time.
	s.before = func() { s.put(s.secret.Data) }
	if err := ring.Update(t.Context(), add("max")); !errors.Is(err, job.ErrUnavailable) ||
		s.version != version+updateTries {
		t.Errorf("with others all the time: %v after %d updates", err, s.version-version)
	}
	s.before = func() {}
	s.put(map[string][]byte{KeysEntry: []byte("keys: []")})
	if _, err := ring.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "secret keys: ") {
		t.Errorf("not a keyring: %v", err)
	}
	if err := ring.Update(t.Context(), add("max")); err == nil {
		t.Error("a Secret that is not a keyring was replaced")
	}
}

// TestFirstKey reads the manifest as kubectl does.
func TestFirstKey(t *testing.T) {
	now := time.Now()
	manifest, key, err := FirstKey(now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var secret corev1.Secret
	if err := json.Unmarshal(manifest, &secret); err != nil {
		t.Fatal(err)
	}
	if secret.Kind != "Secret" || secret.APIVersion != "v1" || secret.Name != KeysSecret || secret.Namespace != "" {
		t.Errorf("got %s", manifest)
	}
	document := secret.Data[KeysEntry]
	ring, err := access.ParseKeyring(document)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ring.Lookup(key, now)
	if err != nil || k.Role != access.Admin || k.ExpiresAt != nil || len(ring.Keys) != 1 {
		t.Errorf("key %+v, %v", k, err)
	}
	secretPart := key[strings.LastIndex(key, "_")+1:]
	if bytes.Contains(document, []byte(secretPart)) || bytes.Contains(manifest, []byte(secretPart)) {
		t.Error("the Secret has the key itself")
	}
	if _, other, err := FirstKey(now, rand.Reader); err != nil || other == key {
		t.Errorf("the next key is the same, or %v", err)
	}
	if _, _, err := FirstKey(now, strings.NewReader("")); err == nil {
		t.Error("a key without randomness")
	}
}
