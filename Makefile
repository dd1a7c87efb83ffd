# ngx-cosocket: `make run` for the demo, `make test` for all tests, `make help`
# for the rest. The work is in tools/*.sh; this file says what needs what.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run build install check unittest test soak bench clean deps deps-build headers \
        check-port check-mainline test-mainline check-aarch64 test-aarch64

export PATH := $(PATH):$(HOME)/.cargo/bin
PORT ?= 8080
REDIS ?=
SOAK ?= 600
CARGO_FLAGS ?= $(if $(CI),--locked)

# The module is built for the installed nginx, unless told otherwise. (No recipe
# may call $(MAKE): it would take the exported defaults for the user's wish.)
ifdef NGINX_SOURCE_DIR
  override NGINX_SOURCE_DIR := $(abspath $(NGINX_SOURCE_DIR))
  NGINX_BUILD_DIR ?= $(NGINX_SOURCE_DIR)/objs
  override NGINX_BUILD_DIR := $(abspath $(NGINX_BUILD_DIR))
  export OWN_NGINX := 1
else
  NGINX_SOURCE_DIR := $(CURDIR)/build/nginx-src
  NGINX_BUILD_DIR := $(CURDIR)/build/nginx/objs
endif
export NGINX_SOURCE_DIR NGINX_BUILD_DIR

help: ## this text
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | \
	    while IFS='|' read -r target text; do printf '  %-16s %s\n' "$$target" "$$text"; done
	@echo
	@echo 'variables:'
	@echo '  PORT=8080             where `make run` listens, on 127.0.0.1'
	@echo '  REDIS=host:port       a Redis for the demo, in place of its own small server'
	@echo '  T=t/some.t            only this test file (or several)'
	@echo '  SCENARIO=hello        only this benchmark (or several); bench/README.md has more'
	@echo '  NGINX_SOURCE_DIR=dir  build for this configured nginx, NGINX_BUILD_DIR=its objs'
	@echo '  TEST_NGINX_BINARY=f   run demo and tests with this nginx'
	@echo '  DESTDIR= MODULES_DIR= where `make install` puts the module'

run: check-port build ## install what is missing, build, start the demo on 127.0.0.1:8080
	@REDIS='$(REDIS)' exec tools/demo.sh $(PORT)

build: deps-build headers ## target/release/libngx_http_cosocket_module.so
	@cargo build --release $(CARGO_FLAGS)

install: build ## copy the module into nginx's modules path
	@DESTDIR='$(DESTDIR)' MODULES_DIR='$(MODULES_DIR)' tools/install.sh

check: deps headers ## format, lints, layers, file lengths, script syntax
	@tools/rust.sh check
	@tools/check.sh $(CARGO_FLAGS)

unittest: deps-build headers ## cargo test
	@cargo test $(CARGO_FLAGS)

ifdef T
test: deps build
	@tools/prove.sh $(T)
else
test: deps check unittest build ## everything: check, unittest, the .t suite; T=t/some.t: one file
	@tools/prove.sh
endif

check-mainline: deps-build ## build for the newest nginx source on crates.io, too
	@tools/mainline.sh build

test-mainline: deps ## and run the .t suite with that nginx
	@tools/mainline.sh test $(T)

check-aarch64: deps-build headers ## cross-build for AArch64, unit tests under qemu (Debian)
	@tools/aarch64.sh build

test-aarch64: deps headers ## and run the .t suite under qemu
	@tools/aarch64.sh test $(T)

soak: deps build ## load that misbehaves, for SOAK=600 seconds; then a look at what it left
	@python3 t/soak/soak.py --seconds $(SOAK)

bench: build ## compare with the C module; SCENARIO=hello: one (see bench/README.md)
	@tools/deps.sh bench
	@ROUNDS='$(ROUNDS)' SECONDS_EACH='$(SECONDS_EACH)' INSTRUCTIONS='$(INSTRUCTIONS)' ONLY='$(ONLY)' \
	    tools/bench.sh $(SCENARIO)

deps: ## install what tests need and is missing
	@tools/rust.sh
	@tools/deps.sh test

clean: ## remove everything that was built, unpacked or generated
	rm -rf build target t/servroot*

check-port:
	@tools/demo.sh --check-port $(PORT)

deps-build:
	@tools/rust.sh
	@tools/deps.sh build

headers:
	@$(if $(OWN_NGINX),,tools/nginx-headers.sh)
