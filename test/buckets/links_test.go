//go:build s3 && gs && azblob

package buckets

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/store"
)

// fetch makes a request with nothing but the URL.
func fetch(t *testing.T, method, url, body string, headers map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

// local is a link to gs without TLS, which the emulator does not have here.
func local(s *server, link string) string {
	u, err := url.Parse(link)
	if err != nil || s.name != "gs" {
		return link
	}
	u.Scheme, u.Host = "http", s.direct
	return u.String()
}

// TestLinks reads and writes by signed URL.
func TestLinks(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		b := s.fresh(t)
		if _, err := b.Put(t.Context(), "job/results/a ü#%?.txt", strings.NewReader("0123456789")); err != nil {
			t.Fatal(err)
		}
		get := store.Link{Method: http.MethodGet, Expiry: time.Minute, ContentType: "text/x-mine",
			Disposition: `attachment; filename="a.txt"`}
		link, ok, err := b.Link(t.Context(), "job/results/a ü#%?.txt", get)
		if err != nil || !ok {
			t.Fatalf("Link: %v, %v", ok, err)
		}
		resp, body := fetch(t, http.MethodGet, local(s, link), "", nil)
		if resp.StatusCode != http.StatusOK || body != "0123456789" {
			t.Errorf("GET: %s %q", resp.Status, body)
		}
		if s.name == "s3" && (resp.Header.Get("Content-Disposition") != get.Disposition ||
			resp.Header.Get("Content-Type") != get.ContentType) {
			t.Errorf("headers %v", resp.Header)
		}
		// which the emulator does not know
		if s.name == "gs" && !strings.Contains(link, "response-content-disposition=attachment") {
			t.Errorf("link %s", link)
		}
		resp, body = fetch(t, http.MethodGet, local(s, link), "", map[string]string{"Range": "bytes=2-4"})
		if resp.StatusCode != http.StatusPartialContent || body != "234" {
			t.Errorf("GET of a range: %s %q", resp.Status, body)
		}
		put, ok, err := b.Link(t.Context(), "job/results/new", store.Link{Method: http.MethodPut, Expiry: time.Minute,
			Size: 5})
		if err != nil || !ok {
			t.Fatalf("Link: %v, %v", ok, err)
		}
		if s.name != "gs" { // whose emulator takes no signed PUT
			if resp, body := fetch(t, http.MethodPut, put, "12345", b.LinkHeaders()); resp.StatusCode >= 300 {
				t.Errorf("PUT: %s %s", resp.Status, body)
			}
			if got, err := b.Read(t.Context(), "job/results/new"); err != nil || string(got) != "12345" {
				t.Errorf("after PUT: %q, %v", got, err)
			}
		}
		if s.name == "s3" {
			if resp, _ := fetch(t, http.MethodPut, put, "another size",
				b.LinkHeaders()); resp.StatusCode != http.StatusForbidden {
				t.Errorf("PUT of another size: %s, want 403", resp.Status)
			}
		}
		if s.name != "gs" { // whose emulator believes everything
			wantRefused(t, b, link)
		}
	})
}

// wantRefused tries a link that was changed, and one that has expired.
func wantRefused(t *testing.T, b *store.Store, link string) {
	t.Helper()
	other := strings.Replace(link, "results", "secrets", 1)
	if resp, _ := fetch(t, http.MethodGet, other, "", nil); resp.StatusCode < 400 {
		t.Errorf("a link to another blob: %s", resp.Status)
	}
	if resp, _ := fetch(t, http.MethodPut, link, "mine", b.LinkHeaders()); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a PUT to a link for GET: %s", resp.Status)
	}
	short, _, err := b.Link(t.Context(), "job/results/a ü#%?.txt", store.Link{Method: http.MethodGet, Expiry: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, _ := fetch(t, http.MethodGet, short, "", nil); resp.StatusCode == http.StatusForbidden {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a link for a second is valid for a minute")
		}
	}
}
