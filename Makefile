GO ?= go
export CGO_ENABLED = 0

.PHONY: all build run test test-short race check generate fuzz bench bench-quick test-deps clean

all: build

build:
	$(GO) build -o bin/sipr ./cmd/sipr

# Serves on 127.0.0.1:5060, UDP and TCP, with etc/sipr.lua and its SQLite file.
run: build
	SIPR_HINT=1 bin/sipr run -f etc/sipr.lua

test: test-deps
	$(GO) test -count=1 -timeout 9m ./...

test-short:
	$(GO) test -short ./...

# The race detector needs cgo and a C compiler.
race: test-deps
	CGO_ENABLED=1 $(GO) test -race -short -count=1 -timeout 20m ./...

check:
	@files=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$files" || { echo "not formatted: $$files"; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) test -count=1 -run 'Policy|Generated' ./test ./cmd/sipr
	$(GO) run ./cmd/sipr check -f etc/sipr.lua
	@for t in linux/amd64 linux/arm64 darwin/arm64 freebsd/amd64 windows/amd64; do \
		echo "build $$t"; GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build -pgo=off -o /dev/null ./cmd/sipr || exit 1; done

# Files that are made from the source: the module reference, the table of requirements.
generate:
	$(GO) run ./cmd/sipr doc --markdown docs/modules
	$(GO) test -count=1 -run GeneratedRequirements ./test -update

FUZZTIME ?= 30s
fuzz:
	@for f in $$($(GO) test -list '^Fuzz' ./core/sipmsg | grep ^Fuzz); do $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) ./core/sipmsg || exit 1; done

# Side by side with Kamailio, on one CPU; see bench/README.md.
bench: build
	tools/install-test-deps bench
	bench/run.sh

bench-quick: build
	tools/install-test-deps bench
	ROUNDS=1 bench/run.sh call register options

test-deps:
	@tools/install-test-deps

clean:
	rm -rf bin
