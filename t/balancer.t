# balancer_by_lua and ngx.balancer.
use Test::Nginx::Socket::Lua;

plan tests => 56;
no_long_string();
run_tests();

__DATA__

=== TEST 1: the peer is what Lua says
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", ngx.var.server_port))
            ngx.ctx.phase = ngx.get_phase()
        }
    }
--- config
    location /t {
        access_by_lua_block { ngx.ctx.from = "access" }
        proxy_pass http://backend/fake;
    }
    location /fake { return 200 "fake\n"; }
--- request
GET /t
--- response_body
fake
--- no_error_log
[error]



=== TEST 2: a unix socket, the name in the log
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            assert(require("ngx.balancer").set_current_peer("unix:$TEST_NGINX_HTML_DIR/" .. ngx.var.arg_s))
        }
    }
    server { listen unix:$TEST_NGINX_HTML_DIR/back.sock; location / { return 200 "unix\n"; } }
--- config
    location /t { proxy_pass http://backend; }
--- request eval
["GET /t?s=back.sock", "GET /t?s=none.sock"]
--- response_body eval
["unix\n", qr/502 Bad Gateway/]
--- error_code eval
[200, 502]
--- error_log eval
qr/upstream: "http:\/\/unix:.*none\.sock:\/t\?s=none\.sock"/



=== TEST 3: bad peers
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            local function try(...)
                local ok, res, err = pcall(b.set_current_peer, ...)
                ngx.log(ngx.WARN, "got: ", tostring(res), " ", tostring(err))
            end
            try("example.com", 80)
            try("127.0.0.1", 65536)
            try("127.0.0.1", "x")
            try({}, 80)
            try("[::1", 80)
            return ngx.exit(ngx.ERROR)
        }
    }
--- config
    location /t { proxy_pass http://backend; }
--- request
GET /t
--- error_code: 500
--- grep_error_log eval: qr/got: .*?(?= while)/
--- grep_error_log_out
got: nil no host allowed
got: nil bad port number
got: bad argument #2 to '?' (number expected, got string) nil
got: bad argument #1 to '?' (string expected, got table) nil
got: nil invalid host



=== TEST 4: without a choice the servers of the block are taken
--- http_config
    upstream backend {
        server 127.0.0.1:$TEST_NGINX_SERVER_PORT;
        balancer_by_lua_block { ngx.ctx.n = 1 }
    }
--- config
    location /t { proxy_pass http://backend/fake; }
    location /fake { return 200 "block\n"; }
--- request
GET /t
--- response_body
block



=== TEST 5: more tries, and how the last one failed
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            local n = (ngx.ctx.n or 0) + 1
            ngx.ctx.n = n
            local state, status = b.get_last_failure()
            ngx.log(ngx.WARN, "try ", n, ": ", tostring(state), " ", tostring(status))
            if n == 1 then
                assert(b.set_more_tries(2))
                assert(b.set_current_peer("127.0.0.1", 1))
            elseif n == 2 then
                assert(b.set_current_peer("127.0.0.1", tonumber(ngx.var.server_port)))
                ngx.var.to = "bad"
                assert(b.recreate_request())
            else
                assert(b.set_current_peer("127.0.0.1", tonumber(ngx.var.server_port)))
                ngx.var.to = "good"
                assert(b.recreate_request())
            end
        }
    }
--- config
    location /t {
        set $to none;
        proxy_next_upstream error http_404;
        proxy_set_header X-To $to;
        proxy_pass http://backend/fake;
    }
    location /fake {
        if ($http_x_to = bad) { return 404; }
        return 200 "$http_x_to\n";
    }
--- request
GET /t
--- response_body
good
--- grep_error_log eval: qr/try \d+: \w+ \w+/
--- grep_error_log_out
try 1: nil nil
try 2: failed 502
try 3: next 404



=== TEST 6: proxy_next_upstream_tries limits the tries
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            local ok, err = b.set_more_tries(5)
            ngx.log(ngx.WARN, "more: ", tostring(ok), " ", tostring(err))
            assert(b.set_current_peer("127.0.0.1", 1))
        }
    }
--- config
    location /t {
        proxy_next_upstream_tries 3;
        proxy_pass http://backend;
    }
--- request
GET /t
--- error_code: 502
--- grep_error_log eval: qr/more: \w+ \w+[^,]*?(?= while)/
--- grep_error_log_out
more: true reduced tries due to limit
more: true reduced tries due to limit
more: true reduced tries due to limit



=== TEST 7: timeouts of this request only
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            assert(b.set_current_peer("127.0.0.1", ngx.var.server_port))
            if ngx.var.arg_short then assert(b.set_timeouts(nil, nil, 0.1)) end
            local ok, err = pcall(b.set_timeouts, 0)
            ngx.log(ngx.WARN, "zero: ", err)
            ok, err = pcall(b.set_timeouts, nil, -1)
            ngx.log(ngx.WARN, "negative: ", err)
        }
    }
--- config
    location /t { proxy_pass http://backend/slow; }
    location /slow { content_by_lua_block { ngx.sleep(0.4) ngx.say("slow") } }
--- request eval
["GET /t?short=1", "GET /t"]
--- error_code eval
[504, 200]
--- response_body eval
[qr/504 Gateway/, "slow\n"]
--- error_log
upstream timed out
zero: bad connect timeout
negative: bad send timeout



=== TEST 8: nginx's keepalive on top of it
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block { assert(require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.server_port)) }
        keepalive 4;
    }
--- config
    location /t {
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://backend/fake;
    }
    location /fake { content_by_lua_block { ngx.say(ngx.var.connection_requests) } }
--- request eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
["1\n", "2\n", "3\n"]



=== TEST 9: enable_keepalive, until the requests are used up
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            local ok, err = b.enable_keepalive()
            if ok then error("too early") end
            ngx.log(ngx.WARN, "early: ", err)
            assert(b.set_current_peer("127.0.0.1", ngx.var.server_port))
            assert(b.enable_keepalive(10, 3))
        }
        balancer_keepalive 4;
    }
--- config
    location /t {
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://backend/fake;
    }
    location /fake { content_by_lua_block { ngx.say(ngx.var.connection_requests) } }
--- request eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- response_body eval
["1\n", "2\n", "3\n", "1\n"]
--- error_log
early: no current peer set



=== TEST 10: an idle connection has its time
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            assert(b.set_current_peer("127.0.0.1", ngx.var.server_port))
            assert(b.enable_keepalive(0.05))
        }
    }
--- config
    location /t {
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://backend/fake;
    }
    location /fake { content_by_lua_block { ngx.say(ngx.var.connection_requests) } }
    location /both {
        content_by_lua_block {
            for _, pause in ipairs { 0, 0, 0.5 } do
                ngx.sleep(pause)
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                assert(sock:send("GET /t HTTP/1.0\r\n\r\n"))
                ngx.print(sock:receive("*a"):match("\r\n\r\n(.*)"))
                sock:close()
            end
        }
    }
--- request
GET /both
--- response_body
1
2
1



=== TEST 11: a request body is sent again
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            ngx.ctx.n = (ngx.ctx.n or 0) + 1
            if ngx.ctx.n == 1 then b.set_more_tries(1) else assert(b.recreate_request()) end
            assert(b.set_current_peer("127.0.0.1", ngx.ctx.n == 1 and 1 or ngx.var.server_port))
        }
    }
--- config
    location /t { proxy_pass http://backend/echo; }
    location /echo { content_by_lua_block { ngx.req.read_body() ngx.say(ngx.req.get_body_data()) } }
--- request
POST /t
hello
--- response_body
hello



=== TEST 12: an error is a 500 with a traceback
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            error("no")
        }
    }
--- config
    location /t { proxy_pass http://backend; }
--- request
GET /t
--- error_code: 500
--- error_log eval
[qr/\[error\] .*runtime error: balancer_by_lua\(nginx\.conf:\d+\):2: no/, "stack traceback:"]



=== TEST 13: what waits is disabled, and the error says what to use
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            for _, f in ipairs { ngx.socket.tcp, function() ngx.sleep(0) end, function() ngx.say("x") end, ngx.req.read_body } do
                local ok, err = pcall(f)
                ngx.log(ngx.WARN, "got: ", err)
            end
            require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.server_port)
        }
    }
--- config
    location /t { proxy_pass http://backend/fake; }
    location /fake { return 200 "fake\n"; }
--- request
GET /t
--- response_body
fake
--- grep_error_log eval: qr/API disabled in the context of [^,]*, use access_by_lua\* instead/
--- grep_error_log_out
API disabled in the context of balancer_by_lua*, use access_by_lua* instead
API disabled in the context of balancer_by_lua*, use access_by_lua* instead
API disabled in the context of balancer_by_lua*, use access_by_lua* instead
API disabled in the context of balancer_by_lua*, use access_by_lua* instead



=== TEST 14: a yield of its own is an error
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block { coroutine.yield() }
    }
--- config
    location /t { proxy_pass http://backend; }
--- request
GET /t
--- error_code: 500
--- error_log
attempt to yield in balancer_by_lua*



=== TEST 15: the functions elsewhere
--- config
    location /t {
        content_by_lua_block {
            local b = require "ngx.balancer"
            for _, name in ipairs { "set_current_peer", "set_more_tries", "get_last_failure", "set_timeouts",
                    "recreate_request", "enable_keepalive", "bind_to_local_addr", "set_upstream_tls" } do
                local ok, err = pcall(b[name], "127.0.0.1", 1)
                ngx.say(err)
            end
        }
    }
--- request
GET /t
--- response_body eval
"API disabled in the context of content_by_lua*\n" x 8



=== TEST 16: a local address
--- http_config
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            assert(b.set_current_peer("127.0.0.1", ngx.var.server_port))
            assert(b.bind_to_local_addr("127.0.0.9"))
            ngx.log(ngx.WARN, "bad: ", select(2, b.bind_to_local_addr("localhost")))
        }
    }
--- config
    location /t { proxy_pass http://backend/fake; }
    location /fake { return 200 "$remote_addr\n"; }
--- request
GET /t
--- response_body
127.0.0.9
--- error_log
bad: bad address
