# precontent_by_lua: runs after access, before the content.
use Test::Nginx::Socket::Lua;

plan tests => 22;
no_long_string();
run_tests();

__DATA__

=== TEST 1: runs between access and content, with a wait
--- config
    location /t {
        access_by_lua_block { ngx.ctx.p = ngx.get_phase() }
        precontent_by_lua_block { ngx.sleep(0.001) ngx.ctx.p = ngx.ctx.p .. " " .. ngx.get_phase() }
        content_by_lua_block { ngx.say(ngx.ctx.p) }
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["access precontent\n", "access precontent\n"]



=== TEST 2: runs after try_files
--- config
    location /t {
        try_files /first.txt /second.txt =404;
        precontent_by_lua_block { ngx.header["X-Uri"] = ngx.var.uri }
    }
--- user_files
>>> second.txt
second
--- request
GET /t
--- response_headers
X-Uri: /second.txt
--- response_body
second



=== TEST 3: with no_postpone it runs before try_files
--- http_config
    precontent_by_lua_no_postpone on;
--- config
    location /t {
        try_files /first.txt /second.txt =404;
        precontent_by_lua_block { ngx.header["X-Uri"] = ngx.var.uri }
    }
--- user_files
>>> second.txt
second
--- request
GET /t
--- response_headers
X-Uri: /t
--- response_body
second



=== TEST 4: before a proxy
--- config
    location /t {
        set $name unset;
        precontent_by_lua_block { ngx.sleep(0.001) ngx.var.name = "set" }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back?$name;
    }
    location /back { return 200 "$args\n"; }
--- request
GET /t
--- response_body
set



=== TEST 5: answers the request
--- config
    location /t {
        precontent_by_lua_block { ngx.sleep(0.001) ngx.say("here") ngx.exit(ngx.OK) }
        proxy_pass http://127.0.0.1:1;
    }
--- request
GET /t
--- response_body
here



=== TEST 6: refuses the request
--- config
    location /t {
        precontent_by_lua_block { ngx.exit(ngx.HTTP_FORBIDDEN) }
    }
--- request
GET /t
--- error_code: 403
--- no_error_log
[error]



=== TEST 7: code of server and http is inherited, a file, a string
--- http_config
    precontent_by_lua_file html/pre.lua;
--- config
    location /t { return 200; content_by_lua_block { ngx.say(ngx.ctx.v) } }
    location /a { content_by_lua_block { ngx.say(ngx.ctx.v) } }
    location /b { precontent_by_lua 'ngx.ctx.v = "own"'; content_by_lua_block { ngx.say(ngx.ctx.v) } }
--- user_files
>>> pre.lua
ngx.ctx.v = "file"
--- request eval
["GET /a", "GET /b"]
--- response_body eval
["file\n", "own\n"]



=== TEST 8: an error is a 500
--- config
    location /t {
        precontent_by_lua_block { error("no") }
        content_by_lua_block { ngx.say("not reached") }
    }
--- request
GET /t
--- error_code: 500
--- error_log eval
qr/\[error\] .*lua entry thread aborted: runtime error: precontent_by_lua\(nginx\.conf:\d+\):1: no/
