#!/usr/bin/env bash
# Prepares the headers of the nginx chosen by tools/deps.sh: a copy of its
# source in build/nginx-src, configured as the distribution configured it, with
# the generated headers in build/nginx/objs. Debian's nginx-dev has the source
# and the flags, not the generated headers.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

nginx=$(nginx_binary)
[[ -x $nginx ]] || die "no nginx at $nginx; run: make deps"
version=$(nginx_version "$nginx")

source=
for dir in /usr/share/nginx/src "$DEBS/usr/share/nginx/src"; do
    if [[ $(source_version "$dir") == "$version" ]]; then
        source=$dir
        break
    fi
done
[[ -n $source ]] || die "no headers for $nginx, version $version: install its nginx-dev, or set
       NGINX_SOURCE_DIR (and NGINX_BUILD_DIR) to the configured source of that nginx"

stamp=$BUILD/nginx/stamp
# The package's own revision counts too: its patches may change a header.
want="$version $source $(cksum <"$source/conf_flags") $("$nginx" -V 2>&1 | cksum)"
if [[ -f $BUILD/nginx/objs/ngx_auto_config.h && $(cat "$stamp" 2>/dev/null) == "$want" ]]; then
    exit 0
fi

say "configuring the headers of nginx $version"
rm -rf "$BUILD/nginx-src" "$BUILD/nginx"
mkdir -p "$BUILD/nginx"
cp -R "$source" "$BUILD/nginx-src"
cd "$BUILD/nginx-src"
# shellcheck disable=SC1091
source ./conf_flags # sets NGX_CONF_FLAGS
log=$BUILD/nginx/configure.log
./configure "${NGX_CONF_FLAGS[@]}" --builddir="$BUILD/nginx/objs" >"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" >&2
    die "configuring nginx failed; the whole log is $log"
}
printf '%s\n' "$want" >"$stamp"
