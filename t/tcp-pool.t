# setkeepalive, getreusedtimes and the connection pools.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

worker_connections(128);
run_tests();

__DATA__

=== TEST 1: a connection comes back, and counts how often
--- lua
local fd
for i = 1, 4 do
    local sock = open("echo")
    show(sock:getreusedtimes(), fd == nil or sock:getfd() == fd)
    fd = sock:getfd()
    show(sock:send("abc"), sock:receive(3))
    show(sock:setkeepalive())
    show(sock:getreusedtimes())
end
--- response_body
0 true
3 "abc"
1
nil "closed"
1 true
3 "abc"
1
nil "closed"
2 true
3 "abc"
1
nil "closed"
3 true
3 "abc"
1
nil "closed"



=== TEST 2: across requests, and never connected
--- config
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local sock = ngx.socket.tcp()
            t.show(sock:getreusedtimes())
            sock = t.open("echo")
            t.show(sock:getreusedtimes())
            t.show(sock:setkeepalive(0))
        }
    }
--- request eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
[qq{nil "closed"\n0\n1\n}, qq{nil "closed"\n1\n1\n}, qq{nil "closed"\n2\n1\n}]
--- no_error_log
[error]



=== TEST 3: arguments of setkeepalive
--- lua
local sock = open("echo")
fails(sock.setkeepalive)
fails(sock.setkeepalive, sock, 1, 2, 3)
fails(function() sock:setkeepalive(1, 0) end)
fails(function() sock:setkeepalive(1, -5) end)
fails(function() sock:setkeepalive(1, "x") end)
fails(function() sock:setkeepalive("x") end)
fails(function() sock:setkeepalive({}) end)
fails(function() sock:setkeepalive(-1) end)
fails(function() sock:setkeepalive(2 ^ 31) end)
show(sock:send("a"), sock:receive(1))
show(sock:setkeepalive(nil, nil))
sock = open("echo")
show(sock:getreusedtimes(), sock:setkeepalive("1000", "5"))
--- response_body
expecting 1 to 3 arguments (including the object), but got 0
expecting 1 to 3 arguments (including the object), but got 4
bad argument #2 to 'setkeepalive' (bad "pool_size" option value: 0)
bad argument #2 to 'setkeepalive' (bad "pool_size" option value: -5)
bad argument #2 to 'setkeepalive' (number expected, got string)
bad argument #1 to 'setkeepalive' (number expected, got string)
bad argument #1 to 'setkeepalive' (number expected, got table)
bad argument #1 to 'setkeepalive' (bad timeout value)
bad argument #1 to 'setkeepalive' (bad timeout value)
1 "a"
1
1 1



=== TEST 4: the pool is named by opts.pool, else host:port, else the unix path
--- http_config
    server { listen unix:$TEST_NGINX_HTML_DIR/p.sock; }
--- lua
local function round(host, port, opts)
    local sock = ngx.socket.tcp()
    if opts then
        assert(sock:connect(host, port, opts))
    else
        assert(sock:connect(host, port))
    end
    show(sock:getreusedtimes())
    sock:setkeepalive()
end
local url = "unix:$TEST_NGINX_HTML_DIR/p.sock"
round("127.0.0.1", port)
round("127.0.0.1", tostring(port))
round("127.0.0.1", port, { pool = "mine" })
round("127.0.0.1", port, { pool = "mine" })
round("127.0.0.1", port, { pool = 12 })
round("127.0.0.1", port, { pool = "12" })
round("127.0.0.1", port, { pool = "127.0.0.1:" .. port })
round(url)
round(url, nil, { pool = "mine" })
round(url, nil, {})
round("127.0.0.1", port, { pool = url })
round("127.0.0.1", port, { pool = "" })
round("127.0.0.1", port, { pool = "" })
--- response_body
0
1
0
1
0
1
2
0
2
1
2
0
1



=== TEST 5: the last one put back is the first one taken
--- lua
local socks, fds = {}, {}
for i = 1, 3 do
    socks[i] = open("echo")
    fds[socks[i]:getfd()] = i
end
for i = 1, 3 do socks[i]:setkeepalive() end
for i = 1, 3 do
    socks[i] = open("echo")
    show(fds[socks[i]:getfd()])
end
--- response_body
3
2
1



=== TEST 6: a full pool closes the least recently used one
--- lua
local before = t.fds()
local socks, fds = {}, {}
for i = 1, 5 do
    socks[i] = open("echo", { pool = "lru" })
    fds[socks[i]:getfd()] = i
end
for _, i in ipairs { 2, 5, 1, 4, 3 } do
    show(socks[i]:setkeepalive(0, 3))
end
show(t.fds() - before)
for i = 1, 4 do
    socks[i] = open("echo", { pool = "lru" })
    show(socks[i]:getreusedtimes(), socks[i]:getreusedtimes() > 0 and fds[socks[i]:getfd()])
end
--- response_body
1
1
1
1
1
3
1 3
1 4
1 1
0 false



=== TEST 7: the size counts only when the pool is made; the directive is the default
--- location_config
    lua_socket_pool_size 2;
--- lua
local before = t.fds()
local function fill(n, name, ...)
    local socks = {}
    for i = 1, n do socks[i] = open("echo", { pool = name }) end
    for i = 1, n do socks[i]:setkeepalive(...) end
    local kept = t.fds() - before
    before = t.fds()
    show(name, kept)
end
fill(4, "default")
fill(4, "default", 0, 100)
fill(4, "three", 0, 3)
fill(4, "three", 0, 1)
fill(4, "one", 0, 1)
-- pool_size of connect makes the pool.
local socks = {}
for i = 1, 4 do socks[i] = open("echo", { pool = "four", pool_size = 4 }) end
for i = 1, 4 do socks[i]:setkeepalive(0, 1) end
show(t.fds() - before)
--- response_body
"default" 2
"default" 0
"three" 3
"three" 0
"one" 1
4



=== TEST 8: a pool goes away with its last connection, and its size with it
--- lua
local function fill(n, size)
    local socks = {}
    local before = t.fds()
    for i = 1, n do socks[i] = open("echo", { pool = "p" }) end
    for i = 1, n do socks[i]:setkeepalive(0, size) end
    local kept = t.fds() - before
    for i = 1, kept do socks[i] = open("echo", { pool = "p" }) end
    for i = 1, kept do socks[i]:close() end
    show(kept)
end
fill(3, 1)
fill(3, 2)
fill(3, 3)
--- response_body
1
2
3



=== TEST 9: the idle timeout, given and by the directive; 0 is none
--- location_config
    lua_socket_keepalive_timeout 60ms;
--- lua
local before = t.fds()
local a, b, c, d = open("echo"), open("echo"), open("echo"), open("echo")
a:setkeepalive()
b:setkeepalive(nil, 10)
c:setkeepalive(500)
d:setkeepalive(0)
show(t.fds() - before)
show(eventually(before + 2, t.fds) - before)
show(eventually(before + 1, t.fds) - before)
ngx.sleep(0.1)
show(t.fds() - before)
local sock = open("echo")
show(sock:getreusedtimes(), sock:send("x"), sock:receive(1))
-- In use the idle timeout does not count.
sock:setkeepalive(50)
sock = open("echo")
ngx.sleep(0.1)
show(sock:getreusedtimes(), sock:send("x"), sock:receive(1))
--- response_body
4
2
1
1
1 1 "x"
2 1 "x"



=== TEST 10: the peer closes an idle connection
--- lua
local before = t.fds()
local sock = open("line")
show(sock:setkeepalive())
show(t.fds() - before)
-- Another connection makes the first one's peer end.
sock = open("line")
show(sock:getreusedtimes())
sock:send("now\n")
sock:setkeepalive()
show(eventually(before, t.fds) - before)
sock = open("echo")
show(sock:getreusedtimes(), sock:send("x"), sock:receive(1))
--- response_body
1
1
1
0
0 1 "x"



=== TEST 11: the peer sends something to an idle connection
--- lua
local before = t.fds()
local sock = open("wait:0.2 say:unasked hold")
show(sock:setkeepalive())
show(t.fds() - before)
show(eventually(before, t.fds) - before)
sock = open("echo")
show(sock:getreusedtimes())
--- response_body
1
1
0
0



=== TEST 12: the peer resets an idle connection
--- lua
local before = t.fds()
local sock = open("wait:0.2 reset")
show(sock:setkeepalive())
show(eventually(before, t.fds) - before)
--- response_body
1
0



=== TEST 13: data received and not read
--- lua
local sock = open("say:ab%0Acd hold")
show(sock:receive())
show(sock:setkeepalive())
show(sock:receive(1))
show(sock:setkeepalive())
show(sock:receive(1))
show(sock:setkeepalive())
--- response_body
"ab"
nil "unread data in buffer"
"c"
nil "unread data in buffer"
"d"
1



=== TEST 14: data in the kernel: a connection in dubious state is closed; one that the peer closed is said to be
--- lua
for _, script in ipairs { "say:x hold", "", "half hold", "reset" } do
    local sock = open(script)
    ngx.sleep(0.25)
    show(sock:setkeepalive())
    show(sock:receive())
    show(sock:close())
end
--- response_body
nil "connection in dubious state"
nil "closed"
nil "closed"
nil "closed"
nil "closed" ""
1
nil "closed"
nil "closed" ""
1
nil "closed"
nil "closed" ""
1
--- location_config
lua_socket_log_errors off;



=== TEST 15: after a read timeout the connection may be kept
--- lua
local sock = open("echo")
sock:settimeout(20)
show(sock:receive())
show(sock:setkeepalive())
sock = open("echo")
show(sock:getreusedtimes(), sock:send("x"), sock:receive(1))
--- response_body
nil "timeout" ""
1
1 1 "x"
--- error_log
timed out



=== TEST 16: a kept connection is used up for its object
--- location_config
    lua_socket_log_errors off;
--- lua
local sock = open("echo")
show(sock:setkeepalive())
show(sock:setkeepalive())
show(sock:send("x"))
show(sock:receive())
show(sock:close())
show(sock:getfd())
show(sock:getoption("keepalive"))
show(sock:connect("127.0.0.1", port), sock:getreusedtimes())
--- response_body
1
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
1 1



=== TEST 17: hundreds of rounds leave no descriptor behind
--- lua
local before = t.fds()
for i = 1, 300 do
    local a, b = open("echo"), open("echo", { pool = "b" })
    a:send("x")
    a:receive(1)
    if i % 3 == 0 then a:close() else a:setkeepalive(0, 2) end
    if i % 7 == 0 then b:close() else b:setkeepalive(1000, 1) end
end
show(t.fds() - before)
--- response_body
1



=== TEST 18: the pool comes first: before host and port are looked at
--- lua
local sock = open("echo", { pool = "first" })
sock:setkeepalive()
show(sock:connect("a/b is no host", 1, { pool = "first" }), sock:getreusedtimes())
sock:setkeepalive()
show(sock:connect("unix:", { pool = "first" }), sock:getreusedtimes())
show(sock:send("x"), sock:receive(1))
--- response_body
1 1
1 2
1 "x"



=== TEST 19: thirty connections by default
--- lua
local before = t.fds()
local socks = {}
for i = 1, 35 do socks[i] = open("hold", { pool = "thirty" }) end
for i = 1, 35 do socks[i]:setkeepalive() end
show(t.fds() - before)
--- response_body
30
