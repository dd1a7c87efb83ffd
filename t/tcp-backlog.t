# Pools with a limit: pool_size and backlog of connect.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: active and idle connections together are at most pool_size
--- lua
local opts = { pool = "p", pool_size = 2, backlog = 0 }
local a, b, c = open("echo", opts), open("echo", opts), ngx.socket.tcp()
show(c:connect("127.0.0.1", port, opts))
a:setkeepalive()
show(c:connect("127.0.0.1", port, opts), c:getreusedtimes())
local d = ngx.socket.tcp()
show(d:connect("127.0.0.1", port, opts))
b:close()
show(d:connect("127.0.0.1", port, opts), d:getreusedtimes())
--- response_body
nil "too many waiting connect operations"
1 1
nil "too many waiting connect operations"
1 0



=== TEST 2: pool_size alone sets no limit
--- lua
local opts = { pool = "p", pool_size = 1 }
local a, b, c = open("echo", opts), open("echo", opts), open("echo", opts)
show(a:setkeepalive(), b:setkeepalive(), c:setkeepalive())
--- response_body
1 1 1



=== TEST 3: backlog alone takes pool_size from the directive
--- location_config
    lua_socket_pool_size 3;
--- lua
local opts = { pool = "p", backlog = 0 }
local a, b, c = open("echo", opts), open("echo", opts), open("echo", opts)
local d = ngx.socket.tcp()
show(d:connect("127.0.0.1", port, opts))
--- response_body
nil "too many waiting connect operations"



=== TEST 4: size and backlog stay while the pool lives
--- lua
local a = open("echo", { pool = "p", pool_size = 1, backlog = 0 })
local b = ngx.socket.tcp()
show(b:connect("127.0.0.1", port, { pool = "p", pool_size = 10, backlog = 10 }))
show(b:connect("127.0.0.1", port, { pool = "p" }))
a:close()
show(b:connect("127.0.0.1", port, { pool = "p", pool_size = 10, backlog = 10 }))
show(a:connect("127.0.0.1", port, { pool = "p" }))
--- response_body
nil "too many waiting connect operations"
nil "too many waiting connect operations"
1
1



=== TEST 5: a waiter times out, with its line in the log, and its place is free again
--- lua
local opts = { pool = "p", pool_size = 1, backlog = 1 }
local a, b = open("echo", opts), ngx.socket.tcp()
b:settimeouts(60, 1000, 1000)
for i = 1, 3 do
    local took, ok, err = t.timed(b.connect, b, "127.0.0.1", port, opts)
    show(ok, err, t.about(took, 0.06))
end
show(b:send("x"))
a:close()
show(b:connect("127.0.0.1", port, opts))
--- response_body
nil "timeout" "about 0.06"
nil "timeout" "about 0.06"
nil "timeout" "about 0.06"
nil "closed"
1
--- grep_error_log eval: qr/lua tcp socket queued connect timed out, when trying to connect to [\w.]+:\d+/
--- grep_error_log_out eval
"lua tcp socket queued connect timed out, when trying to connect to 127.0.0.1:$ENV{TEST_NGINX_PUPPET_PORT}\n" x 3



=== TEST 6: a freed slot wakes the first waiter: in order, by close and by setkeepalive
--- config
    location = /hold {
        content_by_lua_block {
            local t = require "puppet"
            package.loaded.order = {}
            local opts = { pool = "p", pool_size = 1, backlog = 10 }
            local sock = t.open("echo", opts)
            ngx.sleep(0.4)
            sock:close()
            ngx.say("held")
        }
    }
    location /wait {
        content_by_lua_block {
            local t = require "puppet"
            local opts = { pool = "p", pool_size = 1, backlog = 10 }
            local name = ngx.var.uri:sub(-1)
            local sock = ngx.socket.tcp()
            local ok, err = sock:connect("127.0.0.1", t.port, opts)
            local order = package.loaded.order
            order[#order + 1] = name .. (ok and sock:getreusedtimes() or err)
            if sock:getreusedtimes() == 0 then sock:send("echo\n") end
            sock:send("x")
            sock:receive(1)
            ngx.sleep(0.01)
            if name == "b" then sock:close() else sock:setkeepalive() end
            ngx.say(table.concat(order, " "))
        }
    }
    location = /t {
        content_by_lua_block {
            -- Raw clients of this server, one connection each.
            local socks = {}
            for i, uri in ipairs { "/hold", "/wait/a", "/wait/b", "/wait/c", "/wait/d", "/wait/e" } do
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
                sock:send("GET " .. uri .. " HTTP/1.0\r\n\r\n")
                ngx.sleep(0.01)
                socks[i] = sock
            end
            for i, sock in ipairs(socks) do
                ngx.say((sock:receive("*a"):match("\r\n\r\n(.-)\n")))
            end
        }
    }
--- request
GET /t
--- response_body
held
a0
a0 b1
a0 b1 c0
a0 b1 c0 d1
a0 b1 c0 d1 e2
--- no_error_log
[error]



=== TEST 7: a waiter whose request is gone is skipped
--- config
    lua_check_client_abort on;
    location = /hold {
        content_by_lua_block {
            local t = require "puppet"
            package.loaded.order = {}
            local sock = t.open("echo", { pool = "p", pool_size = 1, backlog = 2 })
            ngx.sleep(0.4)
            sock:setkeepalive()
            ngx.say("held")
        }
    }
    location /wait {
        content_by_lua_block {
            local t = require "puppet"
            local sock = ngx.socket.tcp()
            local ok, err = sock:connect("127.0.0.1", t.port, { pool = "p", pool_size = 1, backlog = 2 })
            local order = package.loaded.order
            order[#order + 1] = ngx.var.uri:sub(-1) .. (ok and sock:getreusedtimes() or err)
            if ok then sock:setkeepalive() end
            ngx.say(table.concat(order, " "))
        }
    }
    location = /t {
        content_by_lua_block {
            local function begin(uri)
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
                sock:send("GET " .. uri .. " HTTP/1.0\r\n\r\n")
                ngx.sleep(0.01)
                return sock
            end
            local hold = begin("/hold")
            local a = begin("/wait/a")
            local b = begin("/wait/b")
            local c = begin("/wait/c")
            ngx.say((c:receive("*a"):match("\r\n\r\n(.-)\n")))
            a:close()
            ngx.sleep(0.02)
            -- Its place in the queue is free.
            local d = begin("/wait/d")
            for _, sock in ipairs { hold, b, d } do
                ngx.say((sock:receive("*a"):match("\r\n\r\n(.-)\n")))
            end
        }
    }
--- request
GET /t
--- response_body
ctoo many waiting connect operations
held
ctoo many waiting connect operations b1
ctoo many waiting connect operations b1 d2
--- no_error_log
[error]



=== TEST 8: a connect that fails frees its slot
--- lua
local opts = { pool = "p", pool_size = 1, backlog = 0 }
local sock = ngx.socket.tcp()
for i = 1, 5 do
    local _, err = sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1, opts)
    show(err)
end
show(select(2, sock:connect("a/b", 1, opts)))
show(select(2, sock:connect("no.resolver", 1, opts)))
show(sock:connect("127.0.0.1", port, opts))
--- response_body
"connection refused"
"connection refused"
"connection refused"
"connection refused"
"connection refused"
"failed to parse host name \"a/b\": invalid host"
"no resolver defined to resolve \"no.resolver\""
1
--- error_log
connect() failed (111: Connection refused)



=== TEST 9: an idle connection that its peer closes frees its slot
--- lua
local opts = { pool = "p", pool_size = 1, backlog = 0 }
local sock = open("wait:0.1", opts)
local fds = t.fds()
show(sock:setkeepalive())
eventually(fds - 1, t.fds)
show(sock:connect("127.0.0.1", port, opts), sock:getreusedtimes())
--- response_body
1
1 0



=== TEST 10: the timeout while queued is the connect timeout, and a fresh one follows
--- config
    location = /hold {
        content_by_lua_block {
            local t = require "puppet"
            local sock = t.open("echo", { pool = "p", pool_size = 1, backlog = 2 })
            ngx.sleep(0.3)
            sock:close()
            ngx.say("held")
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local other = ngx.socket.tcp()
            other:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
            other:send("GET /hold HTTP/1.0\r\n\r\n")
            ngx.sleep(0.02)
            local sock = ngx.socket.tcp()
            sock:settimeouts(500, 10, 10)
            -- Queued for 0.28 s, then 0.5 s against a port that does not answer.
            local took, ok, err = t.timed(sock.connect, sock, "127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT,
                { pool = "p" })
            t.show(ok, err, t.about(took, 0.76))
        }
    }
--- request
GET /t
--- init
Test::Nginx::Puppet::blackhole()
--- response_body
nil "timeout" "about 0.76"
--- error_log
lua tcp socket connect timed out



=== TEST 11: hundreds of mixed rounds leave the counts right
--- config
    lua_check_client_abort on;
    lua_socket_log_errors off;
    location = /mix {
        content_by_lua_block {
            local t = require "puppet"
            local n = tonumber(ngx.var.arg_n)
            local opts = { pool = "mix", pool_size = 3, backlog = 4 }
            local sock = ngx.socket.tcp()
            sock:settimeouts(n % 5 == 0 and 3 or 500, 500, 500)
            local where = n % 7 == 0 and 1 or t.port
            local ok, err = sock:connect("127.0.0.1", where, opts)
            if not ok then
                return ngx.say(err)
            end
            if sock:getreusedtimes() == 0 then sock:send("echo\n") end
            if n % 4 == 0 then ngx.sleep(0.003) end
            sock:send("x")
            sock:receive(1)
            if n % 3 == 0 then
                sock:close()
            elseif n % 3 == 1 then
                sock:setkeepalive(n % 2 == 0 and 5 or 0)
            end
            -- Else the end of the request closes it.
            ngx.say("ok")
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local counts = {}
            for round = 1, 60 do
                local socks = {}
                for i = 1, 9 do
                    local sock = ngx.socket.tcp()
                    sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
                    sock:send("GET /mix?n=" .. round * 9 + i .. " HTTP/1.0\r\n\r\n")
                    socks[i] = sock
                end
                for i = 1, 9 do
                    if (round + i) % 6 == 0 then
                        socks[i]:close()
                    else
                        local text = socks[i]:receive("*a"):match("\r\n\r\n(.-)\n")
                        counts[text] = (counts[text] or 0) + 1
                        socks[i]:close()
                    end
                end
            end
            ngx.sleep(0.05)
            for _, text in ipairs { "ok", "connection refused" } do
                ngx.say(text, ": ", (counts[text] or 0) > 0 and "some" or "none")
            end
            -- Three slots, four places to wait, no more and no less.
            local opts = { pool = "mix", pool_size = 3, backlog = 4 }
            local held = {}
            for i = 1, 3 do
                held[i] = ngx.socket.tcp()
                held[i]:settimeout(100)
                t.show(held[i]:connect("127.0.0.1", t.port, opts))
            end
            held[4] = ngx.socket.tcp()
            held[4]:settimeout(20)
            t.show(held[4]:connect("127.0.0.1", t.port, opts))
        }
    }
--- request
GET /t
--- timeout: 20
--- response_body
ok: some
connection refused: some
1
1
1
nil "timeout"
--- no_error_log
[error]
