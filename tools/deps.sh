#!/usr/bin/env bash
# Installs what is missing: `deps.sh build` for building and the demo,
# `deps.sh test` for the tests, `deps.sh bench` for benchmarks. Does nothing,
# quickly, when all is there.
#
# Libraries and tools are installed with apt. Whatever would bring a service
# with it or is a server (nginx, redis-server, memcached, dnsmasq-base) is
# unpacked into build/debs instead, unless it is installed already; so are Lua
# libraries whose packages depend on the C Lua module, which must not be loaded
# beside this one. Benchmarks do use that module: it gets a directory of its own,
# so that no test and no installed nginx ever finds it.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
PATH=${PATH//$BIN:/} # what is there, not what this script linked

# Debian package (a|b: either will do), and how to tell that the same thing is
# there without Debian's package.
build_packages=(
    'gcc                                   program gcc'
    'libc6-dev                             header stdio.h'
    'make                                  program make'
    'pkg-config|pkgconf                    program pkg-config'
    'libclang-dev                          libclang'
    'libluajit2-5.1-dev|libluajit-5.1-dev  library luajit'
    'libpcre2-dev                          library libpcre2-8'
    'libssl-dev                            library libssl'
    'zlib1g-dev                            library zlib'
    'python3                               program python3'
    'openssl                               program openssl'
)
test_packages=(
    'perl                     program prove'
    'libtest-base-perl        perl_module Test::Base'
    'libtest-longstring-perl  perl_module Test::LongString'
    'libtext-diff-perl        perl_module Text::Diff'
    'liblist-moreutils-perl   perl_module List::MoreUtils'
    'libipc-run-perl          perl_module IPC::Run'
    'libwww-perl              perl_module LWP::UserAgent'
    'lua-cjson                lua_module cjson'
    'libio-socket-ssl-perl    perl_module IO::Socket::SSL'
    'curl                     program curl'
    'strace                   program strace'
)
bench_packages=(
    'wrk         program wrk'
    'linux-perf  program perf'
    'valgrind    program valgrind'
    'strace      program strace'
)
c_module_packages=(libnginx-mod-http-lua libnginx-mod-http-ndk lua-resty-core lua-resty-lrucache)
lua_packages=(
    lua-nginx-redis lua-nginx-memcached lua-nginx-dns lua-nginx-websocket
    lua-nginx-string lua-nginx-kafka lua-nginx-cookie lua-nginx-redis-connector
    lua-resty-lrucache
)

program() { command -v "$1" >/dev/null; }
header() { echo "#include <$1>" | gcc -E -x c - >/dev/null 2>&1; }
library() { pkg-config --exists "$1" 2>/dev/null; }
perl_module() { perl -e "require $1" 2>/dev/null; }
lua_module() { compgen -G "/usr/l*/*/lua/5.1/$1.so" >/dev/null; }
libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] ||
        compgen -G '/usr/lib*/libclang*.so*' >/dev/null ||
        compgen -G '/usr/lib*/llvm*/lib*/libclang*.so*' >/dev/null
}

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }
version_of() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null || true; }

# Of the packages named, those that apt can install; one call, apt-cache is slow.
declare -A candidates=()
look_up() {
    local package
    (($#)) || return 0
    while read -r package; do candidates[$package]=1; done < <(
        apt-cache policy "$@" 2>/dev/null |
            awk '/^[^ ]/ { sub(/:$/, ""); name = $0 } / Candidate: [^(]/ { print name }'
    )
}
known() { [[ -n ${candidates[$1]:-} ]]; }

# Sets `missing` to the packages of a list that are not there.
missing=()
find_missing() {
    local line names probe name
    for line; do
        read -r names probe <<<"$line"
        for name in ${names//|/ }; do
            if have_apt && installed "$name"; then continue 2; fi
        done
        $probe && continue
        missing+=("$names")
    done
}

run_root() {
    local status=0
    as_root bash "$ROOT/tools/apt-install.sh" "$@" >&2 || status=$?
    ((status == 0)) && return
    if ((status == 127)); then
        printf '%serror:%s installing packages needs root, and sudo is not usable here.\n' "$red" "$off" >&2
        printf 'As root, run this and try again:\n  bash %q' "$ROOT/tools/apt-install.sh" >&2
        printf ' %q' "$@" >&2
        printf '\n' >&2
        exit 1
    fi
    die 'installing packages failed (see above)'
}

# ---- packages that are unpacked, not installed

unpacked() { [[ -e ${2:-$DEBS}/.done/$1 ]]; }

# The shared libraries that a package needs and that are not installed.
libraries_of() {
    local name
    apt-cache show --no-all-versions "$@" 2>/dev/null | sed -n 's/^\(Pre-\)\?Depends: //p' |
        tr ',' '\n' | sed 's/^ *//; s/[ |(:].*//' | sort -u |
        while read -r name; do
            case $name in
            libnginx-mod*) ;; # the C module and its friends: never
            lib* | zlib1g | lua-cjson | lua-bitop) installed "$name" || echo "$name" ;;
            esac
        done
}

# apt's sandbox user cannot write here; hashes are checked all the same.
download() { (cd "$1" && apt-get -qq -o APT::Sandbox::User=root download "${@:2}" >&2); }

unpack() { # directory package[=version]...
    local dir=$1 package file tmp wanted=()
    shift
    mkdir -p "$dir/.done"
    for package; do
        if [[ $package == lua-*-* ]] && ! known "$package"; then
            say "this distribution has no $package; its tests will be skipped"
            touch "$dir/.done/$package"
        else
            wanted+=("$package")
        fi
    done
    ((${#wanted[@]})) || return 0
    say "unpacking into ${dir#"$ROOT"/}: ${wanted[*]%%=*}"
    tmp=$(mktemp -d "$dir/.get.XXXXXX")
    if ! download "$tmp" "${wanted[@]}"; then
        run_root --update # the list was too old to download from
        download "$tmp" "${wanted[@]}" || die "apt-get download ${wanted[*]} failed"
    fi
    for file in "$tmp"/*.deb; do dpkg-deb -x "$file" "$dir"; done
    rm -rf "$tmp"
    for package in "${wanted[@]%%=*}"; do touch "$dir/.done/$package"; done
}

# The version of nginx-dev that has the headers of nginx version $1; prefers
# package version $2.
matching_headers() {
    apt-cache madison nginx-dev 2>/dev/null | awk -F' *\\| *' -v up="$1" -v pkg="$2" '
        $2 == pkg { best = $2 }
        index($2, up "-") == 1 && !best { best = $2 }
        END { if (best) print best }'
}

# Decides which nginx demo and tests run. The installed one is taken if it is
# 1.22 or newer and its headers are there or can be had.
plan_nginx() {
    local nginx version headers
    [[ -n ${OWN_NGINX:-} ]] && return
    nginx=$(command -v nginx || true)
    if [[ -n $nginx ]]; then
        version=$(nginx_version "$nginx")
        if [[ $(printf '%s\n' 1.22 "$version" | sort -V | head -n 1) == 1.22 ]]; then
            if [[ $(source_version /usr/share/nginx/src) == "$version" ||
                $(source_version "$DEBS/usr/share/nginx/src") == "$version" ]]; then
                nginx_link=$nginx
                return
            fi
            headers=$(matching_headers "$version" "$(version_of nginx)")
            if [[ -n $headers ]]; then
                nginx_link=$nginx
                to_unpack+=("nginx-dev=$headers")
                return
            fi
        fi
    fi
    nginx_link=$DEBS/usr/sbin/nginx
    unpacked nginx || to_unpack+=(nginx)
    unpacked nginx-dev || to_unpack+=(nginx-dev)
}

plan_servers() {
    local pair package
    for pair in redis-server:redis-server redis-tools:redis-cli memcached:memcached dnsmasq-base:dnsmasq; do
        package=${pair%:*}
        program "${pair#*:}" || unpacked "$package" || to_unpack+=("$package")
    done
    # Debian's redis-server is a link to a program of redis-tools.
    if [[ " ${to_unpack[*]-} " == *' redis-server '* && " ${to_unpack[*]} " != *' redis-tools '* ]]; then
        unpacked redis-tools || to_unpack+=(redis-tools)
    fi
    for package in "${lua_packages[@]}"; do
        unpacked "$package" || to_unpack+=("$package")
    done
}

plan() {
    local package
    to_unpack=() c_module=()
    plan_nginx
    if [[ $what != build ]]; then plan_servers; fi
    if [[ $what == bench ]]; then
        for package in "${c_module_packages[@]}"; do
            unpacked "$package" "$C_MODULE" || c_module+=("$package")
        done
    fi
}

link_programs() {
    local name target
    mkdir -p "$BIN"
    if [[ -n ${nginx_link:-} ]]; then ln -sfn "$nginx_link" "$BIN/nginx"; fi
    [[ $what != build ]] || return 0
    for name in redis-server redis-cli memcached dnsmasq; do
        target=$(command -v "$name" || compgen -G "$DEBS/usr/*bin/$name") ||
            die "$name is neither installed nor in $DEBS/usr/bin"
        ln -sfn "$target" "$BIN/$name"
    done
    # Debian's Lua clients are modules nginx.NAME; upstream calls them resty.NAME.
    mkdir -p "$BUILD/lua"
    ln -sfn "$DEBS/usr/share/lua/5.1/nginx" "$BUILD/lua/nginx"
    ln -sfn "$DEBS/usr/share/lua/5.1/nginx" "$BUILD/lua/resty"
    for target in "$DEBS"/usr/share/lua/5.1/resty/*; do
        [[ ! -e $target ]] || ln -sfn "$target" "$DEBS/usr/share/lua/5.1/nginx/"
    done
}

no_apt() {
    local name
    printf '%serror:%s apt was not found, so nothing can be installed for you.\n' "$red" "$off" >&2
    printf 'Please install these (named as in Debian) and try again:\n' >&2
    for name; do printf '  %s\n' "${name//|/ or }" >&2; done
    printf 'An nginx other than the distribution'\''s: build it from source --with-compat, then pass\n' >&2
    printf '  NGINX_SOURCE_DIR=<its source> NGINX_BUILD_DIR=<its objs>\n' >&2
    exit 1
}

what=${1:-test}
find_missing "${build_packages[@]}"
[[ $what == test ]] && find_missing "${test_packages[@]}"
[[ $what == bench ]] && find_missing "${bench_packages[@]}"

if ! have_apt; then
    nginx=$(command -v nginx || true)
    [[ -n ${OWN_NGINX:-} || -n $nginx ]] || missing+=('nginx (1.22 or newer)')
    # Without nginx-dev only a configured source tree has the headers.
    [[ -n ${OWN_NGINX:-} ]] || missing+=('nginx-dev')
    if [[ $what != build ]]; then
        for name in redis-server memcached dnsmasq; do program "$name" || missing+=("$name"); done
    fi
    ((${#missing[@]} == 0)) || no_apt "${missing[@]}"
    nginx_link=$nginx
    link_programs
    exit 0
fi

plan

# What this distribution cannot supply, although its package list is there.
unavailable() {
    local names name
    for names in "${missing[@]}" "${to_unpack[@]%%=*}" "${c_module[@]}"; do
        [[ $names != lua-*-* ]] || continue
        for name in ${names//|/ }; do
            if known "$name"; then continue 2; fi
        done
        echo "${names//|/ or }"
    done
}

look_up ${missing[*]//|/ } "${to_unpack[@]%%=*}" "${c_module[@]}"
if [[ -n $(unavailable) ]]; then
    # Perhaps only because there is no list yet. A new one may also know the
    # headers of the installed nginx, so the plan is made again.
    say 'fetching the package lists'
    run_root --update
    plan
    look_up ${missing[*]//|/ } "${to_unpack[@]%%=*}" "${c_module[@]}"
    none=$(unavailable | tr '\n' ' ')
    [[ -z $none ]] || die "this distribution has no package for: $none
       (nginx must be 1.22 or newer; where the distribution's is older, build one and set
       NGINX_SOURCE_DIR and NGINX_BUILD_DIR)"
fi

packages=()
for names in "${missing[@]}"; do
    for name in ${names//|/ }; do
        if known "$name"; then
            packages+=("$name")
            break
        fi
    done
done
if ((${#to_unpack[@]} + ${#c_module[@]})); then
    mapfile -t names < <(printf '%s\n' "${to_unpack[@]%%=*}" "${c_module[@]}" | grep -vx nginx-dev)
    mapfile -t libraries < <(libraries_of "${names[@]}")
    packages+=("${libraries[@]}")
fi
if ((${#packages[@]})); then
    say "installing ${packages[*]}"
    run_root "${packages[@]}"
fi
if ((${#to_unpack[@]})); then unpack "$DEBS" "${to_unpack[@]}"; fi
if ((${#c_module[@]})); then unpack "$C_MODULE" "${c_module[@]}"; fi
link_programs
