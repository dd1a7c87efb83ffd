#!/usr/bin/env bash
# Starts the demo on 127.0.0.1:PORT and stops it, and the small servers it needs,
# when Ctrl-C is pressed or either of the two ends. `demo.sh --check-port PORT`
# only says whether the port is free.
#
# Everything lies in a prefix of its own, build/demo (or $DEMO_PREFIX).
set -euo pipefail
source "$(dirname "$0")/lib.sh"

check_port() {
    [[ $port =~ ^[0-9]{1,5}$ ]] && ((port > 0 && port < 65536)) || die "PORT=$port is not a port"
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        die "port $port on 127.0.0.1 is taken by another program; choose one: make run PORT=8090"
    fi
}

only_check=no
if [[ ${1:-} == --check-port ]]; then
    only_check=yes
    shift
fi
port=${1:-8080}
check_port
[[ $only_check == no ]] || exit 0

prefix=${DEMO_PREFIX:-$BUILD/demo}
nginx=$(nginx_binary)
[[ -f $MODULE ]] || die 'the module is not built yet: make build'

nginx_pid='' backend_pid=''
stop() {
    trap - EXIT INT TERM HUP
    # Killed by our signal is how both are meant to end: no word about it.
    if [[ -n $nginx_pid ]]; then kill -TERM "$nginx_pid" 2>/dev/null || true; fi
    if [[ -n $backend_pid ]]; then kill -TERM "$backend_pid" 2>/dev/null || true; fi
    wait 2>/dev/null || true
}
trap stop EXIT
trap 'stop; say "stopped"; exit 0' INT TERM HUP

# ---- the servers that the examples talk to: the user's Redis, or our own small one

# They end when their input does, so they cannot outlive this script.
coproc BACKEND { exec python3 "$ROOT/nginx-conf/demo/backend.py"; }
backend_pid=$BACKEND_PID
redis_host=127.0.0.1
read -r -t 10 redis_port dns_port tls_port <&"${BACKEND[0]}" ||
    die 'the small servers of the demo did not start'

if [[ -n ${REDIS:-} ]]; then
    [[ $REDIS =~ ^(.+):([0-9]+)$ ]] || die "REDIS=$REDIS is not host:port"
    redis_host=${BASH_REMATCH[1]} redis_port=${BASH_REMATCH[2]}
    if [[ ! $redis_host =~ ^[0-9.]+$|^\[.*\]$ ]]; then
        # The demo has no resolver directive, so the name is looked up here.
        redis_host=$(getent ahostsv4 "$redis_host" | awk 'NR == 1 { print $1 }') || true
        [[ -n $redis_host ]] || die "REDIS=$REDIS: the host was not found"
    fi
fi

# ---- the prefix

mkdir -p "$prefix/tmp"
mkdir -p "$prefix/modules"
# Certificates for the HTTPS examples, which trust just these.
for name in secure vault; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
        -subj "/CN=$name.demo" -addext "subjectAltName=DNS:$name.demo" \
        -keyout "$prefix/$name.key" -out "$prefix/$name.pem" 2>/dev/null ||
        die 'openssl could not make a certificate'
done
cat "$prefix/secure.pem" "$prefix/vault.pem" >"$prefix/trusted.pem"
ln -sfn "$MODULE" "$prefix/modules/ngx_http_cosocket_module.so"
ln -sfn "$ROOT/nginx-conf/demo" "$prefix/demo"
sed "s/127\.0\.0\.1:8080/127.0.0.1:$port/
     s/\(set \$redis_host \).*;/\1$redis_host;/
     s/\(set \$redis_port \).*;/\1$redis_port;/
     s/\(set \$dns_port \).*;/\1$dns_port;/
     s/\(set \$tls_port \).*;/\1$tls_port;/
     s/server(\"127\.0\.0\.1\", 6379)/server(\"$redis_host\", $redis_port)/
     s/127\.0\.0\.1:8443/127.0.0.1:$tls_port/" "$ROOT/nginx-conf/demo.conf" >"$prefix/demo.conf"

# Workers of a root nginx run as another user, who may not be able to read the
# demo's files in root's home; it listens on loopback only, so let them be root.
globals='daemon off;'
if ((EUID == 0)); then globals+=' user root;'; fi

# ---- run

"$nginx" -p "$prefix/" -e stderr -c demo.conf -g "$globals" </dev/null &
nginx_pid=$!
for ((try = 0; try < 100; try++)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    kill -0 "$nginx_pid" 2>/dev/null || break
    sleep 0.1
done
if kill -0 "$nginx_pid" 2>/dev/null; then
    say "the demo is at http://127.0.0.1:$port/ (Ctrl-C stops it)"
fi

status=0
wait -n "$nginx_pid" ${backend_pid:+"$backend_pid"} || status=$?
if [[ -n $backend_pid ]] && kill -0 "$nginx_pid" 2>/dev/null; then
    die 'the small servers of the demo ended'
fi
nginx_pid=''
((status == 0)) || die "nginx ended with status $status"
say 'nginx was stopped'
