package form_test

import (
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
)

// raw is a part as a client wrote it.
func raw(headers, content string) string {
	return "--" + boundary + "\r\n" + headers + "\r\n\r\n" + content + "\r\n"
}

// TestNames reads names as clients encode them.
func TestNames(t *testing.T) {
	for name, test := range map[string]struct{ disposition, want, refusal string }{
		"a quote of a browser":       {`filename="a%22b.py"`, `a"b.py`, ""},
		"a quote of an older client": {`filename="a\"b.py"`, `a"b.py`, ""},
		"other escapes stay":         {`filename="100%25%20a%2e.py"`, "100%25%20a%2e.py", ""},
		"a percent sign":             {`filename="100%.py"`, "100%.py", ""},
		"no slash by an escape":      {`filename="..%2fa.py"`, "..%2fa.py", ""},
		"UTF-8":                      {`filename="größe.py"`, "größe.py", ""},
		"a line break":               {`filename="a%0D%0Ab.py"`, "", "control character"},
		"a line break in small":      {`filename="a%0ab.py"`, "", "control character"},
		"RFC 5987":                   {`filename*=UTF-8''a%2522b%20c.py`, "a%22b c.py", ""},
		"RFC 5987, a quote":          {`filename="x"; filename*=UTF-8''a%22b.py`, `a"b.py`, ""},
	} {
		body := encode(t, "runtime=python", "entrypoint=x", "arg=y")
		body = strings.TrimSuffix(body, "--"+boundary+"--\r\n") +
			raw(`Content-Disposition: form-data; name="files"; `+test.disposition, "x") + "--" + boundary + "--\r\n"
		files := saver{}
		_, err := form.NewReader(limits()).Read(request(t.Context(), body), job.Spec{}, files.save)
		if test.refusal != "" {
			if err == nil || !strings.Contains(err.Error(), test.refusal) {
				t.Errorf("%s: %v, want it refused for its %s", name, err, test.refusal)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff([]string{test.want}, slices.Collect(maps.Keys(files))); diff != "" {
			t.Errorf("%s: names (-want +got):\n%s", name, diff)
		}
	}
}

// TestEncodedParts sends content that is not what it stands for: stored as it came it would be
// another file.
func TestEncodedParts(t *testing.T) {
	for header, accepted := range map[string]bool{
		"Content-Transfer-Encoding: 7bit":                                               true,
		"Content-Transfer-Encoding: 8BIT":                                               true,
		"Content-Transfer-Encoding:  binary ":                                           true,
		"Content-Encoding: gzip":                                                        true, // a file like any other
		"Content-Transfer-Encoding: base64":                                             false,
		"content-transfer-encoding: BASE64":                                             false,
		"Content-Transfer-Encoding: quoted-printable":                                   false,
		"Content-Transfer-Encoding: x-uuencode":                                         false,
		"Content-Transfer-Encoding: binary\r\nContent-Transfer-Encoding: base64":        false,
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64 ": false,
	} {
		for _, part := range []string{
			raw("Content-Disposition: form-data; name=\"files\"; filename=\"a\"\r\n"+header, "cHJpbnQ="),
			raw("Content-Disposition: form-data; name=\"arg\"\r\n"+header, "cHJpbnQ="),
		} {
			files := saver{}
			body := part + encode(t, "runtime=python", "entrypoint=a", "@b=x")
			_, err := form.NewReader(limits()).Read(request(t.Context(), body), job.Spec{}, files.save)
			if accepted {
				if err != nil {
					t.Errorf("%q: %v", header, err)
				}
				continue
			}
			if err == nil || len(files) > 0 {
				t.Errorf("%q was taken, with the files %v", header, files)
				continue
			}
			refusal := httptest.NewRecorder()
			api.WriteError(refusal, request(t.Context(), ""), nil, err)
			if refusal.Code != 400 || !strings.Contains(refusal.Body.String(), "Encoding") {
				t.Errorf("%q: answered with %d %s", header, refusal.Code, refusal.Body)
			}
		}
	}
}
