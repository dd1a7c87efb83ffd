# ngx.req.socket() in the phases of a request, and what other handlers make of the body.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

no_long_string();
run_tests();

__DATA__

=== TEST 1: read in rewrite or access; another handler answers
--- config
    location = /rewrite {
        rewrite_by_lua_block { ngx.var.got = assert(ngx.req.socket()):receive("*a") }
        set $got "";
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/upstream;
        proxy_set_header X-Got $got;
    }
    location = /access {
        access_by_lua_block { ngx.var.got = assert(ngx.req.socket()):receive("*a") }
        set $got "";
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/upstream;
        proxy_request_buffering off;
        proxy_http_version 1.1;
        proxy_set_header X-Got $got;
    }
    location = /upstream {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.var.http_x_got, " ", ngx.req.get_body_data())
        }
    }
    location = /static {
        set $got "";
        access_by_lua_block { ngx.var.got = assert(ngx.req.socket()):receive(5) }
        try_files /none =404;
    }
    location = /return {
        set $got "";
        rewrite_by_lua_block { ngx.var.got = assert(ngx.req.socket()):receive(5) }
        content_by_lua_block { ngx.say(ngx.var.got) }
    }
--- lua
for _, path in ipairs { "/rewrite", "/access", "/static", "/return" } do
    for _, body in ipairs { "Content-Length: 5\r\n|hello", "Transfer-Encoding: chunked\r\n|5\r\nhello\r\n0\r\n\r\n" } do
        local lines, rest = body:match("^(.-)|(.*)$")
        local raw = c.raw(post(path, lines), 0.01, rest .. "GET /upstream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        for status in raw:gmatch("HTTP/1.1 (%d+)") do
            ngx.print(status, " ")
        end
        ngx.say(raw:find("hello nil", 1, true) and "proxied" or raw:match("\nhello") or "")
    end
end
--- response_body
200 200 proxied
200 200 proxied
200 200 proxied
200 200 proxied
404 200 
404 200 
200 200 
hello
200 200 
hello
--- no_error_log
[crit]
[alert]



=== TEST 2: half read, then another handler: the connection is closed
--- config
    location /x/ {
        lingering_timeout 50ms;
        access_by_lua_block { require("client").seen.got = assert(ngx.req.socket()):receive(5) }
        location = /x/proxy { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/upstream; }
        location = /x/unbuffered {
            proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/upstream;
            proxy_request_buffering off;
        }
        location = /x/empty { empty_gif; }
        location = /x/redirect { try_files /none @named; }
    }
    location = /upstream { content_by_lua_block { ngx.say("upstream ", ngx.var.http_content_length) } }
    location @named { content_by_lua_block { ngx.say("named ", (select(2, ngx.req.socket()))) } }
--- lua
for _, path in ipairs { "proxy", "unbuffered", "redirect" } do
    c.talk(post("/x/" .. path, "Content-Length: 1000\r\n", "hello"), 0.02, "world", 0.02,
        "GET /upstream HTTP/1.0\r\n\r\n")
    ngx.say(c.seen.got)
end
ngx.say((c.raw(post("/x/empty", "Content-Length: 1000\r\n", "hello"), 0.02, "world"):match("^[^\r]*")))
--- response_body
200 close
upstream 0
hello
200 close
upstream 0
hello
200 close
named request body already exists
hello
HTTP/1.1 405 Not Allowed
--- no_error_log
[alert]
[crit]



=== TEST 3: one socket through all phases, kept in ngx.ctx
--- config
    location = /x {
        rewrite_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.ctx.sock, ngx.ctx.read = sock, sock:receiveuntil("--")
            ngx.ctx.got = { sock:receive(3) }
        }
        access_by_lua_block { table.insert(ngx.ctx.got, (ngx.ctx.sock:receive(3))) }
        content_by_lua_block {
            table.insert(ngx.ctx.got, (ngx.ctx.read()))
            table.insert(ngx.ctx.got, (ngx.ctx.sock:receive("*a")))
            ngx.say(table.concat(ngx.ctx.got, ","))
        }
    }
--- lua
talk(post("/x", "Content-Length: 14\r\nConnection: close\r\n", "on"), 0.02, "etw", 0.02, "ofour--", 0.02, "xy")
--- response_body
200 close
one,two,four,xy



=== TEST 4: use after the handler's end, by others
--- config
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:receive(2)
            require("client").seen.sock = sock
            require("client").seen.read = sock:receiveuntil("x")
        }
    }
    location = /wait {
        content_by_lua_block {
            local seen = require("client").seen
            seen.sock = assert(ngx.req.socket())
            ngx.sleep(0.1)
            seen.sock = nil
        }
    }
--- lua
talk(post("/x", "Content-Length: 4\r\nConnection: close\r\n", "abcd"))
local sock = c.seen.sock
fails(sock.receive, sock, 1)
fails(sock.receiveany, sock, 1)
fails(sock.close, sock)
fails(c.seen.read)
sock:settimeout(1)
show(sock:getfd())
sock = nil
c.seen.sock, c.seen.read = nil, nil
collectgarbage()
c.leave(post("/wait", "Content-Length: 4\r\n", "abcd"))
local live = t.eventually(c.seen.sock, function() return c.seen.sock end)
ngx.sleep(0.02)
fails(c.seen.sock.receive, c.seen.sock)
ngx.sleep(0.1)
--- response_body
200 close
bad request
bad request
bad request
bad request
nil "closed"
bad request
--- no_error_log
[alert]
[crit]



=== TEST 5: collected in the middle: the connection is nginx's
--- config
    location = /x {
        content_by_lua_block {
            ngx.say((assert(ngx.req.socket()):receive(2)))
            collectgarbage()
            collectgarbage()
            ngx.say((select(2, ngx.req.socket())))
            ngx.sleep(0.03)
            ngx.say("done")
        }
    }
--- lua
talk(post("/x", "Content-Length: 4\r\n", "ab"), 0.02, "cd", post("/x", "Content-Length: 4\r\n", "late"))
talk(post("/x", "Content-Length: 4\r\n", "abcd") .. post("/x", "Content-Length: 4\r\nConnection: close\r\n", "next"))
--- response_body
200 close
ab
request body already exists
done
200 keep-alive
ab
request body already exists
done
200 close
ne
request body already exists
done



=== TEST 6: subrequests
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location / { return 200 "ok"; }
    }
--- config
    location = /sub { content_by_lua_block { require "puppet".fails(ngx.req.socket) ngx.log(ngx.WARN, (select(2, pcall(ngx.req.socket)))) } }
    location = /auth {
        auth_request /sub;
        content_by_lua_block { ngx.say(ngx.req.socket():receive("*a")) }
    }
    location = /mirrored {
        mirror /mirror;
        access_by_lua_block { ngx.ctx.got = ngx.req.socket():receive("*a") }
        content_by_lua_block { ngx.say(ngx.ctx.got) }
    }
    location = /mirror { internal; proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
    location = /added {
        add_before_body /slow;
        addition_types *;
        content_by_lua_block {
            local sock = ngx.req.socket()
            ngx.say("begun")
            ngx.flush()
            ngx.say(sock:receive("*a"))
        }
    }
    location = /slow { internal; content_by_lua_block { ngx.sleep(0.1) ngx.say("before") } }
--- lua
talk(post("/auth", "Content-Length: 5\r\nConnection: close\r\n", "12"), 0.02, "345")
talk(post("/mirrored", "Content-Length: 5\r\nConnection: close\r\n", "12"), 0.02, "345")
-- The rest of the body comes while a subrequest has the connection's events.
talk(post("/added", "Content-Length: 5\r\nConnection: close\r\n", "12"), 0.02, "345")
--- response_body
200 close
12345
200 close
12345
200 close
before
begun
12345
--- error_log
attempt to read the request body in a subrequest



=== TEST 7: error_page and internal redirects
--- config
    location = /x {
        error_page 503 /page;
        lingering_timeout 50ms;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:receive(2)
            ngx.exit(503)
        }
    }
    location = /failing {
        error_page 500 /page;
        lingering_timeout 50ms;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:receive(2)
            error("oops")
        }
    }
    location = /before {
        error_page 403 = /page;
        access_by_lua_block {
            package.loaded.lost = assert(ngx.req.socket())
            ngx.exit(403)
        }
        content_by_lua_block { }
    }
    location = /page {
        content_by_lua_block {
            package.loaded.lost = nil
            collectgarbage()
            ngx.say("page ", (select(2, ngx.req.socket())))
            ngx.sleep(0.02)
            ngx.say("end")
        }
    }
--- lua
for _, path in ipairs { "/x", "/failing", "/before" } do
    talk(post(path, "Content-Length: 50\r\n", "ab"), 0.02, "cd")
end
--- response_body
503 close
page request body already exists
end
500 close
page request body already exists
end
200 close
page request body already exists
end
--- error_log
oops
--- no_error_log
[alert]
[crit]



=== TEST 8: the client goes away while nobody reads
--- config
    lua_check_client_abort on;
    location = /off {
        lua_check_client_abort off;
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.sleep(0.1)
            require("client").seen.off = { sock:receive("*a") }
        }
    }
    location = /on {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.sleep(0.1)
            ngx.log(ngx.ERR, "not reached: on")
        }
    }
    location = /read {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            sock:receive("*a")
            ngx.sleep(0.1)
            ngx.log(ngx.ERR, "not reached: read")
        }
    }
    location = /there {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.sleep(0.1)
            -- It had sent all.
            require("client").seen.there = { sock:receive("*a") }
        }
    }
    location = /stays {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.sleep(0.05)
            ngx.say((sock:receive("*a")))
            ngx.sleep(0.05)
            ngx.say("here")
        }
    }
--- lua
c.leave(post("/off", "Content-Length: 9\r\n", "ab"), 0.02)
c.leave(post("/on", "Content-Length: 9\r\n", "ab"), 0.02)
c.leave(post("/read", "Content-Length: 9\r\n", "ab"), 0.02, "cdefghi", 0.02)
c.leave(post("/there", "Content-Length: 9\r\n", "ab"), 0.02, "cdefghi")
talk(post("/stays", "Content-Length: 9\r\n", "ab"), 0.02, "cdefghi", 0.04,
    "GET /stays HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
ngx.sleep(0.1)
show(unpack(c.seen.off, 1, 3))
show(unpack(c.seen.there, 1, 3))
--- response_body_like
200 keep-alive
abcdefghi
here
500 close
(?s:.*)nil "client aborted" "ab"
"abcdefghi" nil nil
--- error_log
client prematurely closed connection
--- no_error_log
not reached
[alert]
[crit]



=== TEST 9: output is sent on while the body is read
--- config
    location = /x {
        content_by_lua_block {
            ngx.sleep(0.01)
            local sock = assert(ngx.req.socket())
            -- More than the client's and the server's buffers take.
            local piece = ("x"):rep(1000000)
            for _ = 1, 16 do
                ngx.print(piece)
            end
            ngx.flush()
            local size = #sock:receive("*a")
            ngx.flush(true)
            ngx.say(size)
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
assert(sock:send(post("/x", "Content-Length: 5\r\nConnection: close\r\n", "12")))
ngx.sleep(0.1)
assert(sock:send("345"))
local data = sock:receive("*a")
ngx.say(#data > 16000000, " ", data:match("\n5\n") and 5)
--- response_body
true 5
--- timeout: 20



=== TEST 10: ngx.on_abort, while nobody reads
--- config
    location = /x {
        lua_check_client_abort on;
        content_by_lua_block {
            local seen = require("client").seen
            ngx.on_abort(function () seen.aborted = true end)
            local sock = assert(ngx.req.socket(ngx.var.arg_raw == "1"))
            ngx.sleep(0.1)
            seen.read = { sock:receive(5) }
        }
    }
--- lua
for raw = 0, 1 do
    c.seen.aborted, c.seen.read = nil, nil
    c.leave(post("/x?raw=" .. raw, "Content-Length: 9\r\n"), 0.02)
    t.eventually(true, function() return c.seen.read ~= nil end)
    show(c.seen.aborted, unpack(c.seen.read))
end
--- response_body
true nil "client aborted" ""
true nil "client aborted" ""
--- error_log
client prematurely closed connection



=== TEST 11: ngx.exec, ngx.redirect with the socket open
--- config
    location = /exec {
        lingering_timeout 50ms;
        content_by_lua_block {
            assert(ngx.req.socket()):receive(2)
            ngx.exec("/next")
        }
    }
    location = /next { content_by_lua_block { ngx.say("next ", (select(2, ngx.req.socket()))) ngx.sleep(0.02) ngx.say("end") } }
    location = /redirect {
        lingering_timeout 50ms;
        content_by_lua_block {
            assert(ngx.req.socket()):receive(2)
            ngx.redirect("/next", 302)
        }
    }
--- lua
talk(post("/exec", "Content-Length: 50\r\n", "ab"), 0.02, "cd")
talk(post("/exec", "Content-Length: 3\r\n", "abc"), post("/exec", "Content-Length: 3\r\nConnection: close\r\n", "abc"))
ngx.say((c.raw(post("/redirect", "Content-Length: 50\r\n", "ab"), 0.02, "cd"):match("^[^\r]*")))
--- response_body
200 close
next request body already exists
end
200 keep-alive
next request body already exists
end
200 close
next request body already exists
end
HTTP/1.1 302 Moved Temporarily
