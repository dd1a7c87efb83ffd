# ngx.req.socket() on bodies in chunks.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

no_long_string();
run_tests();

__DATA__

=== TEST 1: chunks as they come
--- config
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            show(sock:receive(4))
            show(sock:receive())
            show(sock:receive("*a"))
            show(sock:receive(1))
        }
    }
--- lua
local lines = "Transfer-Encoding: chunked\r\nConnection: close\r\n"
talk(post("/x", lines, "3\r\none\r\n4;ext=1\r\ntwo\n\r\n6\r\nthree!\r\n0\r\n\r\n"))
talk(post("/x", lines, "3\r"), 0.01, "\no", 0.01, "ne\r\n4;e", 0.01, "xt=1\r\nt", 0.01, "wo", 0.01, "\n\r\n6", 0.01,
    "\r\nthree!\r\n", 0.01, "0\r\nX-Trailer: a\r\n", 0.01, "\r\n")
talk(post("/x", lines, "0\r\n\r\n"))
--- response_body
200 close
"onet"
"wo"
"three!"
nil "closed" ""
200 close
"onet"
"wo"
"three!"
nil "closed" ""
200 close
nil "closed" ""
nil "closed"
nil "closed"
nil "closed"
--- error_log
attempt to receive data on a closed socket
--- no_error_log
[crit]
[alert]



=== TEST 2: keepalive, pipelined requests
--- config
    location = /x {
        content_by_lua_block {
            local sock, err = ngx.req.socket()
            -- The mark of the end is not asked for.
            ngx.say(sock and sock:receive(5) or err)
        }
    }
--- lua
local lines = "Transfer-Encoding: chunked\r\n"
local last = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
talk(post("/x", lines, "5\r\none!!\r\n0\r\n\r\n") .. post("/x", lines, "5\r\ntwo!!\r\n0\r\n\r\n") .. last)
talk(post("/x", lines), 0.02, "5\r\none!!\r\n0\r\n\r\n" .. post("/x", lines, "5\r\ntwo!!\r\n0\r\n\r\n") .. last)
-- The rest of the next header is larger than what is left of the buffer.
talk(post("/x", lines .. "X: " .. ("x"):rep(800) .. "\r\n"), 0.02,
    "5\r\none!!\r\n0\r\n\r\n" .. post("/x", lines .. "X: " .. ("x"):rep(3000) .. "\r\n", "5\r\ntwo!!\r\n0\r\n\r\n") .. last)
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



=== TEST 3: the end's mark is late: the connection is not used again
--- config
    location = /x {
        lingering_timeout 50ms;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.say(sock:receive(5))
        }
    }
--- lua
talk(post("/x", "Transfer-Encoding: chunked\r\n", "5\r\none!!\r\n"), 0.02, "0\r\n\r\n")
--- response_body
200 close
one!!



=== TEST 4: what is no chunk
--- config
    location = /x {
        lingering_timeout 50ms;
        content_by_lua_block {
            local show = require "puppet".show
            local sock, err = ngx.req.socket()
            if not sock then
                return show(sock, err)
            end
            show(sock:receive(6))
            show(sock:receive(6))
        }
    }
--- lua
local lines = "Transfer-Encoding: chunked\r\n"
talk(post("/x", lines, "hello"))
talk(post("/x", lines, "-1\r\n\r\n"))
talk(post("/x", lines, "ffffffffffffffffff\r\n\r\n"))
talk(post("/x", lines, "2\r\nabX"))
talk(post("/x", lines, "3\r\none\r\n"), 0.02, "g\r\n")
talk(post("/x", lines), 0.02, "hello")
--- response_body
200 close
nil "invalid request body"
200 close
nil "invalid request body"
200 close
nil "invalid request body"
200 close
nil "invalid request body"
200 close
nil "invalid request body" "one"
nil "closed"
200 close
nil "invalid request body" ""
nil "closed"
--- error_log
client sent invalid chunked body
--- no_error_log
[crit]
[alert]



=== TEST 5: client_max_body_size
--- config
    location = /x {
        client_max_body_size 5;
        lingering_timeout 50ms;
        content_by_lua_block {
            local show = require "puppet".show
            local sock, err = ngx.req.socket()
            if not sock then
                show(sock, err)
                return ngx.exit(413)
            end
            local data, err, partial = sock:receive("*a")
            if err == "request body too large" then
                return ngx.exit(413)
            end
            show(data, err, partial)
        }
    }
--- lua
local lines = "Transfer-Encoding: chunked\r\n"
local function status(...)
    ngx.say(c.raw(...):match("^HTTP/1.1 (%d+).*Connection: (%S+)"))
end
talk(post("/x", lines .. "Connection: close\r\n", "5\r\none!!\r\n0\r\n\r\n"))
status(post("/x", lines), 0.02, "5\r\none!!\r\n", 0.02, "1\r\nx\r\n0\r\n\r\n")
status(post("/x", lines), 0.02, "6\r\none!!!\r\n0\r\n\r\n")
talk(post("/x", lines, "6\r\none!!!\r\n0\r\n\r\n"))
--- response_body
200 close
"one!!" nil nil
413close
413close
200 close
nil "request body too large"
--- error_log
client intended to send too large chunked body



=== TEST 6: timeouts; the client goes away
--- config
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            sock:settimeout(20)
            show(sock:receive(5))
            show(sock:receive(2))
        }
    }
    location = /gone {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            require("client").seen[1] = { sock:receive(10) }
        }
    }
--- lua
talk(post("/x", "Transfer-Encoding: chunked\r\nConnection: close\r\n", "5\r\nab"), 0.5, "cde")
c.leave(post("/gone", "Transfer-Encoding: chunked\r\n", "5\r\nab"), 0.02, "cde")
t.eventually(true, function() return c.seen[1] ~= nil end)
show(unpack(c.seen[1], 1, 3))
--- response_body
200 close
nil "timeout" "ab"
nil "timeout" ""
nil "client aborted" "abcde"
--- error_log
lua tcp socket read timed out
client prematurely closed connection



=== TEST 7: 200 MB in constant memory, a slow reader first
--- config
    location = /x {
        client_max_body_size 0;
        content_by_lua_block {
            local t = require "puppet"
            local seen = require("client").seen
            local sock = assert(ngx.req.socket())
            local size = #assert(sock:receive(1000000))
            local before = t.memory()
            ngx.sleep(0.2)
            seen.sent_meanwhile = seen.sent
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
assert(sock:send(post("/x", "Transfer-Encoding: chunked\r\nConnection: close\r\n")))
-- Chunks of many sizes, 100000 bytes together.
local chunks, left, size = {}, 100000, 1
while left > 0 do
    local n = math.min(size, left)
    chunks[#chunks + 1] = ("%x\r\n%s\r\n"):format(n, ("x"):rep(n))
    left, size = left - n, size * 3 % 9001
end
local piece = table.concat(chunks)
for _ = 1, 2000 do
    assert(sock:send(piece))
    c.seen.sent = c.seen.sent + 100000
end
assert(sock:send("0\r\n\r\n"))
ngx.say((sock:receive("*a"):match("\n(2%d* %w+)\r?\n")))
ngx.say(c.seen.sent_meanwhile < 50000000 or c.seen.sent_meanwhile)
--- response_body
200000000 bounded
true
--- timeout: 60
