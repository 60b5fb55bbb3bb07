package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStdin gives programs a file to read, at each level of isolation.
func TestStdin(t *testing.T) {
	t.Parallel()
	const open = `import os, sys
os.chdir("/")
print(os.read(0, 100), os.fstat(0).st_size, open("/dev/stdin").read(3), open("/proc/self/fd/0").read(3))
os.lseek(0, 1, 0)
print(os.read(0, 2))`
	tests := map[string]struct {
		input   string
		command string
		want    string
	}{
		"reads":          {"one\ntwo\n", "cat", "one\ntwo\n"},
		"reads a part":   {"one\ntwo\n", "read a; echo $a", "one\n"},
		"does not read":  {strings.Repeat("x", 1<<20), "echo over", "over\n"},
		"nothing":        {"", "cat; echo over", "over\n"},
		"as a file":      {"abcde", "python3 -c '" + open + "'", "b'abcde' 5 abc abc\nb'bc'\n"},
		"opened again":   {"abc", "cat /dev/stdin /dev/stdin", "abcabc"},
		"to its child":   {"abc", "sh -c 'sh -c cat'", "abc"},
		"not by its end": {"abc", "cat </dev/null; exec <&-; echo over", "over\n"},
	}
	changes := map[string]string{"overwritten": "echo x > /dev/stdin", "appended to": "echo x >> /proc/self/fd/0",
		"cut": "python3 -c 'import os; os.ftruncate(0, 0)'", "written": "echo x >&0"}
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		for name, test := range tests {
			if _, got := b.run(b.reading(test.command, test.input)); got != test.want {
				t.Errorf("%s: it wrote %q, want %q", name, got, test.want)
			}
		}
		for name, command := range changes {
			p := b.reading("("+command+") 2>&1; true", "abc")
			b.run(p)
			// Without isolation root may write everywhere.
			if now, err := os.ReadFile(p.Stdin.Name()); (err != nil || string(now) != "abc") && b.Level() != None {
				t.Errorf("%s: %q, %v", name, now, err)
			}
		}
		if _, got := b.run(b.program("cat; test /dev/null -ef /dev/stdin && echo null")); got != "null\n" {
			t.Errorf("without one: %q", got)
		}
	})
}

// reading is a program with something to read. Others may not look for the file, which lies in a
// folder of this process alone.
func (b *box) reading(command, input string) Program {
	b.t.Helper()
	dir := b.t.TempDir()
	path := filepath.Join(dir, "stdin")
	if err := os.WriteFile(path, []byte(input), 0o444); err != nil { // as Program.Stdin demands
		b.t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { f.Close() })
	p := b.program(command)
	p.Stdin = f
	return p
}
