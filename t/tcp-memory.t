# One handler that talks to its server without end does not grow, whether it closes its
# connections or pools them. With TEST_NGINX_ROUNDS=1000000 in the environment: a million rounds.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Peer;
use Test::Nginx::Puppet;

plan skip_all => 'memory is not to be measured in this mode'
    if $ENV{TEST_NGINX_USE_VALGRIND} || $ENV{NGX_COSOCKET_GC_STRESS};
plan skip_all => 'needs redis-server' if !Test::Nginx::Peer->has('redis-server');
plan 'no_plan';

Test::Nginx::Peer->redis;
$ENV{TEST_NGINX_ROUNDS} ||= 40_000;
env_to_nginx('TEST_NGINX_ROUNDS');
log_level('warn');
timeout(600);

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( response_body => "true true 0\n" );
        $block->set_value( error_log     => 'rounds in' );
        $block->set_value( no_error_log  => '[error]' );
    }
);

run_tests();

__DATA__

=== TEST 1: connect, send, receive, close
--- lua
require "rounds" (function()
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_REDIS_SOCK"))
    assert(sock:send("PING\r\n"))
    assert(sock:receive() == "+PONG")
    assert(sock:close())
end)



=== TEST 2: connect, send, receive, setkeepalive
--- lua
require "rounds" (function(i)
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_REDIS_SOCK"))
    assert(sock:send({ "ECHO ", i, "\r\n" }))
    assert(sock:receive():sub(1, 1) == "$")
    assert(sock:receiveuntil("\r\n")() == tostring(i))
    assert(sock:setkeepalive())
end)



=== TEST 3: one object for all, over TCP
--- lua
local sock = ngx.socket.tcp()
require "rounds" (function(i)
    assert(sock:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
    sock:settimeouts(1000, 2000, 3000)
    assert(sock:send("PING\r\n"))
    assert(sock:receive(7) == "+PONG\r\n")
    -- Now and then a new connection; more would use up the ports.
    assert(i % 50 == 0 and sock:close() or sock:setkeepalive())
end)



=== TEST 4: in threads that end, and that are killed
--- lua
local function ping()
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_REDIS_SOCK"))
    assert(sock:send("PING\r\n"))
    local answer = sock:receive()
    sock:setkeepalive()
    return answer
end
require "rounds" (function()
    local a, b = ngx.thread.spawn(ping), ngx.thread.spawn(ping)
    -- Before its answer can be there, so that its connection never gets into the pool.
    assert(ngx.thread.kill(b))
    assert(select(2, ngx.thread.wait(a)) == "+PONG")
end)
