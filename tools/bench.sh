#!/usr/bin/env bash
# Runs the benchmarks: bench.sh [scenario...]. The environment chooses how much:
# ROUNDS, SECONDS_EACH, INSTRUCTIONS, ONLY (see bench/README.md).
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$ROOT"

export TEST_NGINX_BINARY=${TEST_NGINX_BINARY:-$(nginx_binary)}
export TEST_NGINX_LOAD_MODULES=${TEST_NGINX_LOAD_MODULES:-$MODULE}
export PATH=$BIN:$PATH
options=()
[[ -z ${ROUNDS:-} ]] || options+=(--rounds "$ROUNDS")
[[ -z ${SECONDS_EACH:-} ]] || options+=(--seconds "$SECONDS_EACH")
[[ -z ${INSTRUCTIONS:-} ]] || options+=(--instructions "$INSTRUCTIONS")
[[ -z ${ONLY:-} ]] || options+=(--module "$ONLY")
exec python3 bench/bench.py "${options[@]}" "$@"
