# log_by_lua that does not wait.

use Test::Nginx::Socket::Lua 'no_plan';

repeat_each(2);
no_long_string();
run_tests();

__DATA__

=== TEST 1: runs after the response, before the access log
--- http_config
    log_format seen 'access log of $uri: $seen';
--- config
    set $seen "nothing";
    location = /t {
        access_log logs/seen.log seen;
        content_by_lua_block { ngx.say(ngx.get_phase()) }
        log_by_lua_block {
            ngx.var.seen = ngx.get_phase() .. " " .. ngx.var.body_bytes_sent
            ngx.log(ngx.WARN, "in the log phase of ", ngx.var.uri)
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
--- response_body_like eval
['\Acontent\n\z', '\Aaccess log of /t: log \d\d\n\z']
--- error_log
[lua] log_by_lua(nginx.conf:
in the log phase of /t while logging request, client: 127.0.0.1, server: localhost, request: "GET /t HTTP/1.1", host: "localhost"
--- no_error_log
[error]



=== TEST 2: the quoted form, files, file names with variables
--- config
    location = /quoted {
        return 200 "quoted\n";
        log_by_lua 'ngx.log(ngx.WARN, "quoted: ", ngx.status)';
    }
    location = /file {
        return 201 "file\n";
        log_by_lua_file html/log.lua;
    }
    location = /var {
        return 202 "var\n";
        log_by_lua_file html/$arg_name.lua;
    }
--- user_files
>>> log.lua
ngx.log(ngx.WARN, "script: ", ngx.status)
--- request eval
["GET /quoted", "GET /file", "GET /var?name=log"]
--- response_body eval
["quoted\n", "file\n", "var\n"]
--- error_code eval
[200, 201, 202]
--- grep_error_log eval: qr/(?:quoted|script): \d+/
--- grep_error_log_out
quoted: 200
script: 201
script: 202



=== TEST 3: inherited by locations; the inner one counts
--- http_config
    log_by_lua_block { ngx.log(ngx.WARN, "of http") }
--- config
    location = /outer { return 200 "ok\n"; }
    location = /inner {
        return 200 "ok\n";
        log_by_lua_block { ngx.log(ngx.WARN, "of location") }
    }
    location = /if {
        if ($arg_a) {
            set $b 1;
            log_by_lua_block { ngx.log(ngx.WARN, "of if") }
        }
        content_by_lua_block { ngx.say("ok") }
    }
--- request eval
["GET /outer", "GET /inner", "GET /if", "GET /if?a=1"]
--- response_body eval
["ok\n", "ok\n", "ok\n", "ok\n"]
--- grep_error_log eval: qr/of (?:http|location|if)(?= while)/
--- grep_error_log_out
of http
of location
of http
of if



=== TEST 4: what can be read
--- config
    location = /t {
        set $mine "my value";
        client_body_in_single_buffer on;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.ctx.note = "from content"
            ngx.header["X-Out"] = { "1", "2" }
            ngx.header["X-One"] = "one"
            ngx.status = 203
            ngx.say("hello")
        }
        log_by_lua_block {
            local h = ngx.req.get_headers()
            local a = ngx.req.get_uri_args()
            ngx.log(ngx.WARN, table.concat({ "read:",
                ngx.status, tostring(ngx.headers_sent), tostring(ngx.is_subrequest),
                ngx.req.get_method(), ngx.req.http_version(), a.x, h["x-in"],
                ngx.req.get_body_data(), ngx.ctx.note, table.concat(ngx.header["X-Out"], "+"),
                ngx.var.mine, ngx.var.arg_x, ngx.var.http_x_in, ngx.var.sent_http_x_one,
                ngx.var.remote_addr, ngx.var.request, type(ngx.req.start_time()),
                ngx.var.request_completion, }, " "))
        }
    }
--- request
POST /t?x=7
the body
--- more_headers
X-In: in
--- error_code: 203
--- response_body
hello
--- error_log
read: 203 true false POST 1.1 7 in the body from content 1+2 my value 7 in one 127.0.0.1 POST /t?x=7 HTTP/1.1 number OK



=== TEST 5: what is disabled
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            local calls = {
                say = { ngx.say, "x" }, print = { ngx.print, "x" }, flush = { ngx.flush },
                eof = { ngx.eof }, send_headers = { ngx.send_headers }, exit = { ngx.exit, 200 },
                exec = { ngx.exec, "/x" }, redirect = { ngx.redirect, "/x" },
                read_body = { ngx.req.read_body }, socket = { ngx.req.socket },
                on_abort = { ngx.on_abort, function() end },
                set_header = { ngx.req.set_header, "a", "b" },
                clear_header = { ngx.req.clear_header, "a" },
                set_uri = { ngx.req.set_uri, "/x" }, set_uri_args = { ngx.req.set_uri_args, "a=1" },
            }
            local wrong = 0
            for name, call in pairs(calls) do
                local ok, err = pcall(unpack(call))
                if err ~= "API disabled in the context of log_by_lua*" then
                    wrong = wrong + 1
                    ngx.log(ngx.ERR, name, ": ", tostring(err))
                end
            end
            ngx.log(ngx.WARN, wrong, " wrong")
        }
    }
--- request
GET /t
--- response_body
ok
--- error_log
0 wrong
--- no_error_log
[error]



=== TEST 6: an error is logged with traceback and client; nothing else suffers
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            local function inner() error("no luck") end
            inner()
        }
    }
    location = /file {
        return 200 "ok\n";
        log_by_lua_file html/missing.lua;
    }
--- pipelined_requests eval
["GET /t", "GET /file", "GET /t"]
--- response_body eval
["ok\n", "ok\n", "ok\n"]
--- error_log eval
[qr/\[error\] .* failed to run log_by_lua\*: log_by_lua\(nginx\.conf:\d+\):2: no luck$/, "stack traceback:",
"in function 'inner'", qr/cannot open .*missing\.lua/,
qr/main chunk while logging request, client: 127\.0\.0\.1, server: localhost, request: "GET \/t HTTP\/1\.1"/]



=== TEST 7: ngx.ctx without any other handler; the code cannot be yielded out of
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            ngx.ctx.a = (ngx.ctx.a or 0) + 1
            local co = coroutine.wrap(function() coroutine.yield(ngx.ctx.a) end)
            ngx.log(ngx.WARN, "a is ", co())
        }
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["ok\n", "ok\n"]
--- grep_error_log eval: qr/a is \d/
--- grep_error_log_out
a is 1
a is 1



=== TEST 8: internal redirects: the last location's code, a new ngx.ctx
--- config
    location = /t {
        rewrite_by_lua_block { ngx.ctx.a = 1 ngx.exec("/last") }
        log_by_lua_block { ngx.log(ngx.WARN, "wrong one") }
    }
    location = /last {
        content_by_lua_block { ngx.say("ok") }
        log_by_lua_block { ngx.log(ngx.WARN, "ctx.a: ", tostring(ngx.ctx.a), " ", ngx.var.uri) }
    }
--- request
GET /t
--- response_body
ok
--- error_log
ctx.a: nil /last
--- no_error_log
wrong one
[error]



=== TEST 9: error pages
--- config
    error_page 404 /oops;
    location = /oops {
        internal;
        return 200 "oops\n";
        log_by_lua_block { ngx.log(ngx.WARN, "oops: ", ngx.status, " ", ngx.var.request_uri) }
    }
    location = /exit {
        content_by_lua_block { ngx.exit(503) }
        log_by_lua_block { ngx.log(ngx.WARN, "exit: ", ngx.status) }
    }
--- request eval
["GET /nowhere", "GET /exit"]
--- error_code eval
[404, 503]
--- response_body_like eval
["oops", "503"]
--- grep_error_log eval: qr/(?:oops|exit): .*?(?= while)/
--- grep_error_log_out
oops: 404 /nowhere
exit: 503



=== TEST 10: subrequests, where log_subrequest is on
--- config
    log_subrequest on;
    location = /t {
        ssi on;
        content_by_lua_block { ngx.ctx.main = 1 ngx.header.content_type = "text/html" ngx.say([[<!--#include virtual="/sub" -->main]]) }
        log_by_lua_block { ngx.log(ngx.WARN, "log: main ", tostring(ngx.is_subrequest), " ", ngx.ctx.main) }
    }
    location = /sub {
        content_by_lua_block { ngx.ctx.sub = 2 ngx.say("sub") }
        log_by_lua_block { ngx.log(ngx.WARN, "log: sub ", tostring(ngx.is_subrequest), " ", ngx.ctx.sub) }
    }
--- request
GET /t
--- response_body
sub
main
--- grep_error_log eval: qr/log: (?:main|sub) \w+ \d/
--- grep_error_log_out
log: sub true 2
log: main false 1



=== TEST 11: a timer goes on; it has no request
--- config
    location = /t {
        return 200 "ok\n";
        log_by_lua_block {
            ngx.timer.at(0, function(_, uri)
                ngx.log(ngx.WARN, ngx.get_phase(), " of ", uri, ": ", select(2, pcall(function() return ngx.var.uri end)))
            end, ngx.var.uri)
        }
    }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log eval
qr/timer of \/t: .*API disabled in the context of ngx\.timer/



=== TEST 12: requests that nginx could not read
--- config
    log_by_lua_block {
        ngx.log(ngx.WARN, "status ", ngx.status, " method ", ngx.req.get_method(), " uri ",
            tostring(ngx.var.uri), " header ", tostring(ngx.req.get_headers().host))
    }
--- raw_request eval
"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"
--- error_code: 400
--- response_body_like: 400
--- error_log
status 400 method GET uri /



=== TEST 13: client gone: 499
--- config
    location = /t {
        lua_check_client_abort on;
        content_by_lua_block { ngx.ctx.a = "kept" ngx.sleep(5) }
        log_by_lua_block { ngx.log(ngx.WARN, "logged ", ngx.status, " ", ngx.ctx.a) }
    }
--- request
GET /t
--- timeout: 0.2
--- abort
--- ignore_response
--- wait: 0.3
--- error_log
logged 499 kept



=== TEST 14: lua_code_cache off
--- http_config
    lua_code_cache off;
--- config
    location = /t {
        content_by_lua_block { n = (n or 0) + 1 ngx.ctx.a = "same VM" ngx.say("ok") }
        log_by_lua_block { ngx.log(ngx.WARN, ngx.ctx.a, " ", n) }
    }
    location = /log {
        return 200 "ok\n";
        log_by_lua_block { ngx.log(ngx.WARN, "own VM ", tostring(n)) }
    }
--- request eval
["GET /t", "GET /t", "GET /log"]
--- response_body eval
["ok\n", "ok\n", "ok\n"]
--- grep_error_log eval: qr/(?:same|own) VM \w+/
--- grep_error_log_out
same VM 1
same VM 1
own VM nil



=== TEST 15: HTTP/2
--- config
    location = /t {
        content_by_lua_block { ngx.say("two") }
        log_by_lua_block { ngx.log(ngx.WARN, "log of HTTP/", ngx.req.http_version(), " ", ngx.var.http_user_agent) }
    }
--- http2
--- request
GET /t
--- more_headers
User-Agent: me
--- response_body
two
--- error_log
log of HTTP/2 me



=== TEST 16: not twice in one place
--- config
    log_by_lua 'local a';
    log_by_lua_block { local a }
--- must_die
--- error_log
"log_by_lua_block" directive is duplicate



=== TEST 17: a time that is none
--- http_config
    lua_exit_worker_timeout soon;
--- config
--- must_die
--- error_log
"lua_exit_worker_timeout" directive invalid value
