package hostile

import (
	"encoding/json"
	"fmt"
	"strings"

	"go-job-orchestrator/shared/job"
)

// envRows are variables that no program can have, or that are ours.
func envRows(g *group) {
	var rows []row
	for _, name := range []string{
		"", " ", "A B", "A=B", "=", "A\t", "ü", "A\u0000B", "A\u007f", "\u200b", "A\nB", strings.Repeat("A", 257),
		"PATH", "HOME", "LANG", "TMPDIR", "JOB_ID", "JOB_ATTEMPT", "OUTPUT_DIR",
	} {
		rows = append(rows, refused(422, "env", fmt.Sprintf("name %.40q", name), with(text("env", object(name, "v")))))
	}
	large := strings.Repeat("v", 128<<10)
	rows = append(rows,
		refused(422, "env", "value with NUL", with(text("env", object("A", "a\x00b")))),
		refused(422, "env", "value beyond MAX_ARG_STRLEN", with(text("env", object("A", large)))),
		refused(422, "args", "argument beyond MAX_ARG_STRLEN", with(text("arg", large))),
		refused(422, "args", "together beyond what execve takes",
			with(text("args", "["+strings.Repeat(`"",`, 80_000)+`""]`),
				text("arg", large[:120<<10]), text("arg", large[:120<<10]), text("arg", large[:120<<10]))),
		refused(413, "env", "beyond the field", with(text("env", object("A", strings.Repeat("v", 256<<10))))),
	)
	for _, name := range []string{"PATH", "HOME", "LANG", "TMPDIR", "JOB_ID", "JOB_ATTEMPT", "OUTPUT_DIR"} {
		rows = append(rows, refused(422, "env", "reserved in a template "+name,
			put("env", script("true\n", text("env", object(name, "v"))))))
	}
	g.refuse(rows)
	// What changes how loaders and runtimes behave is the program's own affair: our stages must not
	// see it.
	ours := map[string]string{
		"LD_PRELOAD": "/workspace/none.so", "LD_AUDIT": "none.so", "GODEBUG": "gctrace=1", "GOTRACEBACK": "crash",
		"GOMAXPROCS": "x", "GORACE": "exitcode=9",
		"BASH_ENV": "/none", "ENV": "/none", "STORAGE_DIR": "/x", "TOKEN_KEYS": "mine", "SHELLOPTS": "noexec", "_": "x",
		"IFS": "o", "a.b-c/d": "odd", "MALLOC_CHECK_": "3",
	}
	for name, value := range ours {
		g.try("variable "+name, func(fail func(string, ...any)) {
			j := g.server.begin(g.T, python("import os\nprint(os.environ.get("+fmt.Sprintf("%q",
				name)+"), len([n for n in os.environ if 'SECRET' in n]))\n",
				text("env", object(name, value)))...)
			defer j.remove(g.T)
			got := j.wait(g.T)
			if log := j.logs(g.T, "tail=all&stream=stdout"); got.Phase != job.Succeeded || log != value+" 0\n" {
				fail("%s (%s: %s), and the program had %q", got.Phase, got.Reason, got.Message, log)
			}
		})
	}
}

func object(name, value string) string {
	data, err := json.Marshal(map[string]string{name: value})
	if err != nil {
		return err.Error()
	}
	return string(data)
}
