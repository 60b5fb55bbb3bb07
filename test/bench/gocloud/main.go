//go:build s3

// Command gocloud is a rival: it stores what is sent to it in a bucket of S3 as gocloud does by
// itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gocloud:", err)
		os.Exit(1)
	}
}

func run() error {
	bucket, err := blob.OpenBucket(context.Background(), os.Getenv("STORAGE_URL"))
	if err != nil {
		return err
	}
	defer bucket.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("PUT /{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := store(r, bucket); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
}

func store(r *http.Request, bucket *blob.Bucket) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w, err := bucket.NewWriter(ctx, r.PathValue("name"), nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r.Body); err != nil {
		cancel()
		return errors.Join(err, w.Close())
	}
	return w.Close()
}
