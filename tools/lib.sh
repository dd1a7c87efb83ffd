# Sourced by the other scripts: paths, messages, and how to become root.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
DEBS=$BUILD/debs # Debian packages that are unpacked here, not installed
C_MODULE=$BUILD/c-module # the C Lua module, for benchmarks only
BIN=$BUILD/bin   # links to the nginx and the servers that demo and tests use
TARGET=${CARGO_TARGET_DIR:-target}
if [[ $TARGET != /* ]]; then TARGET=$ROOT/$TARGET; fi
MODULE=$TARGET/release/libngx_http_cosocket_module.so

# Debian keeps nginx in sbin, which is not in everybody's PATH; rustup's cargo
# is in ~/.cargo/bin, which a non-login shell may not know.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin

bold='' red='' off=''
if [[ -t 2 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    bold=$'\e[1m' red=$'\e[31m' off=$'\e[0m'
fi

say() { printf '%s==> %s%s\n' "$bold" "$*" "$off" >&2; }
die() {
    printf '%serror:%s %s\n' "$red" "$off" "$*" >&2
    exit 1
}

# Runs a command as root: directly, or with sudo (which may ask for a password,
# but only on a terminal). Returns 127 where neither is possible.
as_root() {
    if ((EUID == 0)); then
        "$@"
    elif ! command -v sudo >/dev/null; then
        return 127
    elif [[ -t 0 ]]; then
        sudo "$@"
    else
        sudo -n true 2>/dev/null || return 127
        sudo -n "$@"
    fi
}

have_apt() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }

nginx_version() { "$1" -v 2>&1 | sed -n 's,^nginx version: [^/]*/\([0-9.]*\).*,\1,p'; }

source_version() {
    sed -n 's/^#define NGINX_VERSION *"\(.*\)"/\1/p' "$1/src/core/nginx.h" 2>/dev/null || true
}

# The nginx that demo and tests run: the user's choice, else the one built
# beside NGINX_BUILD_DIR's headers, else the distribution's.
nginx_binary() {
    local choice=${TEST_NGINX_BINARY:-}
    if [[ -z $choice && -x ${NGINX_BUILD_DIR:-}/nginx ]]; then
        choice=$NGINX_BUILD_DIR/nginx
    fi
    printf '%s\n' "${choice:-$BIN/nginx}"
}
