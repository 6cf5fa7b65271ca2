# `make demo` and `make test` are the two to know; README.md tells the rest.
SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: help deps deps-test build dev-up dev-down demo lint test crash fuzz bench clean

CARGO ?= cargo
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
BIN := $(CARGO_TARGET_DIR)/release

help:
	@echo 'make demo      build, start the daemons, bring examples/minimal.yaml up as an unprivileged user'
	@echo 'make test      lint and every test, those of root in throw-away namespaces'
	@echo 'make crash     every process killed at every system call of an up and a down; long'
	@echo 'make build     release binaries in $(BIN)'
	@echo 'make dev-up    start the daemons; make dev-down stops them'
	@echo 'make deps      Debian packages, users and groups, those that are missing; make deps-test those of tests too'
	@echo 'make fuzz      every parser on hostile input for FUZZ_SECONDS=60 each, led by coverage'
	@echo 'make bench     measure what PERFORMANCE.md promises'
	@echo 'make clean     remove what the build made'

deps:
	packaging/deps

deps-test:
	packaging/deps test

build:
	$(CARGO) build --release --workspace --locked

# Daemons only, under their own users. Does nothing when they run: after a change, dev-down first. Running worlds are
# adopted.
dev-up: build
	packaging/dev up $(BIN)

dev-down:
	packaging/dev down $(BIN)

demo: deps
	$(MAKE) dev-up
	packaging/dev demo $(BIN)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --locked -- -D warnings
	packaging/check-units
	packaging/check-units-test

# The same profile as `build`, so that everything is compiled once.
test: deps-test build lint
	packaging/test

# Every process killed at every system call; `test` takes some of them. An hour or more.
crash: deps-test build
	NETENGINE_CRASH=full $(CARGO) test --release --locked -p netengine-tests --test 'crash_*'

# What faces a world, a user or another process; compiles everything once more, with counters (six minutes of a core). `FUZZ_SECONDS=2 make fuzz` is
# the short form, `packaging/fuzz TARGET` one target.
fuzz: deps-test
	packaging/fuzz

# BENCH=--quick for a short run, BENCH=--strict to fail when a promise is missed.
bench: deps-test build
	$(BIN)/netengine-bench --json $(CARGO_TARGET_DIR)/bench.json $(BENCH)

clean:
	$(CARGO) clean
