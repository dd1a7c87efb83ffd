#!/usr/bin/env bash
# Copies the built module into the installed nginx's modules directory and
# prints the line that loads it. DESTDIR=dir installs below dir, for packagers;
# MODULES_DIR=dir says where to. The running nginx and its configuration are not
# touched.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

name=ngx_http_cosocket_module.so
[[ -f $MODULE ]] || die 'the module is not built yet: make build'

nginx=${TEST_NGINX_BINARY:-}
[[ -n $nginx ]] || nginx=$(PATH=${PATH//$BIN:/} command -v nginx || true)
dir=${MODULES_DIR:-}
if [[ -n $nginx ]]; then
    options=$("$nginx" -V 2>&1)
    have=$(nginx_version "$nginx") want=$(source_version "$NGINX_SOURCE_DIR")
    [[ $have == "$want" ]] || die "the module is built for nginx $want, but $nginx is $have.
       Build against that one's source: NGINX_SOURCE_DIR=… NGINX_BUILD_DIR=… make install"
    if [[ -z $dir && $options =~ --modules-path=([^ ]+) ]]; then
        dir=${BASH_REMATCH[1]}
    elif [[ -z $dir && $options =~ --prefix=([^ ]+) ]]; then
        dir=${BASH_REMATCH[1]}/modules
    fi
elif [[ -z $dir && -n ${DESTDIR:-} ]]; then
    dir=/usr/lib/nginx/modules
fi
[[ -n $dir ]] || die 'no installed nginx was found: install one, or set MODULES_DIR'

target=${DESTDIR:-}$dir
# Into a new file that then replaces the old one: a running nginx goes on with
# the file that it has mapped.
put() {
    install -d "$1" && install -m 644 "$2" "$1/.$3.new" && mv -f "$1/.$3.new" "$1/$3"
}
writable=$target
while [[ ! -e $writable ]]; do writable=$(dirname "$writable"); done
if [[ -w $writable ]]; then
    put "$target" "$MODULE" "$name"
else
    status=0
    as_root bash -c "$(declare -f put); put \"\$@\"" put "$target" "$MODULE" "$name" || status=$?
    ((status != 127)) || die "$target is not writable for you, and sudo is not usable here; as root: make install"
    ((status == 0)) || die "could not write to $target"
fi

say "installed $target/$name"
echo 'Put this line at the top of nginx.conf, outside any block, then reload nginx:'
echo
echo "load_module $dir/$name;"
