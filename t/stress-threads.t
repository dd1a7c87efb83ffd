# Handlers and timers that do at random what threads, coroutines, semaphores and sockets can
# do, while clients leave: no crash, nothing hangs, nothing is left. TEST_NGINX_CHAOS_SECONDS
# in the environment makes it longer, TEST_NGINX_CHAOS_SEED repeats one.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

Test::Nginx::Peer->dns(
    'mute.test' => 'TIMEOUT',
    'slow.test' => { answer => '127.0.0.1', delay => 0.003, ttl => 0 },
    'none.test' => 'NXDOMAIN',
);
$ENV{TEST_NGINX_CHAOS_SECONDS} ||= 4;
$ENV{TEST_NGINX_CHAOS_SEED}    ||= time;
diag "TEST_NGINX_CHAOS_SEED=$ENV{TEST_NGINX_CHAOS_SEED}" if $ENV{TEST_NGINX_VERBOSE};
worker_connections(512);
log_level('alert');
timeout( $ENV{TEST_NGINX_CHAOS_SECONDS} + 60 );
run_tests();

__DATA__

=== TEST 1: chaos
--- http_config
    lua_socket_log_errors off;
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
    resolver_timeout 20ms;
    lua_max_running_timers 1000;
--- config
    location = /chaos {
        lua_check_client_abort on;
        content_by_lua_block { require("chaos").handler() }
    }
--- lua
local chaos = require "chaos"
math.randomseed($TEST_NGINX_CHAOS_SEED)
-- What stays open for good: for timers, for DNS.
ngx.socket.tcp():connect("none.test", 80)
chaos.drive(0.2)
t.eventually(0, function() return ngx.timer.running_count() + ngx.timer.pending_count() end)
ngx.sleep(0.1)
local before = t.fds()
local count = chaos.drive($TEST_NGINX_CHAOS_SECONDS)
show(count > 20 or count)
show(t.eventually(0, function() return ngx.timer.running_count() + ngx.timer.pending_count() end))
-- Nobody waits any more; connections that were pooled are closed before long.
show(t.eventually(true, function() return chaos.semaphore:count() >= 0 end))
show(t.eventually(true, function()
    collectgarbage()
    return t.fds() <= before
end))
-- The pool has all of its places.
local socks = {}
for i = 1, 3 do socks[i] = open("say:x hold", { pool = "chaos" }) end
for i = 1, 3 do
    -- On a loaded machine the peer has a long queue of connections that nobody needs any more.
    socks[i]:settimeout(40000)
    assert(socks[i]:receive(1) == "x")
end
ngx.say("done")
--- response_body
true
0
true
true
done
