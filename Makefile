# The commands of this project; `make help` lists them.
PORT ?= 8080
STORAGE_DIR ?= ./data
# Without grpcnotrace the linker keeps every method of every gocloud binary; the other tag leaves out what only gRPC needs.
TAGS := grpcnotrace,disable_grpc_modules
GO ?= go
TOOL := $(GO) tool -modfile=.ci/tools/go.mod

.DEFAULT_GOAL := help
.PHONY: help run build test fuzz check clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: bin/all ## run everything in one process; PORT and STORAGE_DIR say where
	@PORT=$(PORT) STORAGE_DIR=$(STORAGE_DIR) exec bin/all

bin/all: $(shell find functions shared -name '*.go' -o -name 'openapi.yaml') go.mod go.sum
	CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -o $@ ./functions/cmd/all

build: ## build every command into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -o bin/ ./functions/cmd/...

test: ## run all tests that need no cluster, with the race detector
	$(GO) test -race -shuffle=on -count=1 -timeout 30m -tags $(TAGS) ./...

FUZZTIME ?= 30s
fuzz: ## run every fuzz target for FUZZTIME
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

check: ## formatting, vet, staticcheck, and govulncheck where its database can be had
	@unformatted=$$(gofmt -l functions shared test); test -z "$$unformatted" || { echo "gofmt would change:" $$unformatted; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	$(TOOL) staticcheck -tags $(TAGS) ./...
	@.ci/vulnerabilities $(TOOL) govulncheck -tags $(TAGS) ./...

clean: ## remove what was built; jobs stay
	rm -rf bin
