#!/usr/bin/env bash
# The part of tools/deps.sh that needs root: installs the Debian packages named
# on the command line. A package list is fetched only if apt does not know a
# package or its list is too old to download from. No service is started,
# stopped or restarted, whatever the packages' own scripts would like to do.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
# needrestart (Ubuntu) would restart services that use an upgraded library.
export NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l

exec 9>/run/lock/ngx-cosocket-apt.lock
flock 9

# Maintainer scripts ask this program before they touch a service; 101 means no.
# One that is already there belongs to the administrator and stays; one with our
# mark was left by a run of this script that was killed.
guard=/usr/sbin/policy-rc.d mark='ngx-cosocket: temporary'
if [[ ! -e $guard && ! -L $guard ]] || grep -qs "$mark" "$guard"; then
    trap 'rm -f "$guard"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" >"$guard"
    chmod 755 "$guard"
fi

quiet=(-qq -o Dpkg::Use-Pty=0)
apt() { apt-get "${quiet[@]}" -o DPkg::Lock::Timeout=300 "$@" </dev/null; }
known() { [[ $(apt-cache policy "$1" 2>/dev/null) =~ Candidate:\ [^\(] ]]; }
install() { (($# == 0)) || apt install -y --no-install-recommends "$@" 9>&-; }

update=no
if [[ ${1:-} == --update ]]; then
    update=yes
    shift
fi
for package; do known "$package" || update=yes; done

if [[ $update == no ]] && install "$@"; then
    exit 0
fi
apt update
install "$@"
