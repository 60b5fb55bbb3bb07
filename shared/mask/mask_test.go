package mask_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"go-job-orchestrator/shared/mask"
)

// masked writes a text in pieces of n bytes.
func masked(m *mask.Mask, text string, n int) string {
	var out bytes.Buffer
	s := m.Stream()
	buffer := make([]byte, n)
	for len(text) > 0 {
		k := copy(buffer, text)
		out.Write(s.Write(buffer[:k]))
		text = text[k:]
	}
	out.Write(s.Flush())
	return out.String()
}

func TestMask(t *testing.T) {
	key := "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nshort\r\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
	long := strings.Repeat("0123456789abcdef", 1000)
	for name, test := range map[string]struct {
		values     []string
		text, want string
	}{
		"nothing":             {[]string{"hunter2hunter2"}, "hello\nworld\n", "hello\nworld\n"},
		"alone":               {[]string{"hunter2hunter2"}, "hunter2hunter2", "***"},
		"in a line":           {[]string{"hunter2hunter2"}, "pw=hunter2hunter2;\n", "pw=***;\n"},
		"twice":               {[]string{"hunter2hunter2"}, "hunter2hunter2 hunter2hunter2", "*** ***"},
		"directly twice":      {[]string{"hunter2hunter3"}, "hunter2hunter3hunter2hunter3x", "***x"},
		"8 bytes":             {[]string{"12345678"}, "x12345678x", "x***x"},
		"7 bytes":             {[]string{"1234567"}, "x1234567x", "x1234567x"},
		"almost":              {[]string{"hunter2hunter2"}, "hunter2hunter3", "hunter2hunter3"},
		"the beginning":       {[]string{"hunter2hunter2"}, "hunter2hunt", "hunter2hunt"},
		"begins again":        {[]string{"aaaaaaaab"}, "aaaaaaaaaaaab", "aaaa***"},
		"overlapping":         {[]string{"abcdefgh", "efghijkl"}, "xabcdefghijklx", "x***x"},
		"one in the other":    {[]string{"abcdefghijkl", "cdefghij"}, "abcdefghijkX cdefghij abcdefghijkl", "ab***kX *** ***"},
		"one begins another":  {[]string{"abcdefgh", "abcdefghijkl"}, "abcdefgh abcdefghijkl abcdefghij", "*** *** ***ij"},
		"lines":               {[]string{key}, "got\n" + key + "hkiG9w0BAQEFAASC\nshort\n", "got\n***\n***\nshort\n"},
		"a line break at end": {[]string{"hunter2hunter2\n"}, "hunter2hunter2 \n", "*** \n"},
		"blanks around":       {[]string{" \n 1234567"}, "x \n 1234567x", "x***x"},
		"only blanks":         {[]string{strings.Repeat(" ", 20)}, strings.Repeat(" ", 20), strings.Repeat(" ", 20)},
		"long":                {[]string{long}, "x" + long + "x", "x***x"},
		"long, a part of it":  {[]string{long + "END-OF-IT"}, long[:100] + "x", long[:100] + "x"},
		"not text":            {[]string{"\x00\xff\x00\xff\x00\xff\x00\xff"}, "a\x00\xff\x00\xff\x00\xff\x00\xffb", "a***b"},
		"ends within":         {[]string{"abcdefgh", "efghijklmnop"}, "abcdefghijkl", "***ijkl"},
	} {
		for _, n := range []int{1, 2, 3, 7, 8, 9, 100, 1 << 20} {
			m := mask.New(test.values)
			if m == nil {
				m = mask.New([]string{"something else"})
			}
			if got := masked(m, test.text, n); got != test.want {
				t.Errorf("%s, %d bytes at a time: got %.200q, want %.200q", name, n, got, test.want)
			}
		}
	}
	for _, values := range [][]string{nil, {}, {""}, {"short"}, {"\n\n\n\n\n\n\n\n\n"}} {
		if mask.New(values) != nil {
			t.Errorf("%q: there is something to mask", values)
		}
	}
}

// TestHeld makes sure that no more is held back than may be the beginning of a secret.
func TestHeld(t *testing.T) {
	var long strings.Builder
	for i := range 20_000 {
		fmt.Fprint(&long, i)
	}
	s := mask.New([]string{"hunter2hunter2", long.String()}).Stream()
	for _, step := range []struct {
		write, want string
		held        bool
	}{
		{"hello\n", "hello\n", false}, {"hello h", "hello ", true}, {"u", "", true}, {"X", "huX", false},
		{"hunter2hunter2", "***", false}, {"\n", "\n", false}, {long.String()[:1000], "", true},
		{long.String()[1000:2000], "***", true},
	} {
		if got := string(s.Write([]byte(step.write))); step.want != "" && got != step.want || s.Held() != step.held {
			t.Errorf("%.20q: got %.40q, held %v", step.write, got, s.Held())
		}
	}
	if rest := s.Flush(); len(rest) > 1024 || len(rest) == 0 || s.Held() {
		t.Errorf("flushed %d bytes", len(rest))
	}
	if got := string(s.Write([]byte("hello"))); got != "hello" {
		t.Errorf("after a flush: got %q", got)
	}
}

// reference masks a whole text in the simplest way.
func reference(values []string, text string) string {
	secret := make([]bool, len(text))
	for _, value := range values {
		for i := range len(text) {
			if len(value) >= mask.MinBytes && strings.HasPrefix(text[i:], value) {
				for j := range len(value) {
					secret[i+j] = true
				}
			}
		}
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !secret[i]:
			out.WriteByte(text[i])
		case i == 0 || !secret[i-1]:
			out.WriteString("***")
		}
	}
	return out.String()
}

func FuzzStream(f *testing.F) {
	f.Add("abcdefgh", "efghijkl", "xabcdefghijklx", uint8(3), uint64(1))
	f.Add("aaaaaaaaa", "aaaaaaaab", "aaaaaaaaaaaaaaaaab", uint8(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b, text string, n uint8, seed uint64) {
		values := []string{a, b}
		for _, value := range values { // the reference knows nothing of lines, pieces and blanks
			if strings.TrimSpace(value) != value || strings.ContainsAny(value, "\r\n") || len(value) > 1000 {
				t.Skip()
			}
		}
		random := rand.New(rand.NewPCG(seed, 1))
		var whole strings.Builder
		for range 20 { // so that there is something to find
			cut := random.IntN(len(text) + 1)
			whole.WriteString([]string{a, b, text[:cut], a[:random.IntN(len(a)+1)], b[random.IntN(len(b)+1):]}[random.IntN(5)])
		}
		m := mask.New(values)
		if m == nil {
			t.Skip()
		}
		want := reference(values, whole.String())
		if got := masked(m, whole.String(), int(n)+1); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// BenchmarkStream is a log of lines with so many secrets, none of which is in it.
func BenchmarkStream(b *testing.B) {
	line := []byte("2026-11-30T08:16:29Z INFO request handled in 12.3 ms by worker 7 status=200 path=/api/v1/jobs\n")
	for _, n := range []int{1, 64} {
		var values []string
		for i := range n {
			values = append(values, fmt.Sprintf("secret-%d-%x", i, rand.Uint64()))
		}
		for _, size := range []int{len(line), 64 << 10} {
			b.Run(fmt.Sprintf("%d/%dB", n, size), func(b *testing.B) {
				data := bytes.Repeat(line, size/len(line))
				s := mask.New(values).Stream()
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					s.Write(data)
				}
			})
		}
	}
}
