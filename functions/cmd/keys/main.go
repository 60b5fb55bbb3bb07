// Command keys lists, makes and revokes the keys of callers, for admins. With --first it makes the
// first key, for make secret.
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"go-job-orchestrator/functions/keys"
	"go-job-orchestrator/shared/guard/behind"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
)

func main() {
	if !slices.Equal(os.Args[1:], []string{"--first"}) {
		os.Exit(serve.Main(behind.Gateway(open),
			"Lists, makes and revokes the keys of callers. With --first it writes a Secret with the\n"+
				"key of an admin to standard output, and that key to standard error."))
	}
	if err := first(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "keys:", err)
		os.Exit(1)
	}
}

func open(env *platform.Env) (*keys.Function, error) {
	keyring, err := kubernetes.OpenKeyring(env)
	if err != nil {
		return nil, err
	}
	return keys.New(keys.Deps{Store: keyring, Now: env.Now, Random: env.Random, Log: env.Log}), nil
}

// first writes the Secret to out, and the key to a person. The key comes last, so that it is not
// shown if nobody takes the Secret.
func first(out, person io.Writer) error {
	manifest, key, err := kubernetes.FirstKey(time.Now(), rand.Reader)
	if err != nil {
		return err
	}
	if _, err := out.Write(manifest); err != nil {
		return fmt.Errorf("write the Secret: %w", err)
	}
	_, err = fmt.Fprintf(person, "This is the key of the first admin. It is not shown again.\n\n    %s\n\n", key)
	return err
}
