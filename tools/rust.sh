#!/usr/bin/env bash
# Checks that Rust is there and new enough, and says what to do where not.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

need=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml")
how="install it with rustup, see https://www.rust-lang.org/tools/install"
command -v cargo >/dev/null && command -v rustc >/dev/null || die "Rust was not found (cargo, rustc): $how"
have=$(rustc --version | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
if [[ $(printf '%s\n' "$need" "$have" | sort -V | head -n 1) != "$need" ]]; then
    die "Rust $need or newer is needed, and $(command -v rustc) is $have: run \`rustup update\`, or $how"
fi
if [[ ${1:-} == check ]]; then
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 || die "cargo $tool was not found: rustup component add rustfmt clippy"
    done
fi
