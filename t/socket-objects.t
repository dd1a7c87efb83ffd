# What a socket object is to Lua's collector, and to those who keep it too long.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

Test::Nginx::Peer->udp( ECHO => sub { $_[0] } );

run_tests();

__DATA__

=== TEST 1: the collector closes what was dropped, and nothing else, in each of its cycles
--- skip_eval: 4: $ENV{NGX_COSOCKET_GC_STRESS}
--- lua
local before = t.fds()
local kept = { open("echo"), open("echo") }
for round = 1, 4 do
    for i = 1, 5 do
        kept[#kept + 1] = open("echo")
        open("hold")
        local dropped = ngx.socket.udp()
        dropped:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
        local datagram = ngx.socket.udp()
        datagram:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
        kept[#kept + 1] = datagram
    end
    local all = t.fds() - before
    collectgarbage()
    collectgarbage()
    show(all - #kept > 0, t.fds() - before - #kept)
end
for _, sock in ipairs(kept) do
    assert(sock:send("ping"))
    assert(sock:receive(4) == "ping")
end
kept = nil
collectgarbage()
collectgarbage()
show(t.fds() - before)
--- response_body
true 0
true 0
true 0
true 0
0



=== TEST 2: the peer of a dropped socket sees its end while the handler goes on
--- config
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local seen
            ngx.timer.at(0, function()
                for round = 1, 3 do
                    local sock = t.open("say:x hold")
                    assert(sock:receive(1) == "x")
                    sock = nil
                    local before = t.fds()
                    collectgarbage()
                    collectgarbage()
                    seen = (seen or "") .. (before - t.fds())
                    ngx.sleep(0.001)
                end
            end)
            t.eventually(true, function() return seen and #seen == 3 end)
            t.show(seen)
        }
    }
--- request
GET /t
--- response_body
"111"
--- no_error_log
[error]



=== TEST 3: objects of requests that have ended, whose places others have taken
--- config
    location = /leave {
        content_by_lua_block {
            local t = require "puppet"
            local udp = ngx.socket.udp()
            udp:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
            package.loaded.old = { t.open("echo"), ngx.socket.tcp(), udp }
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local client = ngx.socket.tcp()
            client:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
            client:send("GET /leave HTTP/1.0\r\n\r\n")
            client:receive("*a")
            client:close()
            local new = {}
            for i = 1, 10 do
                new[i] = t.open("echo")
                new[i]:settimeout(2000)
            end
            for i, old in ipairs(package.loaded.old) do
                old:settimeout(1)
                if i < 3 then
                    old:settimeouts(1, 1, 1)
                    t.show(old:getreusedtimes())
                    t.show(old:getfd())
                    t.show(old:setoption("tcp-nodelay", 1))
                    t.show(old:getoption("tcp-nodelay"))
                    t.show(old:sslhandshake())
                    t.fails(old.connect, old, "127.0.0.1", t.port)
                    t.fails(old.setkeepalive, old)
                else
                    t.fails(old.setpeername, old, "127.0.0.1", t.port)
                end
                t.fails(old.send, old, "x")
                t.fails(old.receive, old)
                t.fails(old.close, old)
            end
            package.loaded.old = nil
            collectgarbage()
            for i, sock in ipairs(new) do
                ngx.sleep(0.002)
                assert(sock:send("ping" .. i))
                assert(sock:receive(4 + #tostring(i)) == "ping" .. i)
            end
            t.show("good")
        }
    }
--- request
GET /t
--- response_body
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "bad request"
bad request
bad request
bad request
bad request
bad request
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "bad request"
bad request
bad request
bad request
bad request
bad request
bad request
bad request
bad request
bad request
"good"
--- no_error_log
[error]



=== TEST 4: the collector of one VM closes nothing of another one
--- http_config
    lua_code_cache off;
--- config
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local mine = t.open("say:abc hold")
            local client = ngx.socket.tcp()
            client:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
            client:send("GET /other HTTP/1.0\r\n\r\n")
            t.show(client:receive("*a"):match("\r\n\r\n(.*)"))
            t.show(mine:receive(3), mine:close())
        }
    }
    location = /other {
        content_by_lua_block {
            local t = require "puppet"
            local before = t.fds()
            local kept = t.open("hold")
            t.open("hold")
            collectgarbage()
            collectgarbage()
            ngx.print(t.fds() - before, kept:close())
        }
    }
--- request
GET /t
--- response_body
"11"
"abc" 1
--- no_error_log
[error]



=== TEST 5: what is no socket object, and fields of one that is
--- lua
local sock, udp = open("echo"), ngx.socket.udp()
fails(sock.send, udp, "x")
fails(udp.send, sock, "x")
fails(sock.send, { 1 }, "x")
fails(sock.send, { "x" }, "x")
sock.name, sock[3] = "a", "b"
collectgarbage()
sock:send("ping")
show(sock.name, sock[3], sock:receive(4), type(sock), sock:close())
--- response_body
bad argument #1 to '?' (socket object expected, got table)
bad argument #1 to '?' (socket object expected, got table)
bad argument #1 to '?' (socket object expected, got table)
bad argument #1 to '?' (socket object expected, got table)
"a" "b" "ping" "table" 1



=== TEST 6: a request that makes thousands of objects, with a place of its own for each
--- lua
local all, before = {}, t.fds()
for i = 1, 3000 do
    all[i] = ngx.socket.tcp()
    if i % 1000 == 0 then
        collectgarbage()
        collectgarbage()
        for j = 1, i - 1, 2 do all[j] = false end
    end
end
collectgarbage()
for i = 2, 3000, 500 do
    assert(all[i]:connect("127.0.0.1", t.port))
    all[i]:send("say:" .. i .. " hold\n")
end
for i = 2, 3000, 500 do
    assert(all[i]:receive(#tostring(i)) == tostring(i))
end
show(t.fds() - before)
all = nil
collectgarbage()
collectgarbage()
show(t.fds() - before)
--- response_body
6
0
