# pawl: `make run` builds and starts a demo, `make test` proves it.

GO       ?= go
LINT     := $(GO) tool -modfile=tools/go.mod golangci-lint
FUZZTIME ?= 10s
# A static binary: the pure-Go resolver and user look-up, SQLite without loadable extensions.
TAGS     := netgo,osusergo,sqlite_omit_load_extension
# Not cached: some tests build the command in a process of their own.
TESTFLAGS := -race -tags $(TAGS) -timeout 15m -count=1
# What `pawl version` says: the description of the repository, or make VERSION=… where there is none.
VERSION  ?= $(shell test -e .git && git describe --tags --always --dirty 2>/dev/null)
STAMP    := $(if $(VERSION),-X main.stamp=$(VERSION))
# pawl refuses to start in folders that others may write to, and tests make theirs with the umask.
CLOSED   := umask 022 &&
# The same for all targets, so that SQLite is compiled twice at most: with the race detector and without.
export GOFLAGS += -trimpath
# SQLite syncs with fdatasync, as in every distribution's build, and not with fsync:
# on a file system with a journal that is half as much writing.
export CGO_CFLAGS := -O2 -g -DHAVE_FDATASYNC=1

.PHONY: help build run test race kill-test fuzz fault fault-long bench bench-compare bench-go lint fmt proto mutants test-clients static clean need-cc

# bin/pawl.
build: need-cc
	$(GO) build -tags $(TAGS) -ldflags '$(STAMP)' -o bin/pawl ./cmd/pawl

# A demo that needs no HSM.
run: build
	./bin/pawl demo

# Everything that needs no other language: unit, property, vector and CLI tests,
# the interoperation witness and a short fault campaign, all under the race detector.
# The campaign runs alone: it holds the daemon to its time-outs.
test: need-cc
	$(CLOSED) $(GO) test $(TESTFLAGS) $$($(GO) list ./... | grep -v '/test/fault$$')
	$(CLOSED) $(GO) test $(TESTFLAGS) ./test/fault

# The packages of the sign path again and again, for races that one run misses.
race: need-cc
	$(GO) test $(TESTFLAGS) -count=5 ./ratchet/... ./signer ./server

# One of two HSM servers killed under load at random moments, KILLS times: no request
# fails. Prints the latencies. `make test` kills four times.
KILLS ?= 50
kill-test: need-cc
	$(GO) test -tags $(TAGS) -count=1 -timeout 15m -v -run '^TestKillOneOfTwoServers$$' ./signer -kills $(KILLS)

# Each fuzz target for FUZZTIME.
fuzz: need-cc
	@$(GO) test -tags $(TAGS) -list '^Fuzz' ./... | awk '/^Fuzz/ {t[n++]=$$1} /^ok/ {for (i=0;i<n;i++) print $$2, t[i]; n=0}' | \
	while read -r package target; do \
		echo "== $$package $$target"; \
		$(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
	done

# The fault campaign: ten minutes, or FOR=40m. It ends with one line and writes
# docs/fault-report.md. FAULT passes flags: FAULT=-seed=1 for the same choices again.
fault:
	$(MAKE) fault-long FOR=10m

# The same for as long as FOR says.
fault-long: need-cc
	@test -n "$(FOR)" || { echo "make fault-long needs a duration: FOR=40m" >&2; exit 1; }
	$(GO) test -c -tags $(TAGS) -o bin/fault ./test/fault
	mkdir -p docs
	$(CLOSED) cd test/fault && ../../bin/fault -test.v -test.parallel 2 -test.timeout 0 -for $(FOR) -report ../../docs/fault-report.md $(FAULT)

# What a signature costs, beside what it cannot cost less than: tables, and JSON and
# lines for benchstat in bin/bench. BENCH passes flags, see go run ./test/bench --help.
bench: build
	$(GO) run -tags $(TAGS) ./test/bench $(BENCH)

# pawl's CPU time per signature and that of an older commit, in turns: OLD=HEAD~5
bench-compare: build
	@test -n "$(OLD)" || { echo "make bench-compare needs a commit: OLD=HEAD~1" >&2; exit 1; }
	rm -rf bin/old && mkdir -p bin/old && git archive $(OLD) | tar -x -C bin/old
	$(GO) build -C bin/old -buildvcs=false -tags $(TAGS) -o ../pawl-old ./cmd/pawl
	$(GO) run -tags $(TAGS) ./test/bench compare $(BENCH) bin/pawl-old

# Single functions, for benchstat.
bench-go: need-cc
	$(GO) test -tags $(TAGS) -run '^$$' -bench . -count 6 ./tezos ./ratchet/sqlite

# Style and mistakes; fmt mends the format.
lint: need-cc
	$(GO) vet -tags $(TAGS) ./...
	$(LINT) run --build-tags $(TAGS) ./...
	$(LINT) fmt --diff ./...

# The format of every file.
fmt:
	$(LINT) fmt ./...

# The Go code of grep11.proto. It needs protoc (Debian: protobuf-compiler).
proto:
	@command -v protoc >/dev/null || { echo "make proto needs protoc: apt-get install protobuf-compiler" >&2; exit 1; }
	$(GO) build -modfile=tools/go.mod -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH="$(CURDIR)/bin:$$PATH" protoc --proto_path=. --go_out=. --go_opt=module=pawl --go-grpc_out=. --go-grpc_opt=module=pawl signer/grep11/grep11.proto

# One-line sabotages of the safety rules and of each condition of the sign path; each must turn a named test
# red. MUTANTS passes flags: MUTANTS="-run signer/try".
mutants: need-cc
	$(GO) run ./test/mutants $(MUTANTS)

# Clients of other languages against a running demo.
test-clients: build
	@command -v npm >/dev/null || { echo "make test-clients needs Node.js and npm: apt-get install nodejs npm" >&2; exit 1; }
	cd test/clients && npm ci --no-audit --no-fund && npm test

# One file without shared libraries, as the Dockerfile builds it: loaded at an address of chance, and
# with canaries in the frames of its C code.
static: need-cc
	CGO_ENABLED=1 CGO_CFLAGS='$(CGO_CFLAGS) -fstack-protector-strong' $(GO) build -tags $(TAGS) -buildmode pie -ldflags '-s -w $(STAMP) -linkmode external -extldflags "-static-pie"' -o bin/pawl-static ./cmd/pawl

need-cc:
	@command -v $(GO) >/dev/null || { echo "pawl needs Go 1.26 or later" >&2; exit 1; }
	@command -v $${CC:-gcc} >/dev/null || { echo "pawl needs a C compiler for SQLite: apt-get install gcc libc6-dev" >&2; exit 1; }

# Without what was built.
clean:
	rm -rf bin

# The targets, each with what its comment says first.
help:
	@awk '/^#/ {text = text (text ? " " : "") substr($$0, 3); next} /^[A-Z]+ *[?:]=/ {next} \
		/^[a-z][a-z-]*:([^=]|$$)/ && text {sub(/[.:;]( .*)?$$/, "", text); printf "%-14s %s\n", substr($$1, 1, length($$1) - 1), text} \
		{text = ""}' Makefile
