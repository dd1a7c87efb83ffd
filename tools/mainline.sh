#!/usr/bin/env bash
# Builds the module for an nginx that is not the distribution's: the newest
# source that the crate nginx-src carries, taken from crates.io with cargo.
# `mainline.sh build` builds nginx and the module, `mainline.sh test [t/…]` also
# runs the .t files with both. NGINX_SRC=1.28.5 chooses the crate's version.
#
# Everything, cargo's target directory included, lies in build/mainline.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

what=${1:?build or test}
shift
home=$BUILD/mainline
mkdir -p "$home/fetch/src"

# A package of our own that needs the crate makes cargo fetch it.
cat >"$home/fetch/Cargo.toml" <<TOML
[package]
name = "fetch-nginx"
version = "0.0.0"
edition = "2021"

[dependencies]
nginx-src = "${NGINX_SRC:+=}${NGINX_SRC:-*}"

[workspace]
TOML
: >"$home/fetch/src/lib.rs"
crate=$(
    cd "$home/fetch"
    # `metadata` downloads, too, and prints where each package's source lies.
    cargo metadata --format-version 1 --quiet |
        python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "nginx-src":
        print(os.path.dirname(package["manifest_path"]))'
)
source=$crate/nginx
version=$(source_version "$source")
[[ -n $version ]] || die "$crate has no nginx source"

tree=$home/nginx-$version
# Also where this script, which says with what options, is newer.
if [[ ! $tree/objs/nginx -nt $ROOT/tools/mainline.sh ]]; then
    say "building nginx $version"
    rm -rf "$tree"
    mkdir -p "$home"
    cp -R "$source" "$tree"
    cd "$tree"
    log=$home/nginx-$version.log
    {
        bash auto/configure --with-compat --with-debug --with-threads --with-pcre-jit \
            --with-http_ssl_module --with-http_v2_module --with-http_realip_module \
            --with-http_auth_request_module --with-http_stub_status_module \
            --with-http_addition_module --with-http_sub_module --with-http_gunzip_module \
            --with-http_slice_module --with-poll_module \
            --error-log-path=stderr </dev/null
        make -j"$(nproc)" -f objs/Makefile binary
    } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "building nginx $version failed; the whole log is $log"
    }
fi

export NGINX_SOURCE_DIR=$tree NGINX_BUILD_DIR=$tree/objs
export CARGO_TARGET_DIR=$home/target
say "building the module for nginx $version"
cd "$ROOT"
cargo build --release
module=$CARGO_TARGET_DIR/release/${MODULE##*/} # what MODULE is to the scripts below

# nginx itself says whether the module fits.
mkdir -p "$home/check/logs"
printf 'load_module %s;\nevents {}\nhttp {}\n' "$module" >"$home/check/nginx.conf"
"$tree/objs/nginx" -t -p "$home/check/" -c nginx.conf -e stderr -g 'pid nginx.pid;'

if [[ $what == test ]]; then
    TEST_NGINX_BINARY=$tree/objs/nginx tools/prove.sh "$@"
fi
