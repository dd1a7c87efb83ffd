# One reading and one writing light thread on a socket.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

plan skip_all => 'lua-nginx-redis was not unpacked' if !lua_library('resty/redis.lua');
plan skip_all => 'redis-server is not installed' if !Test::Nginx::Peer->has('redis-server');
plan 'no_plan';

Test::Nginx::Peer->redis;
blackhole();
run_tests();

__DATA__

=== TEST 1: a reader and a writer at once
--- lua
local sock = open("echo")
local reader = ngx.thread.spawn(function()
    local sum = 0
    for i = 1, 200 do sum = sum + tonumber((sock:receive())) end
    return sum
end)
local writer = ngx.thread.spawn(function()
    for i = 1, 200 do
        assert(sock:send(i .. "\n"))
        if i % 20 == 0 then ngx.sleep(0.001) end
    end
    return "sent"
end)
show(ngx.thread.wait(writer))
show(ngx.thread.wait(reader))
show(sock:close())
--- response_body
true "sent"
true 20100
1



=== TEST 2: both wait at once: much data in both directions
--- lua
local size = 8000000
local sock = open("echo")
sock:settimeout(3000)
local reader = ngx.thread.spawn(function() return #assert(sock:receive(size)) end)
local writer = ngx.thread.spawn(function() return sock:send(("x"):rep(size)) end)
show(ngx.thread.wait(reader))
show(ngx.thread.wait(writer))
show(sock:setkeepalive())
--- response_body
true 8000000
true 8000000
1



=== TEST 3: what is refused while a reader waits
--- lua
local sock = open("line say:go%0A hold")
local reader = ngx.thread.spawn(function() return sock:receive() end)
show("receive", sock:receive())
show("receiveany", sock:receiveany(10))
show("close", sock:close())
show("setkeepalive", sock:setkeepalive())
show("connect", sock:connect("127.0.0.1", port))
show("iterator", sock:receiveuntil("x")())
show("sslhandshake", sock:sslhandshake())
show("send", sock:send("\n"))
show(ngx.thread.wait(reader))
show("close", sock:close())
--- response_body
"receive" nil "socket busy reading"
"receiveany" nil "socket busy reading"
"close" nil "socket busy reading"
"setkeepalive" nil "socket busy reading"
"connect" nil "socket busy reading"
"iterator" nil "socket busy reading"
"sslhandshake" nil "socket busy reading"
"send" 1
true "go"
"close" 1



=== TEST 4: what is refused while a writer waits
--- lua
local sock = open("say:line%0A wait:0.02 count")
local writer = ngx.thread.spawn(function() return sock:send(("x"):rep(5000000)) end)
show("send", sock:send("y"))
show("close", sock:close())
show("setkeepalive", sock:setkeepalive())
show("connect", sock:connect("127.0.0.1", port))
show("sslhandshake", sock:sslhandshake())
show("receive", sock:receive())
show(ngx.thread.wait(writer))
show("send", sock:send("y"))
--- response_body
"send" nil "socket busy writing"
"close" nil "socket busy writing"
"setkeepalive" nil "socket busy writing"
"connect" nil "socket busy writing"
"sslhandshake" nil "socket busy writing"
"receive" "line"
true 5000000
"send" 1



=== TEST 5: what is refused while a thread connects
--- lua
local sock = ngx.socket.tcp()
sock:settimeout(30)
local thread = ngx.thread.spawn(function()
    return sock:connect("127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT)
end)
show("receive", sock:receive())
show("send", sock:send("x"))
show("close", sock:close())
show("setkeepalive", sock:setkeepalive())
show("connect", sock:connect("127.0.0.1", port))
show(ngx.thread.wait(thread))
--- response_body
"receive" nil "socket busy connecting"
"send" nil "socket busy connecting"
"close" nil "socket busy connecting"
"setkeepalive" nil "socket busy connecting"
"connect" nil "socket busy connecting"
true nil "timeout"
--- error_log
lua tcp socket connect timed out



=== TEST 6: a timeout of the reader leaves the writer alone
--- lua
local sock = open("count")
sock:settimeouts(1000, 2000, 10)
local reader = ngx.thread.spawn(function() return sock:receive() end)
show(ngx.thread.wait(reader))
local writer = ngx.thread.spawn(function()
    for i = 1, 10 do assert(sock:send("12345")) ngx.sleep(0.002) end
    return "written"
end)
show(ngx.thread.wait(writer))
show(sock:close())
--- response_body
true nil "timeout" ""
true "written"
1
--- error_log
lua tcp socket read timed out



=== TEST 7: the peer closes: the reader hears of it
--- lua
local sock = open("wait:0.01")
local reader = ngx.thread.spawn(function() return sock:receive() end)
show(ngx.thread.wait(reader))
show((sock:receive()))
--- response_body
true nil "closed" ""
nil
--- error_log
attempt to receive data on a closed socket



=== TEST 8: Redis: subscribe in one thread, publish in another
--- lua
local redis = require "resty.redis"
local function connected()
    local red = redis:new()
    red:set_timeout(1000)
    assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
    return red
end
local ready = require("ngx.semaphore").new()
local subscriber = ngx.thread.spawn(function()
    local red = connected()
    show(unpack(red:subscribe("dogs", "cats")))
    ready:post()
    local n = 0
    while n < 4 do
        local message = assert(red:read_reply())
        if message[1] == "message" then
            show(unpack(message))
            n = n + 1
        end
    end
    red:unsubscribe()
    return n
end)
local publisher = ngx.thread.spawn(function()
    local red = connected()
    assert(ready:wait(1))
    ngx.sleep(0.005)
    for i = 1, 2 do
        red:publish("dogs", "dog " .. i)
        ngx.sleep(0.002)
        red:publish("cats", "cat " .. i)
    end
    return red:set_keepalive()
end)
show(ngx.thread.wait(publisher))
show(ngx.thread.wait(subscriber))
--- response_body_like
^"subscribe" "dogs" 1
"message" "dogs" "dog 1"
"message" "cats" "cat 1"
"message" "dogs" "dog 2"
("message" "cats" "cat 2"
)?true 1
("message" "cats" "cat 2"
)?true 4
$



=== TEST 9: Redis: one connection, one thread reads, another one sends
--- lua
local redis = require "resty.redis"
local red = redis:new()
red:set_timeout(1000)
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
assert(red:subscribe("a"))
local other = redis:new()
assert(other:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
local reader = ngx.thread.spawn(function()
    local seen = {}
    while #seen < 3 do
        local reply = assert(red:read_reply())
        seen[#seen + 1] = reply[1] .. ":" .. reply[2]
    end
    return unpack(seen)
end)
ngx.sleep(0.005)
-- The reader waits on this socket.
show(red._sock:send("SUBSCRIBE b\r\n") > 0)
ngx.sleep(0.005)
other:publish("b", "x")
other:publish("a", "y")
show(ngx.thread.wait(reader))
--- response_body
true
true "subscribe:b" "message:b" "message:a"
