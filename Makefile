# Two commands for a newcomer: `make demo` and `make test`. Both install what they need (Debian 12, root).
SHELL := /bin/bash
CARGO ?= cargo
TARGET_DIR := $(shell echo $${CARGO_TARGET_DIR:-target})
PODWAY := $(TARGET_DIR)/release/podway

.PHONY: demo demo-down build test test-full test-vm lint fmt help

help:
	@echo "make demo       build, start a three-node lab, walk through it, leave it running"
	@echo "make demo-down  stop that lab and remove everything it made"
	@echo "make test       format, lints, documentation, every test (what CI runs)"
	@echo "make test-full  the same with the long forms of the bounded tests"
	@echo "make test-vm    only what runs on the second kernel (docs/second-kernel.md)"

demo: build
	$(PODWAY) lab tour

demo-down:
	$(PODWAY) lab down --name tour

build:
	@scripts/prepare build
	$(CARGO) build --release --locked --bin podway
	@# The plugin starts for each pod: without the dynamic linker in half the time, and on any distribution.
	$(CARGO) rustc --release --locked -p podway-cni --bin podway-cni -- -C target-feature=+crt-static

lint:
	@scripts/prepare build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

test:
	@scripts/prepare test
	@$(MAKE) --no-print-directory lint
	scripts/licences
	$(CARGO) test --workspace --locked

test-full:
	PODWAY_TEST_FULL=1 $(MAKE) test

test-vm:
	vm/test
