# ngx.req.socket(): the request body as it arrives, by Content-Length.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

no_long_string();
run_tests();

__DATA__

=== TEST 1: all that came with the header
--- config
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            show(type(sock), sock:receive(3))
            show(sock:receive())
            show(sock:receive("*l"))
            show(sock:receive("*l"))
            show(sock:receive("*a"))
            show(sock:receiveany(10))
            show(sock:receive(0))
        }
    }
--- lua
talk(post("/x", "Content-Length: 13\r\nConnection: close\r\n", "one\r\ntwo\nlast"))
--- response_body
200 close
"table" "one"
""
"two"
nil "closed" "last"
nil "closed"
nil "closed"
nil "closed"
--- error_log
attempt to receive data on a closed socket
--- no_error_log
[crit]
[alert]



=== TEST 2: piece by piece
--- config
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            repeat
                local data, err, partial = sock:receiveany(4)
                show(data, err, partial)
            until not data
        }
    }
--- lua
talk(post("/x", "Content-Length: 11\r\nConnection: close\r\n", "ab"), 0.02, "cdefgh", 0.02, "ijk")
talk(post("/x", "Content-Length: 1\r\nConnection: close\r\n"), 0.02, "a")
--- response_body
200 close
"ab" nil nil
"cdef" nil nil
"gh" nil nil
"ijk" nil nil
nil "closed" ""
200 close
"a" nil nil
nil "closed" ""



=== TEST 3: receiveuntil, a form with boundaries
--- config
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            local read = sock:receiveuntil("\r\n--b")
            show(read(4))
            show(read(4))
            show(read(4))
            show(read())
            show(sock:receive(2))
            show(read())
        }
    }
--- lua
talk(post("/x", "Content-Length: 24\r\nConnection: close\r\n", "12345\r"), 0.01, "\n-", 0.01, "-bxyz\r\n--b--rest")
--- response_body
200 close
"1234"
"5"
nil nil nil
"xyz"
"--"
nil "closed" "rest"



=== TEST 4: keepalive after a body that was read; requests after it are not lost
--- config
    location = /x {
        content_by_lua_block {
            local sock, err = ngx.req.socket()
            ngx.say(sock and sock:receive(5) or err)
        }
    }
--- lua
local last = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
talk(post("/x", "Content-Length: 5\r\n", "one!!"), post("/x", "Content-Length: 5\r\n", "two!!"), last)
-- All in one packet; and the next header split.
talk(post("/x", "Content-Length: 5\r\n", "one!!") .. post("/x", "Content-Length: 5\r\n", "two!!") .. last)
talk(post("/x", "Content-Length: 5\r\n", "on"), 0.02, "e!!" .. post("/x", "Content-Length: 5\r\n"):sub(1, 30), 0.02,
    post("/x", "Content-Length: 5\r\n"):sub(31), 0.02, "two!!" .. last)
--- response_body
200 keep-alive
one!!
200 keep-alive
two!!
200 close
no body
200 keep-alive
one!!
200 keep-alive
two!!
200 close
no body
200 keep-alive
one!!
200 keep-alive
two!!
200 close
no body



=== TEST 5: a body that is not read to its end: the response is complete, then the connection is closed
--- config
    location = /x {
        lingering_timeout 50ms;
        content_by_lua_block {
            local sock, err = ngx.req.socket()
            ngx.say(sock and sock:receive(3) or err)
        }
    }
    location = /early {
        lingering_timeout 50ms;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.say(sock:receive(3))
            ngx.flush(true)
            ngx.print(("x"):rep(100), "\n")
        }
    }
    location = /none {
        lingering_timeout 50ms;
        content_by_lua_block {
            assert(ngx.req.socket())
            ngx.say("unread")
        }
    }
--- lua
talk(post("/x", "Content-Length: 10\r\n", "onetwo"), 0.02, "more")
talk(post("/early", "Content-Length: 1000000\r\n", "onetwo"), 0.02, ("x"):rep(500000))
talk(post("/none", "Content-Length: 1000000\r\n"), 0.02, ("x"):rep(500000))
-- All of it had come.
talk(post("/none", "Content-Length: 5\r\n", "12345"), "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
--- response_body eval
"200 close\none\n200 keep-alive\none\n" . ( "x" x 100 ) . "\n200 close\nunread\n200 keep-alive\nunread\n200 close\nno body\n"



=== TEST 6: timeouts
--- config
    client_body_timeout 30ms;
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            sock:settimeout(20)
            show(sock:receive(5))
            show(sock:receive(5))
            sock:settimeout(500)
            -- nginx's own timeout is for those who do not say theirs.
            show(sock:receive(3))
            ngx.sleep(0.1)
            show(sock:receive(3))
            sock:settimeouts(1, 1, 10)
            show(sock:receive(1))
        }
    }
    location = /directive {
        lua_socket_read_timeout 20ms;
        content_by_lua_block {
            require "puppet".show(ngx.req.socket():receive(3))
        }
    }
--- lua
talk(post("/x", "Content-Length: 20\r\nConnection: close\r\n", "ab"), 0.2, "cde", 0.2, "fgh")
talk(post("/directive", "Content-Length: 20\r\nConnection: close\r\n", "ab"))
--- response_body
200 close
nil "timeout" "ab"
nil "timeout" ""
"cde"
"fgh"
nil "timeout" ""
200 close
nil "timeout" "ab"
--- error_log
lua tcp socket read timed out
--- no_error_log
[crit]
[alert]



=== TEST 7: a waiting read makes progress: the timeout counts anew
--- config
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:settimeout(400)
            require "puppet".show(sock:receive(8))
        }
    }
--- lua
talk(post("/x", "Content-Length: 8\r\nConnection: close\r\n", "ab"), 0.15, "c", 0.15, "d", 0.15, "e", 0.15, "fgh")
--- response_body
200 close
"abcdefgh"



=== TEST 8: who may, and when not
--- config
    location = /twice {
        content_by_lua_block {
            local show = require "puppet".show
            assert(ngx.req.socket())
            show(ngx.req.socket())
            if ngx.var.arg_unread then show(ngx.req.socket(true)) end
            ngx.req.read_body()
            show(ngx.req.get_body_data())
        }
    }
    location = /read {
        content_by_lua_block {
            local show = require "puppet".show
            ngx.req.read_body()
            show(ngx.req.socket())
            show(ngx.req.get_body_data())
        }
    }
    location = /need {
        lua_need_request_body on;
        content_by_lua_block { require "puppet".show(ngx.req.socket()) }
    }
    location = /args {
        content_by_lua_block {
            local t = require "puppet"
            t.fails(ngx.req.socket, 1, 2)
            local sock = assert(ngx.req.socket(nil))
            t.show(sock.send, sock.connect, sock.setkeepalive, sock.sslhandshake)
            t.show(sock:close())
            local tcp = ngx.socket.tcp()
            t.fails(tcp.connect, sock, "127.0.0.1", 80)
            t.show(tcp.setkeepalive(sock))
            t.show(tcp.sslhandshake(sock))
            t.show(tcp.send(sock, "x"))
            t.fails(sock.receive)
            t.fails(sock.receive, {})
            t.fails(sock.receive, sock, -1)
            t.show(sock:receive(2))
        }
    }
--- lua
local close = "Content-Length: 2\r\nConnection: close\r\n"
talk(post("/twice", close, "ab"))
talk(post("/twice?unread=1", close), 0.1, "ab")
talk(post("/read", close, "ab"))
talk(post("/need", close, "ab"))
talk(post("/read", "Content-Length: 0\r\nConnection: close\r\n"))
talk(post("/args", close, "ab"))
--- response_body
200 close
nil "request body already exists"
nil
200 close
nil "request body already exists"
nil "pending request body reading in some other thread"
nil
200 close
nil "request body already exists"
"ab"
200 close
nil "request body already exists"
200 close
nil "request body already exists"
nil
200 close
expecting 0 or 1 argument, but got 2
nil nil nil nil
nil "attempt to close a request socket"
attempt to re-connect a request socket
nil "invalid connection"
nil "not supported for downstream sockets"
nil "operation not supported"
expecting 1 or 2 arguments (including the object), but got 0
bad argument #1 to '?' (socket object expected, got table)
bad argument #2 to '?' (bad number argument)
"ab"
--- no_error_log
[crit]
[alert]



=== TEST 9: no body
--- config
    location = /x { content_by_lua_block { require "puppet".show(ngx.req.socket()) } }
--- lua
talk("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
talk(post("/x", "Content-Length: 0\r\nConnection: close\r\n"))
talk("POST /x HTTP/1.0\r\n\r\n")
--- response_body
200 close
nil "no body"
200 close
nil "no body"
200 close
nil "no body"



=== TEST 10: 100-continue
--- config
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.say(sock:receive(5))
        }
    }
    location = /late {
        content_by_lua_block {
            ngx.say("early")
            ngx.flush(true)
            local sock = assert(ngx.req.socket())
            ngx.say(sock:receive(5))
        }
    }
    location = /read {
        content_by_lua_block {
            ngx.say("early")
            ngx.flush(true)
            ngx.req.read_body()
            ngx.say(ngx.req.get_body_data())
        }
    }
--- lua
local lines = "Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n"
talk(post("/x", lines), { "100 Continue\r\n\r\n" }, "hello")
-- A response that has begun is not interrupted.
talk(post("/late", lines), { "early" }, "hello")
talk(post("/read", lines), { "early" }, "hello")
--- response_body
100 -
200 close
hello
200 close
early
hello
200 close
early
hello



=== TEST 11: the client goes away
--- config
    location = /x {
        content_by_lua_block {
            local t = require "puppet"
            local sock = assert(ngx.req.socket())
            local seen = require("client").seen
            seen[1] = { sock:receive("*a") }
            -- It stays so.
            seen[2] = { sock:receive(1) }
        }
    }
    location = /busy {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.sleep(0.05)
            local seen = require("client").seen
            seen[1] = { sock:receive(4) }
            seen[2] = { sock:receive(4) }
        }
    }
    location = /gone {
        content_by_lua_block {
            ngx.sleep(0.02)
            local seen = require("client").seen
            seen[1] = { ngx.req.socket() }
            seen[2] = { ngx.req.socket() }
        }
    }
--- lua
local function seen()
    t.eventually(true, function() return c.seen[2] ~= nil end)
    show(unpack(c.seen[1], 1, 3))
    show(unpack(c.seen[2], 1, 3))
    c.seen[1], c.seen[2] = nil, nil
end
c.leave(post("/x", "Content-Length: 20\r\n", "ab"), 0.02)
seen()
c.leave(post("/x", "Content-Length: 20\r\n"), 0.02)
seen()
c.leave(post("/busy", "Content-Length: 20\r\n", "abcdef"), 0.02)
seen()
c.leave(post("/gone", "Content-Length: 20\r\n", "abcdef"))
seen()
--- response_body
nil "client aborted" "ab"
nil "closed" nil
nil "client aborted" ""
nil "closed" nil
"abcd" nil nil
nil "client aborted" "ef"
nil "client aborted" nil
nil "request body already exists" nil
--- error_log
client prematurely closed connection
--- no_error_log
[crit]
[alert]



=== TEST 12: client_max_body_size
--- config
    location = /x { client_max_body_size 5; content_by_lua_block { ngx.say(ngx.req.socket():receive("*a")) } }
--- lua
talk(post("/x", "Content-Length: 5\r\nConnection: close\r\n", "12345"))
local raw = c.raw(post("/x", "Content-Length: 6\r\nConnection: close\r\n", "123456"))
ngx.say(raw:match("^[^\r]*"))
--- response_body
200 close
12345
HTTP/1.1 413 Request Entity Too Large
--- error_log
client intended to send too large body



=== TEST 13: nginx's settings for files are not for streams
--- config
    client_body_in_file_only clean;
    client_body_in_single_buffer on;
    client_body_buffer_size 1k;
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            local size = 0
            while true do
                local data = sock:receiveany(100)
                if not data then break end
                size = size + #data
            end
            ngx.say(size, " ", ngx.var.request_body_file)
        }
    }
--- lua
talk(post("/x", "Content-Length: 5\r\nConnection: close\r\n", "12345"))
talk(post("/x", "Content-Length: 50000\r\nConnection: close\r\n", "12345"), 0.01, ("x"):rep(49995))
--- response_body
200 close
5 nil
200 close
50000 nil



=== TEST 14: a slow reader holds the client back, in constant memory
--- config
    location = /x {
        client_max_body_size 0;
        content_by_lua_block {
            local t = require "puppet"
            local sock = assert(ngx.req.socket())
            local size = #assert(sock:receive(1000000))
            local before = t.memory()
            ngx.sleep(0.2)
            require("client").seen.sent_meanwhile = require("client").seen.sent
            repeat
                local data = sock:receiveany(65536)
                size = size + (data and #data or 0)
            until not data
            collectgarbage()
            ngx.say(size, " ", t.memory() - before < 8000 and "bounded" or t.memory() - before)
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
c.seen.sent = 0
assert(sock:send(post("/x", "Content-Length: 200000000\r\nConnection: close\r\n")))
local piece = ("x"):rep(100000)
for _ = 1, 2000 do
    assert(sock:send(piece))
    c.seen.sent = c.seen.sent + #piece
end
ngx.say((sock:receive("*a"):match("\n(2%d* %w+)\r?\n")))
ngx.say(c.seen.sent_meanwhile < 50000000 or c.seen.sent_meanwhile)
--- response_body
200000000 bounded
true
--- timeout: 60



=== TEST 15: a raw socket, after a body that was read by a socket
--- config
    location = /all {
        content_by_lua_block {
            local body = assert(ngx.req.socket())
            local data = body:receive("*a")
            local sock = assert(ngx.req.socket(true))
            sock:send("HTTP/1.1 200 OK\r\n\r\n" .. data .. " " .. sock:receive() .. "\n")
            sock:send(tostring(body:receive()) .. " " .. sock:receive() .. "\n")
            sock:send((select(2, ngx.req.socket(true))))
        }
    }
    location = /partly {
        content_by_lua_block {
            local body = assert(ngx.req.socket())
            local data = ngx.var.arg_n and body:receive(ngx.var.arg_n) or ""
            local sock, err = ngx.req.socket(true)
            if not sock then
                ngx.say(err, " ", data, "|", body:receive("*a"))
                return
            end
            sock:send("HTTP/1.1 200 OK\r\n\r\n" .. data .. " " .. sock:receive() .. "\n")
        }
    }
    location = /waits {
        content_by_lua_block {
            local body = assert(ngx.req.socket())
            local reader = ngx.thread.spawn(body.receive, body, 3)
            ngx.say((select(2, ngx.req.socket(true))))
            ngx.say(select(2, ngx.thread.wait(reader)))
        }
    }
--- lua
talk(post("/all", "Content-Length: 3\r\n", "abcraw\nmore\n"), false)
talk(post("/all", "Content-Length: 3\r\n", "a"), 0.02, "bc", 0.02, "raw\n", 0.02, "more\n", false)
local close = "Content-Length: 3\r\nConnection: close\r\n"
talk(post("/partly", close, "abc"))
talk(post("/partly?n=1", close, "abc"))
talk(post("/partly?n=3", close, "abcraw\n"))
talk(post("/waits", "Content-Length: 3\r\nConnection: close\r\n"), 0.02, "abc")
--- response_body
200 -
abc raw
nil more
duplicate call
200 -
abc raw
nil more
duplicate call
200 close
pending request body reading in some other thread |abc
200 close
pending request body reading in some other thread a|bc
200 -
abc raw
200 close
pending request body reading in some other thread
abc
