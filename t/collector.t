# When Lua's collector runs: garbage may pile up in a small heap, but not without end, and
# sockets are not left to it for long.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Peer;
use Test::Nginx::Puppet;

plan skip_all => 'the collector runs all the time in this mode' if $ENV{NGX_COSOCKET_GC_STRESS};
plan skip_all => 'needs redis-server' if !Test::Nginx::Peer->has('redis-server');
plan 'no_plan';

Test::Nginx::Peer->redis;
worker_connections(2048);
run_tests();

__DATA__

=== TEST 1: a cycle begins when there is enough garbage
--- lua
local function most()
    collectgarbage()
    local before, most = collectgarbage("count"), 0
    for i = 1, 100000 do
        local garbage = { i, {}, ("x"):rep(100) .. i }
        most = math.max(most, collectgarbage("count"))
    end
    return most - before
end
for _ = 1, 3 do
    local kilobytes = most()
    show(kilobytes > 900 and kilobytes < 3000 or kilobytes)
end
--- response_body
true
true
true



=== TEST 2: a large heap doubles
--- lua
local much = {}
for i = 1, 100000 do much[i] = { i } end
collectgarbage()
local pause = collectgarbage("setpause", 200)
show(pause)
--- response_body
200



=== TEST 3: the user's own pause stays
--- http_config
init_by_lua_block { collectgarbage("setpause", 150) }
--- lua
for _ = 1, 3 do
    collectgarbage()
    show(collectgarbage("setpause", 150))
end
--- response_body
150
150
150



=== TEST 4: sockets that nobody uses any more are not kept for long
--- lua
for i = 1, 5000 do
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_REDIS_SOCK"))
    assert(sock:send("PING\r\n"))
    assert(sock:receive() == "+PONG")
end
for i = 1, 5000 do
    local sock = ngx.socket.udp()
    assert(sock:setpeername("127.0.0.1", 9))
end
show("done")
--- response_body
"done"
--- no_error_log
[alert]
--- timeout: 30



=== TEST 5: a collector that was stopped stays so
--- lua
collectgarbage()
collectgarbage("stop")
local finalized = 0
local proxy = newproxy(true)
getmetatable(proxy).__gc = function() finalized = finalized + 1 end
proxy = nil
for i = 1, 3000 do ngx.socket.udp() end
show(finalized)
collectgarbage("restart")
for i = 1, 3000 do ngx.socket.udp() end
show(finalized)
--- response_body
0
1
