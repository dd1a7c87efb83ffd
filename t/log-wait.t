# log_by_lua that waits: it goes on without the request.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Peer;

Test::Nginx::Peer->redis;
Test::Nginx::Peer->dns( 'log.test' => ['127.0.0.1'] );

repeat_each(2);
no_long_string();
run_tests();

__DATA__

=== TEST 1: all that could be read before can be read after
--- http_config
    map $arg_x $mapped { default other; 7 seven; }
    map $http_x_in $never { default "never asked for"; }
    upstream back { server 127.0.0.1:$TEST_NGINX_SERVER_PORT; }
    log_format t '$realpath_root $http_x_in';
--- config
    set $mine "my value";
    location = /back {
        content_by_lua_block {
            ngx.header.set_cookie = { "u=up; Path=/", "v=w" }
            ngx.header.x_up = "stream"
            ngx.say("from ", ngx.var.http_x_in)
        }
    }
    location ~ ^/(t)(.*)$ {
        root html;
        client_body_in_single_buffer on;
        access_by_lua_block {
            ngx.req.read_body()
            ngx.ctx.note = "from access"
        }
        set $to /back;
        proxy_pass http://back$to;
        add_header X-Out one;
        add_header X-Out two;
        log_by_lua_block {
            local names = [[arg_x arg_none args binary_remote_addr body_bytes_sent bytes_sent
                connection connection_requests connection_time content_length content_type
                cookie_q cookie_none document_root document_uri host hostname http_cookie
                http_host http_x_in http_x_twice http_none https is_args limit_rate mapped mine msec
                never nginx_version pid pipe proxy_host proxy_port realip_remote_addr query_string realpath_root
                remote_addr remote_port remote_user request request_body request_completion
                request_filename request_length request_method request_time request_uri scheme
                sent_http_content_type sent_http_x_out sent_http_connection sent_http_none
                server_addr server_name server_port server_protocol status time_local
                time_iso8601 upstream_addr upstream_status upstream_response_time
                upstream_http_x_up upstream_cookie_u upstream_cookie_v upstream_cookie_none
                upstream_bytes_received uri connections_active]]
            local function look()
                local seen, lines = {}, {}
                for name in names:gmatch("%S+") do
                    seen[#seen + 1] = name .. "=" .. tostring(ngx.var[name])
                end
                for name, value in pairs(ngx.req.get_headers()) do
                    lines[#lines + 1] = name .. ": " .. (type(value) == "table" and table.concat(value, "+") or value)
                end
                table.sort(lines)
                seen[1] = seen[1] .. table.concat(lines, ", ")
                for _, name in ipairs { "X-Out", "x_up", "Content-Type", "Content-Length", "Connection", "Server" } do
                    local value = ngx.header[name]
                    seen[#seen + 1] = name .. ": " .. (type(value) == "table" and table.concat(value, "+") or tostring(value))
                end
                for _, value in ipairs {
                    ngx.status, tostring(ngx.headers_sent), tostring(ngx.is_subrequest), ngx.req.get_method(),
                    ngx.req.http_version(), ngx.req.start_time(), tostring(ngx.req.get_body_data()),
                    tostring(ngx.req.get_uri_args().x), tostring(ngx.ctx.note), ngx.get_phase(),
                    tostring(ngx.var[1]), tostring(ngx.var[2]), tostring(ngx.var[3]),
                } do
                    seen[#seen + 1] = value
                end
                return seen
            end
            local before = look()
            ngx.sleep(0.2)
            local after = look()
            for i = 1, #before do
                if before[i] ~= after[i] then
                    ngx.log(ngx.ERR, "before: ", before[i], ", after: ", after[i])
                end
            end
            ngx.log(ngx.WARN, "compared ", #after > 70 and "all" or #after, " of ", ngx.var.arg_x)
        }
    }
--- raw_request eval
my ($a, $b) = map {
    my $body = "body of $_" x 20;
    my $fill = chr(64 + $_) x 500;
    "POST /t-$_?x=$_&fill=$fill HTTP/1.1\r\nHost: localhost\r\nCookie: q=cookie$_; r=s\r\n"
    . "X-In: in$_\r\nX-Twice: a$_\r\nX-Twice: b$_\r\nFill: $fill\r\n"
    . ($_ == 8 ? "Connection: close\r\n" : "")
    . "Content-Length: " . length($body) . "\r\n\r\n$body"
} (7, 8);
"$a$b"
--- response_body_like: from in7
--- wait: 0.4
--- error_log
compared all of 7
compared all of 8
--- no_error_log
[error]



=== TEST 2: values, after the wait
--- config
    location = /t {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.ctx.note = { "a table" }
            ngx.header.x_out = "out"
            ngx.status = 203
            ngx.say("hello")
        }
        log_by_lua_block {
            ngx.sleep(0.05)
            ngx.log(ngx.WARN, table.concat({ "read:",
                ngx.get_phase(), ngx.status, ngx.req.get_method(), ngx.req.http_version(),
                ngx.req.get_uri_args().x, ngx.req.get_headers()["x-in"], ngx.req.get_body_data(),
                ngx.ctx.note[1], ngx.header.x_out, ngx.header["X-Out"], ngx.var.arg_x, ngx.var.http_x_in,
                ngx.var.cookie_c, ngx.var.sent_http_x_out, ngx.var.request_body, ngx.var.remote_addr,
                ngx.var.request, ngx.var.request_completion }, " "))
        }
    }
--- request
POST /t?x=7
the body
--- more_headers
X-In: in
Cookie: b=1; c=2
--- error_code: 203
--- response_body
hello
--- wait: 0.2
--- error_log
read: log 203 POST 1.1 7 in the body a table out out 7 in 2 out the body 127.0.0.1 POST /t?x=7 HTTP/1.1 OK while logging request, client: 127.0.0.1, server: localhost, request: "POST /t?x=7 HTTP/1.1", host: "localhost"
--- no_error_log
[error]



=== TEST 3: the client and the access log are not held up
--- http_config
    log_format seen 'access log: $seen';
--- config
    location = /t {
        set $seen "written before the wait was over";
        access_log logs/seen.log seen;
        return 200 "ok\n";
        log_by_lua_block {
            ngx.sleep(0.5)
            ngx.var.seen = "too late"
            ngx.log(ngx.WARN, "done: ", ngx.var.seen)
        }
    }
    location = /log {
        content_by_lua_block {
            local f = io.open(ngx.config.prefix() .. "logs/seen.log")
            ngx.print(f:read("*a"):match("[^\n]*\n$"))
            f:close()
        }
    }
--- pipelined_requests eval
["GET /t", "GET /log"]
--- response_body eval
["ok\n", "access log: written before the wait was over\n"]
--- timeout: 0.4
--- wait: 0.6
--- error_log
done: too late
--- no_error_log
[error]



=== TEST 4: it is no timer; threads, semaphores, coroutines
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            local semaphore = require("ngx.semaphore").new()
            local function waiter(n)
                assert(semaphore:wait(2))
                return n .. " of " .. ngx.var.uri
            end
            local a, b = ngx.thread.spawn(waiter, 1), ngx.thread.spawn(waiter, 2)
            local next = coroutine.wrap(function()
                ngx.sleep(0.02)
                coroutine.yield("inner")
            end)
            local inner = next()
            local counts = ngx.timer.running_count() .. " " .. ngx.timer.pending_count()
            semaphore:post(2)
            ngx.log(ngx.WARN, select(2, ngx.thread.wait(a)), ", ", select(2, ngx.thread.wait(b)), ", ", inner, ", timers: ", counts)
        }
    }
--- request
GET /t
--- response_body
ok
--- wait: 0.3
--- error_log
1 of /t, 2 of /t, inner, timers: 0 0
--- no_error_log
[error]



=== TEST 5: TCP: connected before the request went, used after; a pool
--- config
    location = /t {
        content_by_lua_block { ngx.sleep(0.1) ngx.say("ok") }
        log_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
            ngx.sleep(0)
            assert(sock:send("ECHO " .. ngx.var.arg_n .. "\r\n"))
            assert(sock:receive())
            local line = sock:receive()
            local times = sock:getreusedtimes()
            assert(sock:setkeepalive())
            ngx.log(ngx.WARN, "answer ", line, " for ", ngx.var.arg_n, " reused: ", times > 0 and "yes" or "no")
        }
    }
--- request eval
["GET /t?n=1", "GET /t?n=2", "GET /t?n=3"]
--- response_body eval
["ok\n", "ok\n", "ok\n"]
--- wait: 0.2
--- error_log
answer 1 for 1
answer 2 for 2 reused: yes
answer 3 for 3 reused: yes
--- no_error_log
[error]



=== TEST 6: UDP and DNS, by the location's resolver
--- config
    location = /t {
        resolver $TEST_NGINX_RESOLVER ipv6=off;
        return 200 "ok\n";
        log_by_lua_block {
            local sock = ngx.socket.udp()
            assert(sock:setpeername("log.test", $TEST_NGINX_RAND_PORT_1))
            assert(sock:send("line of " .. ngx.var.uri))
            ngx.log(ngx.WARN, "got ", sock:receive())
        }
    }
--- udp_listen: $TEST_NGINX_RAND_PORT_1
--- udp_reply: thanks
--- udp_query: line of /t
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log
got thanks
--- no_error_log
[error]



=== TEST 7: errors after the wait: with client, with traceback
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            ngx.sleep(0.01)
            local function inner() error("no luck") end
            inner()
        }
    }
    location = /refused {
        return 200 "ok\n";
        log_by_lua_block {
            ngx.sleep(0.01)
            local ok, err = ngx.socket.tcp():connect("127.0.0.1", 1)
            ngx.log(ngx.WARN, "connect: ", err)
        }
    }
--- request eval
["GET /t", "GET /refused"]
--- response_body eval
["ok\n", "ok\n"]
--- wait: 0.2
--- error_log eval
[qr/\[error\] .* failed to run log_by_lua\*: log_by_lua\(nginx\.conf:\d+\):3: no luck$/, "stack traceback:",
qr/main chunk while logging request, client: 127\.0\.0\.1, server: localhost, request: "GET \/t HTTP\/1\.1", host: "localhost"$/,
qr/connect\(\) failed \(111: Connection refused\) while logging request, client: 127\.0\.0\.1, server: localhost, request: "GET \/refused HTTP\/1\.1", host: "localhost"$/,
"connect: connection refused"]



=== TEST 8: the mask is the same after the wait
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            ngx.sleep(0.01)
            local calls = {
                say = { ngx.say, "x" }, flush = { ngx.flush }, exit = { ngx.exit, 200 },
                redirect = { ngx.redirect, "/x" }, read_body = { ngx.req.read_body },
                socket = { ngx.req.socket }, set_header = { ngx.req.set_header, "a", "b" },
                set_uri = { ngx.req.set_uri, "/x" }, on_abort = { ngx.on_abort, function() end },
            }
            local wrong = 0
            for name, call in pairs(calls) do
                local _, err = pcall(unpack(call))
                if err ~= "API disabled in the context of log_by_lua*" then
                    wrong = wrong + 1
                    ngx.log(ngx.ERR, name, ": ", tostring(err))
                end
            end
            ngx.header.x = "y"
            ngx.status = 500
            ngx.log(ngx.WARN, wrong, " wrong, status ", ngx.status, " header ", tostring(ngx.header.x))
        }
    }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log
0 wrong, status 200 header nil
attempt to set ngx.header.HEADER after sending out response headers
attempt to set ngx.status after sending out response headers



=== TEST 9: variables are set in the copy, or not at all
--- config
    location = /t {
        set $mine "set";
        set $other "";
        return 200 "ok\n";
        log_by_lua_block {
            ngx.sleep(0.01)
            ngx.var.mine = "mine"
            ngx.var.other = ngx.var.mine .. "+"
            ngx.var.limit_rate = 5
            local _, unknown = pcall(function() ngx.var.unknown = 1 end)
            local _, fixed = pcall(function() ngx.var.remote_addr = 1 end)
            ngx.log(ngx.WARN, ngx.var.mine, " ", ngx.var.other, " ", ngx.var.limit_rate, " ",
                tostring(ngx.var.unknown), ": ", fixed, ", ", unknown)
        }
    }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log eval
qr/mine mine\+ 5 nil: .*variable "remote_addr" not changeable, .*variable "unknown" not found for writing/
--- no_error_log
[error]



=== TEST 10: timers made after the wait
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            ngx.sleep(0.01)
            ngx.timer.at(0, function(_, uri) ngx.log(ngx.WARN, "timer of ", uri) end, ngx.var.uri)
        }
    }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log
timer of /t, context: ngx.timer
--- no_error_log
[error]



=== TEST 11: too many
--- http_config
    lua_max_waiting_logs 2;
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            ngx.ctx.x = "y"
            local sock = ngx.socket.tcp()
            ngx.sleep(0.3)
            ngx.log(ngx.WARN, "done ", ngx.var.arg_n)
        }
    }
--- pipelined_requests eval
["GET /t?n=1", "GET /t?n=2", "GET /t?n=3"]
--- response_body eval
["ok\n", "ok\n", "ok\n"]
--- wait: 0.5
--- error_log eval
["done 1", "done 2",
qr/\[alert\] .* log_by_lua\* ended where it began to wait: 2 lua_max_waiting_logs are not enough while logging request, client: 127\.0\.0\.1, .*n=3/]
--- no_error_log
done 3
[error]



=== TEST 12: subrequests, which share variables with their request
--- http_config
    map $uri $mapped { default "map of $uri"; }
    log_format named '$mapped';
--- config
    log_subrequest on;
    location = /t {
        ssi on;
        content_by_lua_block { ngx.ctx.main = 1 ngx.header.content_type = "text/html" ngx.say([[<!--#include virtual="/sub" -->main]]) }
        log_by_lua_block {
            ngx.sleep(0.02)
            ngx.log(ngx.WARN, "log: main ", ngx.ctx.main, " ", tostring(ngx.is_subrequest), " ", ngx.var.uri)
            ngx.log(ngx.WARN, "log: main ", ngx.var.mapped)
        }
    }
    location = /sub {
        content_by_lua_block { ngx.ctx.sub = 2 ngx.say("sub") }
        log_by_lua_block {
            ngx.sleep(0.02)
            ngx.log(ngx.WARN, "log: sub ", ngx.ctx.sub, " ", tostring(ngx.is_subrequest), " ", ngx.var.uri)
            ngx.log(ngx.WARN, "log: sub ", ngx.var.mapped)
        }
    }
--- request
GET /t
--- response_body
sub
main
--- wait: 0.2
--- grep_error_log eval: qr/log: (?:main|sub) \w+ \w+ \/\w+/
--- grep_error_log_out
log: sub 2 true /sub
log: sub map of /sub
log: main 1 false /t
log: main map of /t
--- no_error_log
[error]



=== TEST 13: client gone
--- config
    location = /t {
        lua_check_client_abort on;
        content_by_lua_block { ngx.ctx.a = "kept" ngx.sleep(5) }
        log_by_lua_block {
            ngx.sleep(0.05)
            ngx.log(ngx.WARN, "logged ", ngx.status, " ", ngx.ctx.a, " ", tostring(ngx.headers_sent))
        }
    }
--- request
GET /t
--- timeout: 0.2
--- abort
--- ignore_response
--- wait: 0.3
--- error_log
logged 499 kept false
--- no_error_log
[error]



=== TEST 14: requests that nginx could not read
--- config
    log_by_lua_block {
        ngx.sleep(0.05)
        ngx.log(ngx.WARN, "status ", ngx.status, " uri ", tostring(ngx.var.uri), " request ", ngx.var.request)
    }
--- raw_request eval
"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n"
--- error_code: 400
--- response_body_like: 400
--- wait: 0.2
--- error_log
status 400 uri /x request GET /x HTTP/1.1



=== TEST 15: HTTP/2, several streams
--- config
    location = /t {
        content_by_lua_block { ngx.say("two") }
        log_by_lua_block {
            ngx.sleep(0.05)
            ngx.log(ngx.WARN, "log of HTTP/", ngx.req.http_version(), " ", ngx.var.http_user_agent, " ", ngx.var.request, " ", ngx.var.http2)
        }
    }
--- http2
--- request
GET /t
--- more_headers
User-Agent: me
--- response_body
two
--- wait: 0.3
--- error_log
log of HTTP/2 me GET /t HTTP/2.0 h2c
--- no_error_log
[error]



=== TEST 16: lua_code_cache off
--- http_config
    lua_code_cache off;
--- config
    location = /t {
        content_by_lua_block { n = (n or 0) + 1 ngx.ctx.a = "same VM" ngx.say("ok") }
        log_by_lua_block { ngx.sleep(0.02) collectgarbage() ngx.log(ngx.WARN, ngx.ctx.a, " ", n) }
    }
--- request eval
["GET /t", "GET /t"]
--- response_body eval
["ok\n", "ok\n"]
--- wait: 0.2
--- grep_error_log eval: qr/same VM \w+/
--- grep_error_log_out
same VM 1
same VM 1



=== TEST 17: a big body in memory, one in a file, an empty one
--- config
    location = /t {
        client_body_buffer_size 100k;
        content_by_lua_block { ngx.req.read_body() ngx.say("ok") }
        log_by_lua_block {
            ngx.sleep(0.02)
            local body = ngx.req.get_body_data()
            ngx.log(ngx.WARN, "body: ", body and #body .. " " .. body:sub(-3) or "nil", " ", #(ngx.var.request_body or ""))
        }
    }
--- request eval
["POST /t\n" . ("x" x 90000 . "end"), "POST /t\n" . ("x" x 200000), "GET /t"]
--- response_body eval
["ok\n", "ok\n", "ok\n"]
--- wait: 0.2
--- grep_error_log eval: qr/body: \w+ \w+( \d+)?/
--- grep_error_log_out
body: 90003 end 90003
body: nil 0
body: nil 0



=== TEST 18: nginx does not complain of variables that nobody asked for
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        set $unset_elsewhere 1;
    }
--- config
    location = /t {
        root /does/not/exist;
        content_by_lua_block { ngx.say("ok") }
        log_by_lua_block {
            ngx.sleep(0.02)
            ngx.log(ngx.WARN, "unset: ", ngx.var.unset_elsewhere, ".")
        }
    }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log
unset: .
--- no_error_log
uninitialized
[error]
[crit]
