# ngx.exit with every class of status, in every phase, before and after output.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 97;
no_long_string();
workers(1);
run_tests();

__DATA__

=== TEST 1: content: ngx.OK and statuses below 300 end the response
--- config
    location /ok { content_by_lua_block { ngx.print("a") ngx.exit(ngx.OK) ngx.print("b") } }
    location /silent { content_by_lua_block { ngx.exit(ngx.OK) } }
    location /200 { content_by_lua_block { ngx.exit(200) } }
    location /201 { content_by_lua_block { ngx.exit(201) } }
    location /status { content_by_lua_block { ngx.status = 206 ngx.exit(200) } }
    location /body { content_by_lua_block { ngx.status = 403 ngx.print("no") ngx.exit(403) } }
    location /wait { content_by_lua_block { ngx.sleep(0.001) ngx.print("a") ngx.exit(200) } }
--- pipelined_requests eval
["GET /ok", "GET /silent", "GET /200", "GET /201", "GET /status", "GET /body", "GET /wait"]
--- error_code eval
[200, 200, 200, 201, 206, 403, 200]
--- response_body eval
["a", "", "", "", "", "no", "a"]
--- no_error_log
[error]



=== TEST 2: content: statuses from 300 on are answered by nginx
--- config
    location /302 { content_by_lua_block { ngx.exit(302) } }
    location /404 { content_by_lua_block { ngx.exit(404) } }
    location /503 { content_by_lua_block { ngx.sleep(0.001) ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE) } }
    location /999 { content_by_lua_block { ngx.exit("403") } }
--- request eval
["GET /302", "GET /404", "GET /503", "GET /999"]
--- error_code eval
[302, 404, 503, 403]
--- response_body_like eval
["302 Found", "404 Not Found", "503 Service", "403 Forbidden"]



=== TEST 3: content: an error status after output is logged, the response ends well
--- config
    location /t {
        content_by_lua_block {
            ngx.say("a")
            ngx.exit(500)
            ngx.say("b")
        }
    }
    location /flushed {
        content_by_lua_block {
            ngx.say("a")
            ngx.flush(true)
            ngx.sleep(0.001)
            ngx.exit(404)
        }
    }
--- pipelined_requests eval
["GET /t", "GET /flushed"]
--- response_body eval
["a\n", "a\n"]
--- error_log
attempt to set status 500 via ngx.exit after sending out the response status 200
attempt to set status 404 via ngx.exit after sending out the response status 200



=== TEST 4: rewrite: ngx.OK goes on, others end the request
--- config
    location / {
        rewrite_by_lua_block {
            local code = tonumber((ngx.req.get_uri_args().code))
            if ngx.req.get_uri_args().wait then ngx.sleep(0.001) end
            ngx.exit(code)
        }
        content_by_lua_block { ngx.print("content") }
    }
--- request eval
["GET /?code=0", "GET /?code=0&wait", "GET /?code=-5", "GET /?code=-5&wait",
 "GET /?code=200", "GET /?code=204&wait", "GET /?code=302", "GET /?code=403&wait", "GET /?code=500"]
--- error_code eval
[200, 200, 200, 200, 200, 204, 302, 403, 500]
--- response_body_like eval
['\Acontent\z', '\Acontent\z', '\Acontent\z', '\Acontent\z', '\A\z', '\A\z', '302', '403', '500']



=== TEST 5: access: the same
--- config
    location / {
        access_by_lua_block {
            local code = tonumber((ngx.req.get_uri_args().code))
            if ngx.req.get_uri_args().wait then ngx.sleep(0.001) end
            ngx.exit(code)
        }
        content_by_lua_block { ngx.print("content") }
    }
--- request eval
["GET /?code=0", "GET /?code=0&wait", "GET /?code=-5", "GET /?code=-5&wait",
 "GET /?code=200", "GET /?code=204&wait", "GET /?code=302", "GET /?code=403&wait", "GET /?code=401"]
--- error_code eval
[200, 200, 200, 200, 200, 204, 302, 403, 401]
--- response_body_like eval
['\Acontent\z', '\Acontent\z', '\Acontent\z', '\Acontent\z', '\A\z', '\A\z', '302', '403', '401']



=== TEST 6: rewrite and access after output
--- config
    location /r {
        rewrite_by_lua_block { ngx.print("said ", ngx.get_phase()) ngx.exit(ngx.OK) }
        content_by_lua_block { ngx.print("content") }
    }
    location /a {
        access_by_lua_block { ngx.print("said ", ngx.get_phase()) ngx.flush(true) ngx.sleep(0.001) ngx.exit(404) }
        content_by_lua_block { ngx.print("content") }
    }
    location /return {
        access_by_lua_block { ngx.print("said ", ngx.get_phase()) }
        content_by_lua_block { ngx.print("content") }
    }
    location /eof {
        rewrite_by_lua_block { ngx.print("said ", ngx.get_phase()) ngx.eof() }
        content_by_lua_block { ngx.print("content") }
    }
    location /declined {
        access_by_lua_block { ngx.print("said ", ngx.get_phase()) ngx.exit(ngx.DECLINED) }
        content_by_lua_block { ngx.print("content") }
    }
--- pipelined_requests eval
["GET /r", "GET /a", "GET /return", "GET /eof", "GET /declined"]
--- response_body eval
["said rewrite", "said access", "said access", "said rewrite", "said access"]



=== TEST 7: content: ngx.DECLINED leaves it to nginx's own handlers
--- config
    location /file.txt { content_by_lua_block { ngx.exit(ngx.DECLINED) } }
    location /wait { alias html/file.txt; content_by_lua_block { ngx.sleep(0.001) ngx.exit(ngx.DECLINED) } }
    location /none { content_by_lua_block { ngx.exit(ngx.DECLINED) } }
--- user_files
>>> file.txt
a file
--- request eval
["GET /file.txt", "GET /wait", "GET /none"]
--- error_code eval
[200, 200, 404]
--- response_body_like eval
['\Aa file\n\z', '\Aa file\n\z', '404']



=== TEST 8: ngx.ERROR, 444, 408, 499 close the connection
--- config
    location / {
        content_by_lua_block {
            if ngx.req.get_uri_args().say then ngx.say("a") ngx.flush(true) end
            ngx.exit(tonumber((ngx.req.get_uri_args().code)))
        }
    }
    location /r {
        rewrite_by_lua_block { ngx.sleep(0.001) ngx.exit(tonumber((ngx.req.get_uri_args().code))) }
    }
    location /t {
        content_by_lua_block {
            for _, uri in ipairs({ "/?code=-1", "/?code=444", "/?code=408", "/?code=499", "/?code=1",
                                   "/r?code=-1", "/r?code=444" }) do
                local sock = ngx.socket.tcp()
                sock:settimeout(2000)
                assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
                assert(sock:send("GET " .. uri .. " HTTP/1.1\r\nHost: x\r\n\r\n"))
                local data, err = sock:receive("*a")
                ngx.say(uri, ": ", data and #data or err)
                sock:close()
            end
        }
    }
--- request
GET /t
--- response_body
/?code=-1: 0
/?code=444: 0
/?code=408: 0
/?code=499: 0
/?code=1: 0
/r?code=-1: 0
/r?code=444: 0



=== TEST 9: bad arguments
--- config
    location /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.exit)))
            ngx.say(select(2, pcall(ngx.exit, 1, 2)))
            ngx.say(select(2, pcall(ngx.exit, {})))
            ngx.say(select(2, pcall(ngx.exit, "x")))
            ngx.say(select(2, pcall(ngx.exit, ngx.AGAIN)))
            ngx.say(select(2, pcall(ngx.exit, ngx.DONE)))
            ngx.say(select(2, pcall(ngx.exit, 1000)))
            ngx.say(select(2, pcall(ngx.exit, 1e10)))
        }
    }
--- request
GET /t
--- response_body
expecting 1 argument, but got 0
expecting 1 argument, but got 2
bad argument #1 to '?' (number expected, got table)
bad argument #1 to '?' (number expected, got string)
bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE
bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE
bad argument #1 to '?' (invalid status 1000)
bad argument #1 to '?' (invalid status 10000000000)



=== TEST 10: from a coroutine, through pcall
--- config
    location /t {
        content_by_lua_block {
            ngx.print("a")
            coroutine.wrap(function ()
                coroutine.wrap(function () pcall(ngx.exit, 200) end)()
            end)()
            ngx.print("b")
        }
    }
--- request
GET /t
--- response_body chop
a



=== TEST 11: not below a C function, not outside of requests
--- http_config
    init_worker_by_lua_block { in_worker = select(2, pcall(ngx.exit, 0)) }
--- config
    location /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(string.gsub, "a", "a", function () ngx.exit(200) end)))
            ngx.say(in_worker)
        }
    }
--- request
GET /t
--- response_body_like
\Acontent_by_lua\(nginx\.conf:\d+\):2: attempt to yield across C-call boundary
API disabled in the context of init_worker_by_lua\*
\z



=== TEST 12: constants
--- config
    location /t {
        content_by_lua_block {
            ngx.say(ngx.OK, ngx.ERROR, ngx.AGAIN, ngx.DONE, ngx.DECLINED)
            ngx.say(ngx.HTTP_GET, " ", ngx.HTTP_HEAD, " ", ngx.HTTP_PUT, " ", ngx.HTTP_POST, " ", ngx.HTTP_DELETE, " ",
                    ngx.HTTP_OPTIONS, " ", ngx.HTTP_PATCH, " ", ngx.HTTP_TRACE)
            ngx.say(ngx.HTTP_CONTINUE, " ", ngx.HTTP_OK, " ", ngx.HTTP_MOVED_TEMPORARILY, " ", ngx.HTTP_NOT_FOUND, " ",
                    ngx.HTTP_CLOSE, " ", ngx.HTTP_GATEWAY_TIMEOUT, " ", ngx.HTTP_INSUFFICIENT_STORAGE)
            ngx.say(ngx.STDERR, ngx.EMERG, ngx.ALERT, ngx.CRIT, ngx.ERR, ngx.WARN, ngx.NOTICE, ngx.INFO, ngx.DEBUG)
            ngx.say(tostring(ngx.null), " ", type(ngx.null), " ", ngx.null == nil)
        }
    }
--- request
GET /t
--- response_body
0-1-2-4-5
2 4 16 8 32 512 16384 32768
100 200 302 404 444 504 507
012345678
userdata: NULL userdata false



=== TEST 13: 204 is sent whatever the status was, other successes leave that as it is
--- config
    location /t {
        content_by_lua_block {
            ngx.status = 429
            ngx.exit(tonumber(ngx.var.arg_code))
        }
    }
--- request eval
["GET /t?code=204", "POST /t?code=204\nbody", "GET /t?code=200", "GET /t?code=201", "GET /t?code=0", "GET /t?code=403"]
--- error_code eval
[204, 204, 429, 429, 429, 403]
