#!/usr/bin/env bash
# Runs .t files (all of t/, or those named) in parallel. The runner in t/lib
# finds nginx, the module and Debian's Lua libraries through the environment.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

(($#)) || set -- t
export TEST_NGINX_BINARY=${TEST_NGINX_BINARY:-$(nginx_binary)}
export TEST_NGINX_LOAD_MODULES=${TEST_NGINX_LOAD_MODULES:-$MODULE}
export TEST_NGINX_LUA_DIR=$BUILD/lua
export PATH=$BIN:$PATH

found=$(find "$@" -path t/lib -prune -o -name '*.t' -print 2>/dev/null) || true
[[ -n $found ]] || die "no .t file in: $*"
say "prove: $(wc -l <<<"$found") files with $("$TEST_NGINX_BINARY" -v 2>&1 | sed 's/^nginx version: //')"
exec prove -j"${JOBS:-$(nproc)}" -I t/lib -r "$@"
