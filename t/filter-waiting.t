# What waits in header_filter_by_lua and body_filter_by_lua: cosockets, light threads,
# semaphores, coroutines, timers.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Peer;
use Test::Nginx::Puppet;

Test::Nginx::Peer->redis;

no_long_string();
run_tests();

__DATA__

=== TEST 1: Redis in both, with a pool
--- config
    location = /t {
        content_by_lua_block {
            local redis = require("resty.redis"):new()
            assert(redis:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
            redis:set("filter", "from redis")
            redis:del("chunks")
            redis:set_keepalive()
            ngx.say("one")
            ngx.flush(true)
            ngx.say("two")
        }
        header_filter_by_lua_block {
            local redis = require("resty.redis"):new()
            assert(redis:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
            ngx.header.X = redis:get("filter")
            ngx.header.Reused = redis:get_reused_times()
            assert(redis:set_keepalive())
        }
        body_filter_by_lua_block {
            local redis = require("resty.redis"):new()
            assert(redis:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
            redis:rpush("chunks", ngx.arg[1])
            if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. table.concat(redis:lrange("chunks", 0, -1), "|") end
            assert(redis:set_keepalive())
        }
    }
--- request
GET /t
--- response_headers
X: from redis
Reused: 1
--- response_body_like
^one
two
one
\|two
(\|)?$
--- no_error_log
[error]
[alert]



=== TEST 2: a socket goes on from one part to the next, and ends with the request
--- config
    location = /s {
        return 200 "content\n";
        header_filter_by_lua_block {
            ngx.ctx.sock = require "puppet".open("line say:one%0A line say:two%0A hold")
            ngx.header.content_length = nil
        }
        body_filter_by_lua_block {
            local sock = ngx.ctx.sock
            sock:send("x\n")
            local first = sock:receive()
            sock:send("x\n")
            ngx.arg[1] = ngx.arg[1] .. first .. " " .. sock:receive() .. "\n"
        }
    }
--- lua
talk("GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
--- response_body
200 close
content
one two



=== TEST 3: light threads, wait and kill; an exit in one
--- config
    location = /s {
        content_by_lua_block { ngx.say("content") }
        header_filter_by_lua_block {
            local spawn, wait = ngx.thread.spawn, ngx.thread.wait
            local a = spawn(function() ngx.sleep(0.01) return "a" end)
            local b = spawn(function() ngx.sleep(60) return "b" end)
            local ok, first = wait(a, b)
            ngx.thread.kill(b)
            ngx.header.X = first
            spawn(function() ngx.sleep(0.02) ngx.header.Y = "late" end)
        }
        body_filter_by_lua_block {
            local parts = {}
            local sema = require("ngx.semaphore").new()
            for i = 1, 3 do
                ngx.thread.spawn(function()
                    ngx.sleep((4 - i) / 100)
                    parts[#parts + 1] = i
                    sema:post()
                end)
            end
            for i = 1, 3 do assert(sema:wait(1)) end
            if ngx.arg[1] ~= "" then ngx.arg[1] = ngx.arg[1] .. table.concat(parts, " ") .. "\n" end
        }
    }
    location = /exit {
        content_by_lua_block { ngx.say("content") }
        header_filter_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.01) ngx.exit(403) end)
            ngx.sleep(60)
        }
    }
    location = /error {
        content_by_lua_block { ngx.say("content") }
        header_filter_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.01) error("bang in a thread") end)
        }
    }
--- pipelined_requests eval
["GET /s", "GET /exit", "GET /error", "GET /s"]
--- error_code eval
[200, 403, 200, 200]
--- response_headers eval
["X: a\nY: late", "! X", "! X", "X: a\nY: late"]
--- response_body_like eval
[qr/^content\n3 2 1\n$/, qr/403 Forbidden/, qr/^content\n$/, qr/^content\n3 2 1\n$/]
--- error_log
bang in a thread
--- no_error_log
[alert]



=== TEST 4: timers and coroutines
--- config
    location = /s {
        return 200 "content\n";
        header_filter_by_lua_block {
            local co = coroutine.wrap(function()
                ngx.sleep(0.005)
                coroutine.yield("first")
                ngx.sleep(0.005)
                return "second"
            end)
            ngx.header.X = { co(), co() }
            ngx.timer.at(0, function() ngx.sleep(0.005) ngx.log(ngx.WARN, "timer of a header filter") end)
            coroutine.yield()
        }
        body_filter_by_lua_block {
            coroutine.yield()
            ngx.timer.at(0, function() ngx.log(ngx.WARN, "timer of a body filter: ", tostring(pcall(function() return ngx.arg[1] end))) end)
        }
    }
--- request
GET /s
--- response_headers
X: first, second
--- response_body
content
--- wait: 0.1
--- error_log
timer of a header filter
timer of a body filter: false
--- no_error_log
[error]



=== TEST 5: a fresh VM for each request
--- config
    lua_code_cache off;
    location = /s {
        header_filter_by_lua_block { n = (n or 0) + 1 ngx.ctx.n = n ngx.sleep(0.01) ngx.header.X = n }
        body_filter_by_lua_block { ngx.sleep(0.01) if ngx.arg[2] then ngx.arg[1] = n .. ngx.ctx.n .. "\n" end }
        alias html/a.txt;
    }
    location = /lua {
        rewrite_by_lua_block { n = 10 }
        content_by_lua_block { n = n + 1 ngx.say(n) }
        header_filter_by_lua_block { n = n + 1 ngx.sleep(0.01) ngx.header.X = n }
    }
--- user_files
>>> a.txt
a.
--- pipelined_requests eval
["GET /s", "GET /lua", "GET /s", "GET /lua"]
--- response_headers eval
["X: 1", "X: 12", "X: 1", "X: 12"]
--- response_body eval
["11\n", "11\n", "11\n", "11\n"]
--- no_error_log
[error]



=== TEST 6: code that makes the response goes on meanwhile, up to its end
--- config
    location = /s {
        content_by_lua_block {
            ngx.say("one")
            ngx.flush()
            ngx.sleep(0.01)
            ngx.say("two ", tostring(ngx.headers_sent), " ", ngx.get_phase())
            ngx.header.Y = "too late"
            ngx.flush()
            ngx.ctx.content = "done"
            ngx.sleep(0.005)
            ngx.say("three")
        }
        header_filter_by_lua_block {
            ngx.sleep(0.1)
            ngx.header.X = tostring(ngx.ctx.content) .. " " .. ngx.get_phase() .. " " .. tostring(ngx.headers_sent)
        }
        body_filter_by_lua_block { ngx.sleep(0.005) ngx.arg[1] = ngx.arg[1]:upper() }
    }
--- pipelined_requests eval
["GET /s", "GET /s"]
--- response_headers eval
[("X: done header_filter false\n! Y") x 2]
--- response_body eval
[("ONE\nTWO TRUE CONTENT\nTHREE\n") x 2]
--- error_log
attempt to set ngx.header.HEADER after sending out response headers
--- no_error_log
[alert]



=== TEST 7: a connection that is upgraded cannot wait
--- config
    location = /up {
        content_by_lua_block {
            ngx.status = 101
            ngx.header.Upgrade = "x"
            ngx.header.Connection = "upgrade"
            ngx.send_headers()
            if ngx.var.arg_lua then ngx.log(ngx.WARN, "at once: ", select(2, ngx.req.socket(true))) end
            ngx.flush(true)
            local sock = ngx.req.socket(true)
            sock:send("raw ")
            sock:send(sock:receive(4))
        }
        header_filter_by_lua_block { if ngx.var.arg_lua then ngx.sleep(0.05) end }
    }
    location = /proxy {
        proxy_http_version 1.1;
        proxy_set_header Upgrade x;
        proxy_set_header Connection upgrade;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/up;
        header_filter_by_lua_block { ngx.header.X = "seen" if ngx.var.arg_w then ngx.sleep(0.05) end }
    }
--- lua
for _, path in ipairs { "/up", "/up?lua=1", "/proxy", "/proxy?w=1" } do
    local data = c.raw("GET " .. path .. " HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0.15, "ping")
    ngx.say(data:match("^HTTP/1.1 (%d+)"), " ", data:match("X: (%S+)"), " ", data:match("raw %S+"))
end
--- response_body
101 nil raw ping
101 nil raw ping
101 seen raw ping
500 seen nil
--- error_log
header_filter_by_lua* cannot wait while a connection is upgraded
at once: pending data to write



=== TEST 8: a socket of the content is not that of a filter
--- config
    location = /s {
        content_by_lua_block { ngx.ctx.sock = require "puppet".open("hold") ngx.say("x") }
        header_filter_by_lua_block { ngx.header.X = select(2, pcall(ngx.ctx.sock.send, ngx.ctx.sock, "x")) }
    }
--- request
GET /s
--- response_headers
X: bad request



=== TEST 9: flushes without bytes, between those that have some
--- config
    location = /s {
        content_by_lua_block {
            ngx.send_headers()
            for i = 1, 5 do
                ngx.flush()
                ngx.flush()
                ngx.print(i)
                if ngx.var.arg_s then ngx.sleep(0.002) end
                ngx.flush()
            end
            ngx.say()
        }
        header_filter_by_lua_block { ngx.sleep(0.02) }
        body_filter_by_lua_block { ngx.sleep(0.005) }
    }
--- pipelined_requests eval
["GET /s", "GET /s?s=1"]
--- response_body eval
["12345\n", "12345\n"]
--- no_error_log
[error]
[alert]
