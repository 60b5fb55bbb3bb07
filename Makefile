# The commands of this project; `make help` lists them.
PORT ?= 8080
STORAGE_DIR ?= ./data
# Without grpcnotrace the linker keeps all methods in every binary that links gocloud. The other tag
# leaves out code that only gRPC needs.
BASE_TAGS := grpcnotrace,disable_grpc_modules
# DRIVERS=s3, gs, azblob, or several with commas between: the kinds of buckets that STORAGE_URL can
# name. A driver that is not linked does not slow down each start.
export DRIVERS ?=
# JOBS=kubernetes runs jobs as Jobs of a cluster. The Kubernetes client is linked only then.
export JOBS ?= processes
comma := ,
TAGS := $(BASE_TAGS)$(if $(DRIVERS),$(comma)$(DRIVERS))$(if $(filter kubernetes,$(JOBS)),$(comma)kubernetes)
GO ?= go
# The commands have no cgo. With one value everywhere vet, tests and builds share what is compiled; only -race needs another.
export CGO_ENABLED := 0
# ko builds with -trimpath. With it everywhere, also in the commands that tests build, all packages are compiled once.
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -trimpath)
TOOL := $(GO) tool -modfile=$(CURDIR)/.ci/tools/go.mod
LINT := $(GO) tool -modfile=$(CURDIR)/.ci/lint/go.mod golangci-lint
# Tests whose libraries nothing else needs are modules of their own, so that a build need not load them.
TEST_MODULES := test/contract test/gojob test/manifests test/oidc test/otel
# These packages are tested in the process of their tests. The other tests start commands.
OWN := . ./cmd/... ./examples/... ./functions/... ./shared/...

.DEFAULT_GOAL := help
.PHONY: help run build gojob release page test browser hostile buckets e2e bench fuzz check clean images features secret deploy deploy-bucket undeploy

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: bin/all ## run everything in one process, on PORT, with its data in STORAGE_DIR
	@PORT=$(PORT) STORAGE_DIR=$(STORAGE_DIR) exec bin/all

bin/all: $(shell find functions shared -name '*.go' -o -name 'openapi.yaml' -o -name '*.gz') go.mod go.sum bin/.tags
	$(GO) build -tags $(TAGS) -o $@ ./functions/cmd/all

bin/.tags: FORCE # changes when DRIVERS or JOBS change
	@mkdir -p bin; echo '$(TAGS)' | cmp -s - $@ || echo '$(TAGS)' > $@
FORCE:

build: ## build every command into bin/
	$(GO) build -tags $(TAGS) -o bin/ ./functions/cmd/...

gojob: ## build the command line, bin/gojob
	$(GO) build -tags $(BASE_TAGS) -ldflags='-s -w' -o bin/gojob ./cmd/gojob
	@ln -sf gojob bin/kn-job # a plugin of kn: kn job run x.py

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
DIST ?= dist
release: ## build gojob for PLATFORMS as VERSION: archives with completions in dist/, and their checksums
	$(GO) run ./.ci/release -version '$(VERSION)' -platforms '$(PLATFORMS)' -tags $(BASE_TAGS) -dist '$(DIST)'

page: ## pack shared/page/src into shared/page/packed, after a change of the page
	cd .ci/page && $(GO) run . ../../shared/page

# These tests of shared/sandbox run hundreds of programs. They take most of their time in those and in the test binary, which
# each program starts twice, so the race detector would double it. It is in the sandbox's other tests and in test/local.
PROGRAMS := ^(TestFrugal|TestHoards|TestInterpreters|TestJIT|TestSignalled|TestTools)$$

TEST_FLAGS := -vet=off -shuffle=on -count=1 -timeout 30m -tags $(TAGS)
test: ## run all tests that need no cluster; the race detector is in our packages, and in the commands of test/local
	CGO_ENABLED=1 $(GO) test -race $(TEST_FLAGS) -skip '$(PROGRAMS)' $(OWN)
	$(GO) test $(TEST_FLAGS) -run '$(PROGRAMS)' ./shared/sandbox
	$(GO) test $(TEST_FLAGS) ./test/...
	@for dir in $(TEST_MODULES); do $(GO) test -C $$dir $(TEST_FLAGS) ./... || exit 1; done

browser: bin/all gojob test/browser/node_modules ## try the page in Chromium, with real jobs; needs Debian's chromium, and npm
	cd test/browser && node --test --test-concurrency=1 --test-reporter=spec
	$(GO) test -C test/oidc -vet=off -count=1 -timeout 10m -tags $(TAGS),browser -run '^TestInChromium$$' .

test/browser/node_modules: test/browser/package-lock.json
	cd test/browser && npm ci --no-audit --no-fund && touch node_modules

hostile: ## send hostile input to the real command, and print the number of inputs of each group
	$(GO) test -C test/hostile -count=1 -timeout 10m -tags $(TAGS) .

buckets: ## test everything that depends on the bucket with real servers of S3, Google and Azure, which it installs; needs a Go module proxy and npm
	$(GO) test -count=1 -timeout 30m -tags $(BASE_TAGS),s3,gs,azblob ./test/buckets ./shared/store/...

e2e: ## install config/ on the cluster that KUBECONFIG names, and test everything there; E2E_PROXY is an HTTP proxy to its URLs
	@test -n "$(KUBECONFIG)" || { echo "KUBECONFIG is not set. make e2e needs a cluster with Knative Serving and Eventing, kubectl, ko and KO_DOCKER_REPO, and podman. Without a public registry set E2E_BASE_IMAGE to an image of Debian."; exit 1; }
	$(GO) test -tags kubernetes,$(TAGS) -count=1 ./shared/kubernetes
	@E2E_KEY="$${E2E_KEY:-$$($(MAKE) --no-print-directory secret 2>&1 | grep -o 'gojob_[0-9a-z]*_[0-9A-Za-z]*')}"; export E2E_KEY; \
	  $(GO) test -tags e2e,$(TAGS) -count=1 -timeout 80m -parallel 4 -v -skip '^TestBucket$$' ./test/e2e && \
	  E2E_DEPLOYED=1 $(GO) test -tags e2e,$(TAGS) -count=1 -timeout 40m -v -run '^TestBucket$$' ./test/e2e

BENCH ?=
bench: ## compare with rivals and print a table of ratios; BENCH='-run upload -rounds 5' selects rows; rows about a cluster need KUBECONFIG and E2E_KEY
	$(GO) run ./test/bench $(BENCH)

FUZZTIME ?= 30s
fuzz: ## run every fuzz target for FUZZTIME
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' cmd functions shared | while IFS=: read -r file target; do \
	  pkg=./$$(dirname $$file); target=$${target#func }; echo "$$pkg $$target"; \
	  $(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	done

check: ## check formatting, and run vet, golangci-lint, actionlint, and govulncheck if its database can be reached
	@unformatted=$$(gofmt -l *.go cmd examples functions shared test); test -z "$$unformatted" || { echo "gofmt would change:" $$unformatted; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	$(GO) vet -tags $(TAGS),e2e,kubernetes ./test/e2e ./functions/all ./shared/kubernetes
	$(LINT) run
	@for dir in $(TEST_MODULES); do \
	  (cd $$dir && $(GO) vet -tags $(TAGS),browser ./...) || exit 1; \
	done
	$(TOOL) actionlint .github/workflows/*.yaml
	@.ci/vulnerabilities $(TOOL) govulncheck -tags $(TAGS) ./...

# Targets for Knative. config/README.md says what is installed.
# ko comes with: go install github.com/google/ko@v0.19.1
KO ?= ko
KO_FLAGS ?=
KUBECTL ?= kubectl
# Your copy of the manifests, if you have one.
CONFIG ?= config
NAMESPACE := job-orchestrator
export KO_CONFIG_PATH := ko.yaml

images: ## build an image of every command with ko and push it to KO_DOCKER_REPO
	$(KO) build $(KO_FLAGS) $(filter-out ./functions/cmd/all,$(wildcard ./functions/cmd/*))

features: ## set the flags of Knative Serving that config/ needs: volumes and fsGroup
	$(KUBECTL) patch configmap config-features -n knative-serving --type merge -p '{"data":{"kubernetes.podspec-persistent-volume-claim":"enabled","kubernetes.podspec-persistent-volume-write":"enabled","kubernetes.podspec-securitycontext":"enabled"}}'

secret: ## make the key of tokens, and the first key of an admin, which is shown once; what exists stays
	$(KUBECTL) apply -f config/base/100-namespace.yaml
	@if test -n "$$($(KUBECTL) get secret token-keys -n $(NAMESPACE) --ignore-not-found -o name)"; then echo "secret/token-keys exists already"; else \
	  head -c 32 /dev/urandom | base64 | tr -d '\n' | $(KUBECTL) create secret generic token-keys -n $(NAMESPACE) --from-file=TOKEN_KEYS=/dev/stdin; fi
	@if test -n "$$($(KUBECTL) get secret keys -n $(NAMESPACE) --ignore-not-found -o name)"; then echo "secret/keys exists already"; else \
	  $(GO) run -tags $(BASE_TAGS) ./functions/cmd/keys --first | $(KUBECTL) create -n $(NAMESPACE) -f -; fi

# A folder in config/overlays. Without it, config/ is installed unchanged.
OVERLAY ?=
deploy: ## build the images and install or upgrade everything in config/; OVERLAY=volume, bucket, kind or one; CONFIG=<folder> for a copy of config/
	$(if $(OVERLAY),$(KUBECTL) kustomize $(CONFIG)/overlays/$(OVERLAY) | $(KO) apply $(KO_FLAGS) -f -,$(KO) apply $(KO_FLAGS) -Rf $(CONFIG)/)

deploy-bucket: ## deploy without the volume: DRIVERS=s3 make deploy-bucket, with STORAGE_URL in config/base/310-settings.yaml
	@$(MAKE) --no-print-directory deploy OVERLAY=bucket

undeploy: ## remove everything, with all jobs, their files and the key
	$(KUBECTL) delete namespace $(NAMESPACE) --ignore-not-found

clean: ## remove the built files; jobs stay
	rm -rf bin dist
