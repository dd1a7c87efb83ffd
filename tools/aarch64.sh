#!/usr/bin/env bash
# Builds the module for AArch64 on another machine, and runs its unit tests under
# qemu; `aarch64.sh test [t/…]` runs the .t files, too, with Debian's nginx for
# that architecture. What measures a process's memory fails there: it measures
# qemu's. On an AArch64 machine `make test` does all that, and better.
#
# Debian's packages for AArch64 are unpacked into build/aarch64/root; apt keeps
# their lists beside it, so that the machine's own know nothing of them.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

what=${1:?build or test}
shift
home=$BUILD/aarch64
sysroot=$home/root
target=aarch64-unknown-linux-gnu
packages=(nginx libluajit2-5.1-dev libpcre2-dev libssl-dev zlib1g-dev libc6-dev lua-cjson)

have_apt || die 'this takes apt, and Debian: its packages for AArch64 are what is linked against'
command -v rustup >/dev/null || die 'this takes rustup, which installs the standard library for AArch64'
command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null ||
    as_root bash "$ROOT/tools/apt-install.sh" gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >&2
rustup -q target add "$target"

if [[ ! -x $home/nginx ]]; then
    say "unpacking into ${sysroot#"$ROOT"/}: ${packages[*]}"
    rm -rf "$home"
    mkdir -p "$home"/apt/{state/lists/partial,cache/archives/partial} "$sysroot"
    : >"$home/apt/status" # nothing is installed, so that all they need is fetched
    cat >"$home/apt/conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "$home/apt/state";
Dir::State::status "$home/apt/status";
Dir::Cache "$home/apt/cache";
CONF
    apt() { APT_CONFIG=$home/apt/conf apt-get -qq "$@" >&2; }
    apt update
    apt install -y --no-install-recommends --download-only "${packages[@]}"
    for file in "$home"/apt/cache/archives/*.deb; do dpkg-deb -x "$file" "$sysroot"; done
    rm -rf "$home/apt"
    printf '#!/bin/sh\nexec qemu-aarch64 -L %q %q "$@"\n' "$sysroot" "$sysroot/usr/sbin/nginx" >"$home/nginx.new"
    chmod 755 "$home/nginx.new"
    mv "$home/nginx.new" "$home/nginx"
fi

# The headers that nginx's configure generated for this machine serve as well: for
# AArch64 they differ in how nginx's pools align and compare, not in any structure.
export BINDGEN_EXTRA_CLANG_ARGS="--target=aarch64-linux-gnu --sysroot=$sysroot"
export CFLAGS_aarch64_unknown_linux_gnu="--sysroot=$sysroot"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$sysroot"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L $sysroot"
export PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_SYSROOT_DIR=$sysroot
export PKG_CONFIG_LIBDIR=$sysroot/usr/lib/aarch64-linux-gnu/pkgconfig
export CARGO_TARGET_DIR=$home/target
cd "$ROOT"
say 'building the module for AArch64'
cargo build --release --target "$target"
export TEST_NGINX_LOAD_MODULES=$home/target/$target/release/${MODULE##*/}

# nginx itself says whether the module fits.
mkdir -p "$home/check/logs"
printf 'load_module %s;\nevents {}\nhttp {}\n' "$TEST_NGINX_LOAD_MODULES" >"$home/check/nginx.conf"
"$home/nginx" -t -p "$home/check/" -c nginx.conf -e stderr -g 'pid nginx.pid;'

cargo test --target "$target"
if [[ $what == test ]]; then
    # What is emulated is slow, TLS above all.
    TEST_NGINX_TIMEOUT=${TEST_NGINX_TIMEOUT:-30} TEST_NGINX_BINARY=$home/nginx tools/prove.sh "$@"
fi
