# Whose a socket is, when it is closed, and that nothing is left behind.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

blackhole();
Test::Nginx::Peer->dns( 'mute.test' => 'TIMEOUT' );
worker_connections(512);

run_tests();

__DATA__

=== TEST 1: another handler may not use a socket, while its owner lives and after
--- config
    location = /own {
        content_by_lua_block {
            local t = require "puppet"
            local sock = t.open("say:abc hold")
            package.loaded.shared = { sock = sock, reader = sock:receiveuntil("x") }
            ngx.sleep(0.4)
            -- The owner was not disturbed.
            t.show(sock:receive(3))
        }
    }
    location = /other {
        content_by_lua_block {
            local t = require "puppet"
            local sock, reader = package.loaded.shared.sock, package.loaded.shared.reader
            t.fails(sock.connect, sock, "127.0.0.1", t.port)
            t.fails(sock.send, sock, "x")
            t.fails(sock.receive, sock)
            t.fails(sock.receiveany, sock, 1)
            t.fails(sock.receiveuntil, sock, "x")
            t.fails(reader)
            t.fails(sock.setkeepalive, sock)
            t.fails(sock.close, sock)
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local function get(uri)
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
                sock:send("GET " .. uri .. " HTTP/1.0\r\n\r\n")
                return sock
            end
            local own = get("/own")
            t.eventually(true, function() return package.loaded.shared ~= nil end)
            ngx.say(get("/other"):receive("*a"):match("\r\n\r\n(.*)"))
            ngx.say(own:receive("*a"):match("\r\n\r\n(.*)"))
            ngx.print(get("/other"):receive("*a"):match("\r\n\r\n(.*)"))
        }
    }
--- request
GET /t
--- response_body
bad request
bad request
bad request
bad request
bad request
bad request
bad request
bad request

"abc"

bad request
bad request
bad request
bad request
bad request
bad request
bad request
bad request
--- no_error_log
[error]



=== TEST 2: the collector closes what nobody can use any more
--- skip_eval: 4: $ENV{NGX_COSOCKET_GC_STRESS}
--- lua
local before = t.fds()
for i = 1, 5 do open("hold") end
local sock = open("say:abc hold")
local reader = sock:receiveuntil("z")
show(t.fds() - before)
collectgarbage()
collectgarbage()
show(t.fds() - before)
show(sock:receive(3))
sock = nil
collectgarbage()
collectgarbage()
-- The iterator still holds its socket.
show(t.fds() - before)
reader = nil
collectgarbage()
collectgarbage()
show(t.fds() - before)
--- response_body
6
1
"abc"
1
0



=== TEST 3: an iterator collected after a read error, then close
--- lua
for _, script in ipairs { "say:abc", "say:abc wait:0.03 reset", "say:abc hold" } do
    local sock = open(script)
    sock:settimeout(script:find("hold") and 40 or 5000)
    do
        local reader = sock:receiveuntil("END")
        show(reader())
    end
    collectgarbage()
    collectgarbage()
    show(sock:close())
    show(sock:close())
    collectgarbage()
end
--- response_body
nil "closed" "abc"
1
nil "closed"
nil "connection reset by peer" "abc"
1
nil "closed"
nil "timeout" "abc"
1
nil "closed"
--- error_log
reset by peer



=== TEST 4: sockets are closed however a handler ends
--- config
    error_page 418 = /page;
    location = /page {
        content_by_lua_block {
            local t = require "puppet"
            local sock = t.open("say:page%0A")
            ngx.say(sock:receive())
        }
    }
    location = /leave {
        content_by_lua_block {
            local t = require "puppet"
            local sock, other = t.open("say:x hold"), t.open("mute")
            local how = ngx.var.arg_how
            sock:receive(1)
            if how == "return" then
                return
            elseif how == "say" then
                ngx.say("said")
            elseif how == "error" then
                error("on purpose")
            elseif how == "coroutine" then
                coroutine.wrap(function()
                    t.open("hold")
                    error("on purpose")
                end)()
            elseif how == "suspended" then
                coroutine.wrap(function()
                    local inner = t.open("hold")
                    coroutine.yield()
                    inner:receive()
                end)()
            else
                ngx.exit(tonumber(how))
            end
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local function round(how)
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
                sock:send("GET /leave?how=" .. how .. " HTTP/1.0\r\n\r\n")
                local answer = sock:receive("*a")
                sock:close()
                return (answer:match("^HTTP/1.1 (%d+)") or "none")
            end
            for _, how in ipairs { "return", "say", "error", "coroutine", "suspended",
                                   "200", "404", "418", "444", "500", "0" } do
                local status = round(how)
                ngx.sleep(0.01)
                local before = t.fds()
                for i = 1, 20 do round(how) end
                ngx.say(how, ": ", status, ", left: ", t.eventually(before, t.fds) - before)
            end
        }
    }
--- request
GET /t
--- timeout: 10
--- response_body
return: 200, left: 0
say: 200, left: 0
error: 500, left: 0
coroutine: 500, left: 0
suspended: 200, left: 0
200: 200, left: 0
404: 404, left: 0
418: 200, left: 0
444: none, left: 0
500: 500, left: 0
0: 200, left: 0
--- error_log
on purpose



=== TEST 5: the client goes while the handler waits, in each kind of wait
--- config
    lua_check_client_abort on;
    lua_socket_log_errors off;
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
    location = /wait {
        content_by_lua_block {
            local t = require "puppet"
            local how = ngx.var.arg_how
            local count = package.loaded.count
            count.began = count.began + 1
            local sock = ngx.socket.tcp()
            local function wait()
                if how == "connect" then
                    sock:connect("127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT)
                elseif how == "resolve" then
                    sock:connect("mute.test", 80)
                elseif how == "queue" then
                    sock:connect("127.0.0.1", t.port, { pool = "queue" })
                elseif how == "shortcut" then
                    ngx.socket.connect("127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT)
                elseif how == "sleep" then
                    ngx.sleep(60)
                else
                    sock:connect("127.0.0.1", t.port)
                    sock:send("mute\n")
                    if how == "send" then
                        sock:send(("x"):rep(20000000))
                    elseif how == "until" then
                        sock:receiveuntil("x")()
                    elseif how == "any" then
                        sock:receiveany(10)
                    else
                        sock:receive("*a")
                    end
                end
            end
            if how == "child" then
                -- A coroutine in a coroutine.
                coroutine.wrap(function() coroutine.wrap(wait)() end)()
            else
                wait()
            end
            count.ended = count.ended + 1
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local holder = t.open("mute", { pool = "queue", pool_size = 1, backlog = 100 })
            for _, how in ipairs { "connect", "resolve", "queue", "shortcut", "sleep", "read", "until",
                                   "any", "send", "child" } do
                package.loaded.count = { began = 0, ended = 0 }
                ngx.sleep(0.01)
                local before, socks = t.fds(), {}
                for i = 1, 10 do
                    socks[i] = ngx.socket.tcp()
                    assert(socks[i]:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
                    socks[i]:send("GET /wait?how=" .. how .. " HTTP/1.0\r\n\r\n")
                end
                local count = package.loaded.count
                t.eventually(10, function() return count.began end)
                ngx.sleep(0.05)
                for i = 1, 10 do socks[i]:close() end
                -- nginx keeps its own socket to the DNS server.
                local kept = before + (how == "resolve" and 1 or 0)
                local left = t.eventually(0, function()
                    collectgarbage()
                    return math.max(t.fds() - kept, 0)
                end)
                ngx.say(how, ": began ", count.began, ", ended ", count.ended, ", left ", left)
            end
            holder:close()
            local sock = t.open("say:free hold", { pool = "queue" })
            ngx.say(sock:receive(4))
        }
    }
--- request
GET /t
--- timeout: 10
--- response_body
connect: began 10, ended 0, left 0
resolve: began 10, ended 0, left 0
queue: began 10, ended 0, left 0
shortcut: began 10, ended 0, left 0
sleep: began 10, ended 0, left 0
read: began 10, ended 0, left 0
until: began 10, ended 0, left 0
any: began 10, ended 0, left 0
send: began 10, ended 0, left 0
child: began 10, ended 0, left 0
free
--- no_error_log
[alert]



=== TEST 6: without lua_check_client_abort the handler goes on
--- config
    location = /go {
        content_by_lua_block {
            local t = require "puppet"
            local sock = t.open("wait:0.08 say:late%0A")
            package.loaded.got = sock:receive()
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
            sock:send("GET /go HTTP/1.0\r\n\r\n")
            ngx.sleep(0.03)
            sock:close()
            t.eventually("late", function() return package.loaded.got end)
            ngx.say(package.loaded.got)
        }
    }
--- request
GET /t
--- response_body
late
--- no_error_log
[alert]



=== TEST 7: a socket travels between the coroutines of its handler
--- lua
local sock = open("say:a%0Ab%0Ac%0A hold")
local first = coroutine.create(function()
    coroutine.yield(sock:receive())
    return sock:receive()
end)
show(coroutine.resume(first))
show(coroutine.wrap(function() return sock:receive() end)())
show(coroutine.resume(first))
show(coroutine.resume(first))
local made = coroutine.wrap(function() return open("say:made%0A") end)()
collectgarbage()
show(made:receive())
--- response_body
true "a"
"b"
true "c"
false "cannot resume dead coroutine"
"made"



=== TEST 8: a wait where Lua cannot be suspended is an error, and the socket is closed
--- lua
local sock = open("wait:1 say:late hold")
local before = t.fds()
fails(string.gsub, "x", "x", function() return sock:receive() end)
show(sock:receive())
show(sock:send("x"))
show(t.fds() - before)
sock = open("say:early%0A hold")
ngx.sleep(0.3)
-- What need not wait works.
show((("x"):gsub("x", function() return sock:receive() end)))
--- response_body
attempt to yield across C-call boundary
nil "closed"
nil "closed"
-1
"early"
--- error_log
attempt to receive data on a closed socket



=== TEST 9: twenty thousand connects and closes do not grow the worker
--- skip_eval: 3: $ENV{TEST_NGINX_USE_VALGRIND}
--- http_config
    server { listen unix:$TEST_NGINX_HTML_DIR/l.sock backlog=511; }
--- lua
local url = "unix:$TEST_NGINX_HTML_DIR/l.sock"
local function rounds(n)
    for i = 1, n do
        local sock = ngx.socket.tcp()
        assert(sock:connect(url))
        assert(sock:close())
        -- nginx takes one connection a round of its event loop.
        ngx.sleep(0)
    end
end
rounds(2000)
ngx.sleep(0.02)
collectgarbage()
local memory, fds = t.memory(), t.fds()
rounds(20000)
collectgarbage()
ngx.sleep(0.02)
local grown = t.memory() - memory
show(grown < 1024 or grown, t.fds() - fds)
--- log_level: warn
--- timeout: 20
--- response_body
true 0



=== TEST 10: nor does one socket that is connected again and again
--- skip_eval: 3: $ENV{TEST_NGINX_USE_VALGRIND}
--- lua
local sock = ngx.socket.tcp()
local function rounds(n)
    for i = 1, n do
        assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
        if i % 2 == 0 then sock:close() end
    end
end
rounds(300)
collectgarbage()
local memory = t.memory()
rounds(3000)
collectgarbage()
local grown = t.memory() - memory
show(grown < 1024 or grown)
--- timeout: 20
--- response_body
true



=== TEST 11: under constant garbage collection
--- lua
collectgarbage("setpause", 0)
collectgarbage("setstepmul", 10000000)
local results = {}
for i = 1, 15 do
    local lost = open("hold", { pool = "lost", pool_size = 99, backlog = 4 })
    lost = nil
    local sock = open("say:one%0A wait:0.002 say:two%0Athree--END line")
    results[#results + 1] = sock:receive() .. sock:receive() .. sock:receiveuntil("--END")()
    sock:send({ "x", { 1, 2 } })
    if i % 2 == 0 then sock:close() end
    sock = nil
end
collectgarbage("setpause", 200)
collectgarbage("setstepmul", 200)
local same = true
for i = 1, 15 do same = same and results[i] == "onetwothree" end
show(same)
--- response_body
true



=== TEST 12: a collected holder of a slot wakes the one that waits
--- config
    location = /hold {
        content_by_lua_block {
            local t = require "puppet"
            do
                local sock = t.open("mute", { pool = "gc", pool_size = 1, backlog = 5 })
            end
            ngx.sleep(0.3)
            collectgarbage()
            collectgarbage()
            ngx.say("collected")
        }
    }
    location = /wait {
        content_by_lua_block {
            local t = require "puppet"
            local sock = t.open("say:got%0A hold", { pool = "gc", pool_size = 1, backlog = 5 })
            ngx.say(sock:receive())
        }
    }
    location = /t {
        content_by_lua_block {
            local socks = {}
            for i, uri in ipairs { "/hold", "/wait", "/wait", "/wait" } do
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
                sock:send("GET " .. uri .. " HTTP/1.0\r\n\r\n")
                ngx.sleep(0.01)
                socks[i] = sock
            end
            for _, sock in ipairs(socks) do
                ngx.say((sock:receive("*a"):match("\r\n\r\n(.-)\n")))
            end
        }
    }
--- request
GET /t
--- response_body
collected
got
got
got
--- no_error_log
[error]



=== TEST 13: a fresh VM for each request
--- http_config
    lua_code_cache off;
--- config
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local sock, left = t.open("echo"), t.open("hold", { pool = "left" })
            sock:send("x")
            t.show(sock:getreusedtimes(), sock:receive(1), sock:setkeepalive())
            package.loaded.keep = left
        }
    }
--- request eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
[qq{0 "x" 1\n}, qq{1 "x" 1\n}, qq{2 "x" 1\n}]
--- no_error_log
[error]



=== TEST 14: what an earlier phase left open serves the later ones, and goes with the request
--- config
    location = /phases {
        rewrite_by_lua_block {
            local t = require "puppet"
            package.loaded.early = t.open("say:a%0Ab%0Ac%0A hold")
            ngx.sleep(0)
        }
        access_by_lua_block { package.loaded.a = package.loaded.early:receive() }
        content_by_lua_block { ngx.say(package.loaded.a, package.loaded.early:receive()) }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local before = t.fds()
            for i = 1, 3 do
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
                sock:send("GET /phases HTTP/1.0\r\n\r\n")
                ngx.say((sock:receive("*a"):match("\r\n\r\n(.-)\n")))
                sock:close()
            end
            ngx.say(t.eventually(before, t.fds) - before)
            t.fails(package.loaded.early.receive, package.loaded.early)
        }
    }
--- request
GET /t
--- response_body
ab
ab
ab
0
bad request
--- no_error_log
[error]



=== TEST 15: thousands of requests that leave sockets open
--- skip_eval: 3: $ENV{TEST_NGINX_USE_VALGRIND}
--- config
    location = /leave {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
            ngx.say("ok")
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local function rounds(n)
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
                for i = 1, n do
                    sock:send("GET /leave HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert(sock:receiveuntil("\r\n0\r\n\r\n")())
                end
                sock:close()
            end
            -- The heap grows to what is garbage between two cycles first.
            for i = 1, 4 do rounds(700) end
            ngx.sleep(0.02)
            collectgarbage()
            local memory, fds = t.memory(), t.fds()
            for i = 1, 4 do rounds(700) end
            local left = t.eventually(0, function() return t.fds() - fds end)
            collectgarbage()
            local grown = t.memory() - memory
            ngx.say(grown < 1024 or grown, " ", left)
        }
    }
--- request
GET /t
--- timeout: 20
--- response_body
true 0
--- no_error_log
[error]
