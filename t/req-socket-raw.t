# ngx.req.socket(true): the client's connection, raw.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

no_long_string();
run_tests();

__DATA__

=== TEST 1: what came with the header, and what comes later
--- config
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:send("HTTP/1.1 200 OK\r\n\r\n")
            while true do
                local line, err, partial = sock:receive()
                if not line then
                    sock:send("nil " .. err .. " " .. partial .. "\n")
                    break
                end
                sock:send({ "got ", line, "\n" })
            end
        }
    }
--- lua
talk(post("/x", "", "one\ntw"), 0.02, "o\nthr", 0.02, "ee\nfour", false)
-- The length of a body says nothing any more.
talk(post("/x", "Content-Length: 3\r\n", "one\ntwo\n"), 0.02, "three\n", false)
talk(post("/x", "Transfer-Encoding: chunked\r\n", "3\r\none\n"), false)
--- response_body
200 -
got one
got two
got three
nil closed four
200 -
got one
got two
got three
nil closed 
200 -
got 3
got one
nil closed 



=== TEST 2: in every phase; the request ends with the handler
--- config
    location = /rewrite {
        rewrite_by_lua_block { assert(ngx.req.socket(true)):send("HTTP/1.1 200 OK\r\n\r\nrewrite\n") }
        content_by_lua_block { ngx.log(ngx.ERR, "not reached") }
    }
    location = /access {
        access_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            ngx.sleep(0.01)
            sock:send("HTTP/1.1 200 OK\r\n\r\n" .. sock:receive())
        }
        proxy_pass http://127.0.0.1:1/;
    }
--- lua
talk(post("/rewrite"), 0.02)
talk(post("/access"), 0.02, "access\n")
--- response_body
200 -
rewrite
200 -
access



=== TEST 3: both ways in turn
--- config
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            sock:send("HTTP/1.1 200 OK\r\n\r\n")
            sock:settimeouts(0, 3000, 3000)
            local total = 0
            local data = ("y"):rep(100000)
            for _ = 1, 100 do
                total = total + #assert(sock:receive(100000))
                assert(sock:send(data))
            end
            ngx.log(ngx.WARN, "done ", total)
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
sock:settimeout(3000)
assert(sock:send(post("/x")))
assert(sock:receiveuntil("\r\n\r\n")())
local data = ("x"):rep(100000)
for _ = 1, 100 do
    assert(sock:send(data))
    assert(#sock:receive(100000) == 100000)
end
show(sock:receive(1))
--- response_body
nil "closed" ""
--- error_log
done 10000000
--- timeout: 20



=== TEST 4: timeouts, of reading and of sending
--- config
    location = /x {
        content_by_lua_block {
            local t = require "puppet"
            local sock = assert(ngx.req.socket(true))
            sock:settimeouts(1000, 40, 20)
            local seen = require("client").seen
            seen.read = { sock:receive(5) }
            seen.again = { sock:receive(2) }
            local data = ("x"):rep(1000000)
            local took, ok, err
            repeat
                took, ok, err = t.timed(sock.send, sock, data)
            until not ok
            seen.sent = { t.about(took, 0.04), ok, err }
            seen.after = { sock:send("x") }
            sock:settimeouts(1000, 40, 2000)
            seen.reads = { sock:receive(2) }
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
assert(sock:send(post("/x", "", "ab")))
t.eventually(true, function() return c.seen.after ~= nil end)
assert(sock:send("cdef"))
t.eventually(true, function() return c.seen.reads ~= nil end)
show(unpack(c.seen.read, 1, 3))
show(unpack(c.seen.again, 1, 3))
show(unpack(c.seen.sent, 1, 3))
show(unpack(c.seen.after, 1, 3))
show(unpack(c.seen.reads, 1, 3))
--- response_body
nil "timeout" "ab"
nil "timeout" ""
"about 0.04" nil "timeout"
nil "closed" nil
"cd" nil nil
--- error_log
lua tcp socket read timed out
lua tcp socket write timed out
attempt to send data on a closed socket



=== TEST 5: after output of nginx's
--- config
    location = /x {
        content_by_lua_block {
            ngx.header.X = "a"
            ngx.say("by nginx")
            local sock = assert(ngx.req.socket(true))
            sock:send("4\r\nraw\n\r\n0\r\n\r\n")
            local show = function(...) ngx.log(ngx.WARN, "after: ", ...) end
            show(select(2, ngx.say("x")))
            show(select(2, ngx.print("x")))
            show(select(2, ngx.flush(true)))
            show(select(2, ngx.eof()))
            show(ngx.send_headers(), ngx.headers_sent)
            show(select(2, ngx.req.socket(true)))
            show(select(2, ngx.req.socket()))
        }
    }
--- lua
talk(post("/x"))
--- response_body
200 keep-alive
by nginx
raw
--- grep_error_log eval
qr/after: [^,]*/
--- grep_error_log_out
after: raw request socket acquired
after: raw request socket acquired
after: raw request socket acquired
after: raw request socket acquired
after: 1true
after: duplicate call
after: request body already exists



=== TEST 6: why not
--- config
    location = /pending {
        content_by_lua_block {
            local piece = ("x"):rep(1000000)
            for _ = 1, 10 do ngx.print(piece) end
            require("client").seen.pending = select(2, ngx.req.socket(true))
        }
    }
    location = /old {
        content_by_lua_block {
            ngx.print("body ")
            ngx.say((select(2, ngx.req.socket(true))))
        }
    }
    location = /args {
        content_by_lua_block {
            local fails = require "puppet".fails
            fails(ngx.req.socket, true, true)
            ngx.say((select(2, ngx.req.socket(false))))
        }
    }
    location = /body {
        content_by_lua_block {
            local body = assert(ngx.req.socket())
            body:receive(1)
            ngx.say((select(2, ngx.req.socket(true))))
            body = nil
            collectgarbage()
            collectgarbage()
            ngx.say((select(2, ngx.req.socket())))
        }
    }
    location = /read {
        content_by_lua_block {
            ngx.req.read_body()
            local sock = assert(ngx.req.socket(true))
            sock:send("HTTP/1.1 200 OK\r\n\r\n" .. ngx.req.get_body_data() .. " " .. sock:receive())
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
assert(sock:send("GET /pending HTTP/1.0\r\nHost: a\r\n\r\n"))
assert(sock:send("GET /pending HTTP/1.1\r\nHost: a\r\n\r\n"))
ngx.say(t.eventually("http 1.0 buffering", function() return c.seen.pending end))
sock:close()
sock:connect("127.0.0.1", ngx.var.server_port)
assert(sock:send("GET /pending HTTP/1.1\r\nHost: a\r\n\r\n"))
ngx.say(t.eventually("pending data to write", function() return c.seen.pending end))
talk("POST /old HTTP/1.0\r\n\r\n")
talk(post("/args", "Connection: close\r\n"))
talk(post("/body", "Connection: close\r\nContent-Length: 3\r\n", "ab"))
talk(post("/read", "Content-Length: 3\r\n"), 0.02, "abcraw\n")
--- response_body
http 1.0 buffering
pending data to write
200 close
body http 1.0 buffering
200 close
expecting 0 or 1 argument, but got 2
no body
200 close
pending request body reading in some other thread
request body already exists
200 -
abc raw



=== TEST 7: methods
--- config
    location = /x {
        content_by_lua_block {
            local t = require "puppet"
            local sock = assert(ngx.req.socket(true))
            local out = {}
            local function add(...)
                for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end
                out[#out + 1] = "\n"
            end
            add(type(sock), sock.connect, sock.setkeepalive, sock.sslhandshake)
            add(sock:close())
            add(sock:getfd() > 0)
            add(sock:getoption("tcp-nodelay"))
            add(sock:setoption("keepalive", true))
            add(select(2, pcall(ngx.socket.tcp().connect, sock, "127.0.0.1", 80)))
            add(sock:receive(0))
            add(sock:receiveany(2))
            add(sock:receiveuntil("--")())
            add(sock:receiveuntil("--", { inclusive = true })())
            add(sock:send(""))
            add(sock:send({ "HTTP/1.1 200 OK\r\n\r\n", { out, 1 } }))
        }
    }
--- lua
talk(post("/x", "", "abcd--ef--"))
--- response_body
200 -
tablenilnilnil
nilattempt to close a request socket
true
1
true
attempt to re-connect a request socket

ab
cd
ef--
0
1



=== TEST 8: 101 by nginx, then another protocol
--- config
    location = /x {
        content_by_lua_block {
            ngx.status = 101
            ngx.header.Upgrade = "lines"
            ngx.send_headers()
            ngx.flush(true)
            local sock = assert(ngx.req.socket(true))
            for line in function() return sock:receive() end do
                sock:send(line:upper() .. "\n")
            end
        }
    }
--- lua
local raw = c.raw("GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: lines\r\nConnection: Upgrade\r\n\r\none\n", { "ONE\n" },
    "two\n", { "TWO\n" }, false)
ngx.print((raw:gsub("\r", ""):gsub("Server: [^\n]*\n", ""):gsub("Date: [^\n]*\n", "")))
--- response_body
HTTP/1.1 101 Switching Protocols
Content-Type: text/plain
Connection: upgrade
Upgrade: lines

ONE
TWO



=== TEST 9: the client goes away
--- config
    location = /x {
        content_by_lua_block {
            local seen = require("client").seen
            local sock = assert(ngx.req.socket(true))
            local first = { sock:receive(3) }
            local second = { sock:receive(1) }
            ngx.sleep(0.02)
            local sent
            repeat
                sent = { sock:send(("x"):rep(100000)) }
            until not sent[1]
            seen.all = { first, second, sent, { sock:send("x") }, { sock:receive(1) } }
        }
    }
--- lua
c.leave(post("/x", "", "ab"))
t.eventually(true, function() return c.seen.all ~= nil end)
for i = 1, 5 do
    show(unpack(c.seen.all[i], 1, 3))
end
--- response_body_like
nil "closed" "ab"
nil "closed" nil
nil "(?:broken pipe|connection reset by peer)" nil
nil "closed" nil
nil "closed" nil
--- error_log
attempt to
--- no_error_log
[alert]
[crit]



=== TEST 10: lua_check_client_abort
--- config
    lua_check_client_abort on;
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            ngx.sleep(0.1)
            ngx.log(ngx.ERR, "not reached")
        }
    }
    location = /read {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            require("client").seen.read = { sock:receive("*a") }
        }
    }
    location = /there {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            ngx.sleep(0.05)
            require("client").seen.there = { sock:receive() }
        }
    }
--- lua
c.leave(post("/x"), 0.02)
c.leave(post("/x"))
c.leave(post("/read"), 0.02, "abc")
c.leave(post("/there"), 0.02, "abc\n")
t.eventually(true, function() return c.seen.there and c.seen.read and true end)
ngx.sleep(0.1)
show(unpack(c.seen.read))
show(unpack(c.seen.there))
--- response_body
"abc"
"abc"
--- error_log
client prematurely closed connection
--- no_error_log
not reached
[alert]
[crit]



=== TEST 11: errors and exits while it is open; a collected one
--- config
    location = /error { content_by_lua_block { assert(ngx.req.socket(true)):send("HTTP/1.1 200 OK\r\n\r\nx\n") error("oops") } }
    location = /exit { content_by_lua_block { assert(ngx.req.socket(true)):send("HTTP/1.1 200 OK\r\n\r\nx\n") ngx.exit(200) } }
    location = /444 { content_by_lua_block { assert(ngx.req.socket(true)):send("HTTP/1.1 200 OK\r\n\r\nx\n") ngx.exit(444) } }
    location = /500 { content_by_lua_block { assert(ngx.req.socket(true)):send("HTTP/1.1 200 OK\r\n\r\nx\n") ngx.exit(500) } }
    location = /lost {
        content_by_lua_block {
            assert(ngx.req.socket(true)):send("HTTP/1.1 200 OK\r\n\r\nx\n")
            collectgarbage()
            collectgarbage()
            ngx.sleep(0.05)
            ngx.log(ngx.WARN, "lost: ", (select(2, ngx.req.socket(true))))
        }
    }
--- lua
for _, path in ipairs { "/error", "/exit", "/444", "/500", "/lost" } do
    talk(post(path), 0.02, "")
end
--- response_body
200 -
x
200 -
x
200 -
x
200 -
x
200 -
x
--- error_log
oops
lost: duplicate call
--- no_error_log
[alert]
[crit]



=== TEST 12: over TLS, with HTTP/1 bodies as well
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate $TEST_NGINX_CA/good.pem;
        ssl_certificate_key $TEST_NGINX_CA/good.key;
        location = /raw {
            content_by_lua_block {
                local sock = assert(ngx.req.socket(true))
                sock:settimeouts(1000, 3000, 3000)
                for i = 1, 20 do
                    local data = sock:receive(100000)
                    -- Sent in many records; the client reads late.
                    assert(sock:send(data:upper()))
                end
                assert(sock:send({ "end ", tostring(select(2, sock:receive(1))) }))
            }
        }
        location = /body {
            content_by_lua_block {
                local sock = assert(ngx.req.socket())
                local size = 0
                while true do
                    local data, err = sock:receiveany(3000)
                    if not data then
                        return ngx.say(size, " ", err)
                    end
                    size = size + #data
                end
            }
        }
        location = /gone {
            content_by_lua_block {
                local sock = assert(ngx.req.socket(ngx.var.arg_raw == "1"))
                require("client").seen.gone = { sock:receive(10) }
            }
        }
    }
--- lua
local function open()
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
    assert(sock:sslhandshake(false))
    sock:settimeout(3000)
    return sock
end
local sock = open()
local piece = ("x"):rep(100000)
assert(sock:send(post("/raw", "", piece)))
for i = 1, 20 do
    assert(sock:receive(50000) == ("X"):rep(50000))
    if i < 20 then
        assert(sock:send(piece))
    end
    assert(sock:receive(50000) == ("X"):rep(50000))
end
sock:settimeouts(1000, 1000, 50)
show(sock:receive(1))
sock:close()
sock = open()
assert(sock:send(post("/body", "Content-Length: 300000\r\nConnection: close\r\n", piece)))
ngx.sleep(0.01)
assert(sock:send(piece .. piece))
show(sock:receive("*a"):match("(%d+ closed)"))
sock = open()
assert(sock:send(post("/body", "Transfer-Encoding: chunked\r\nConnection: close\r\n", "186a0\r\n" .. piece)))
ngx.sleep(0.01)
assert(sock:send("\r\n0\r\n\r\n"))
show(sock:receive("*a"):match("(%d+ closed)"))
for raw = 0, 1 do
    c.seen.gone = nil
    sock = open()
    assert(sock:send(post("/gone?raw=" .. raw, "Content-Length: 20\r\n", "abc")))
    ngx.sleep(0.02)
    sock:close()
    t.eventually(true, function() return c.seen.gone ~= nil end)
    show(unpack(c.seen.gone))
end
--- response_body
nil "timeout" ""
"300000 closed"
"100000 closed"
nil "client aborted" "abc"
nil "closed" "abc"
--- error_log
lua tcp socket read timed out
--- no_error_log
[alert]
[crit]
--- timeout: 20



=== TEST 13: many megabytes through it, in constant memory
--- config
    location = /x {
        content_by_lua_block {
            local t = require "puppet"
            local sock = assert(ngx.req.socket(true))
            local before
            local size = 0
            for data in function() return sock:receiveany(100000) end do
                assert(sock:send(data))
                size = size + #data
                if not before and size > 6000000 then
                    before = t.memory()
                end
            end
            require("client").seen.grown = t.memory() - before
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
assert(sock:send(post("/x")))
local piece = ("x"):rep(60000)
for i = 1, 1000 do
    assert(sock:send(piece))
    assert(#sock:receive(60000) == 60000)
end
sock:close()
t.eventually(true, function() return c.seen.grown ~= nil end)
ngx.say(c.seen.grown < 4000 or c.seen.grown)
--- response_body
true
--- timeout: 20



=== TEST 14: full duplex: one light thread reads, another one sends
--- config
    location = /x {
        content_by_lua_block {
            local t = require "puppet"
            local seen = require "client".seen
            local sock = assert(ngx.req.socket(true))
            sock:settimeouts(1000, 3000, 3000)
            local reader = ngx.thread.spawn(function ()
                return #assert(sock:receive(5000000))
            end)
            local writer = ngx.thread.spawn(function ()
                return sock:send(("y"):rep(5000000))
            end)
            seen.busy = { select(2, sock:receive(1)), select(2, sock:send("x")), select(2, sock:close()) }
            local _, read = ngx.thread.wait(reader)
            local _, sent = ngx.thread.wait(writer)
            seen.done = { read, sent }
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
sock:settimeout(3000)
assert(sock:send(post("/x")))
-- Sends everything before it reads anything: the other end must do both.
assert(sock:send(("x"):rep(5000000)))
show(#assert(sock:receive(5000000)))
show(sock:receive(1))
show(unpack(c.seen.busy))
show(unpack(c.seen.done))
--- response_body
5000000
nil "closed" ""
"socket busy reading" "socket busy writing" "attempt to close a request socket"
5000000 5000000
--- timeout: 20



=== TEST 15: each direction has a time-out of its own
--- config
    location = /x {
        content_by_lua_block {
            local t = require "puppet"
            local sock = assert(ngx.req.socket(true))
            sock:settimeouts(1000, 400, 50)
            local reader = ngx.thread.spawn(function ()
                return t.about(t.timed(sock.receive, sock, 5), 0.05)
            end)
            sock:settimeouts(1000, 400, 3000)
            local took, sent, err
            repeat
                took, sent, err = t.timed(sock.send, sock, ("y"):rep(10000000))
            until not sent
            local _, read = ngx.thread.wait(reader)
            require "client".seen.all = { read, err, t.about(took, 0.4) }
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
assert(sock:send(post("/x")))
t.eventually(true, function() return c.seen.all ~= nil end)
show(unpack(c.seen.all))
--- response_body
"about 0.05" "timeout" "about 0.4"
--- error_log
lua tcp socket read timed out
lua tcp socket write timed out



=== TEST 16: a light thread that waits is killed
--- config
    location = /raw {
        content_by_lua_block {
            local sock = assert(ngx.req.socket(true))
            local reader = ngx.thread.spawn(function () sock:receive(5) end)
            ngx.thread.kill(reader)
            require "client".seen.raw = { sock:send("x") }
        }
    }
    location = /body {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            local reader = ngx.thread.spawn(function () sock:receive(5) end)
            ngx.thread.kill(reader)
            ngx.say(sock:receive(1))
            ngx.sleep(0.01)
            ngx.say("done")
        }
    }
--- lua
c.raw(post("/raw"))
show(unpack(c.seen.raw))
talk(post("/body", "Content-Length: 5\r\n", "ab"), 0.02, "c")
--- response_body
nil "closed"
200 close
nilclosed
done
--- error_log
attempt to
--- no_error_log
[alert]
[crit]



=== TEST 17: the body is being read in another light thread
--- config
    location = /x {
        content_by_lua_block {
            local reader = ngx.thread.spawn(ngx.req.read_body)
            ngx.say((select(2, ngx.req.socket(true))))
            ngx.say((select(2, ngx.req.socket())))
            ngx.thread.wait(reader)
            ngx.say(ngx.req.get_body_data())
        }
    }
--- lua
talk(post("/x", "Content-Length: 3\r\nConnection: close\r\n"), 0.02, "abc")
--- response_body
200 close
pending request body reading in some other thread
request body already exists
abc
