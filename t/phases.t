# Order of the phases, and how they work with nginx's own handlers.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 87;
no_long_string();
run_tests();

__DATA__

=== TEST 1: rewrite, access, content, each with a wait
--- config
    location /t {
        rewrite_by_lua_block { ngx.ctx.p = { ngx.get_phase() } ngx.sleep(0.001) }
        access_by_lua_block { table.insert(ngx.ctx.p, ngx.get_phase()) ngx.sleep(0.001) }
        content_by_lua_block {
            ngx.sleep(0.001)
            table.insert(ngx.ctx.p, ngx.get_phase())
            ngx.say(table.concat(ngx.ctx.p, " "))
        }
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["rewrite access content\n", "rewrite access content\n"]



=== TEST 2: code of http and server runs in locations without their own
--- http_config
    rewrite_by_lua_block { ngx.ctx.r = "http" }
    access_by_lua_block { ngx.ctx.a = "http" }
--- config
    access_by_lua_block { ngx.ctx.a = "server" }
    location /t { content_by_lua_block { ngx.say(ngx.ctx.r, " ", ngx.ctx.a) } }
    location /own {
        rewrite_by_lua_block { ngx.ctx.r = "location" }
        content_by_lua_block { ngx.say(ngx.ctx.r, " ", ngx.ctx.a) }
    }
--- request eval
["GET /t", "GET /own"]
--- response_body eval
["http server\n", "location server\n"]



=== TEST 3: rewrite_by_lua runs after nginx's own rewrite directives
--- config
    location /t {
        rewrite_by_lua_block { ngx.ctx.args = ngx.req.get_uri_args().a }
        set $foo 1;
        rewrite ^ /t?a=rewritten? break;
        content_by_lua_block { ngx.say(ngx.ctx.args) }
    }
    location /return {
        rewrite_by_lua_block { ngx.say("not reached") ngx.exit(200) }
        return 200 "return\n";
    }
--- request eval
["GET /t?a=1", "GET /return"]
--- response_body eval
["rewritten\n", "return\n"]



=== TEST 4: rewrite_by_lua_no_postpone: before them
--- http_config
    rewrite_by_lua_no_postpone on;
--- config
    location /t {
        rewrite_by_lua_block { ngx.ctx.args = ngx.req.get_uri_args().a }
        rewrite ^ /t?a=rewritten break;
        content_by_lua_block { ngx.say(ngx.ctx.args) }
    }
    location /return {
        rewrite_by_lua_block { ngx.sleep(0.001) ngx.say("lua") ngx.exit(200) }
        return 200 "return\n";
    }
--- request eval
["GET /t?a=1", "GET /return"]
--- response_body eval
["1\n", "lua\n"]



=== TEST 5: rewrite ... last starts over in the other location
--- config
    rewrite_by_lua_block { ngx.ctx.n = (ngx.ctx.n or 0) + 1 }
    location /t { rewrite ^ /u last; }
    location /u { content_by_lua_block { ngx.say(ngx.ctx.n) } }
    location /s { rewrite_by_lua_block { ngx.sleep(0.001) ngx.ctx.n = 10 } try_files /none /u; }
--- request eval
["GET /t", "GET /s"]
--- response_body eval
["1\n", "1\n"]



=== TEST 6: access_by_lua runs after allow and deny
--- config
    location /denied {
        deny all;
        access_by_lua_block { ngx.log(ngx.ERR, "not reached") }
        content_by_lua_block { ngx.say("not reached") }
    }
    location /allowed {
        allow all;
        access_by_lua_block { ngx.ctx.ran = true }
        content_by_lua_block { ngx.say(ngx.ctx.ran) }
    }
--- request eval
["GET /denied", "GET /allowed"]
--- error_code eval
[403, 200]
--- response_body_like eval
["403 Forbidden", "true"]
--- no_error_log
not reached



=== TEST 7: access_by_lua_no_postpone: before them
--- http_config
    access_by_lua_no_postpone on;
--- config
    location /t {
        deny all;
        access_by_lua_block { ngx.sleep(0.001) ngx.say("first") ngx.exit(200) }
    }
--- request
GET /t
--- response_body
first



=== TEST 8: satisfy any
--- config
    satisfy any;
    location /grants {
        deny all;
        access_by_lua_block { ngx.sleep(0.001) }
        content_by_lua_block { ngx.say("granted") }
    }
    location /ok {
        deny all;
        access_by_lua_block { ngx.exit(ngx.OK) }
        content_by_lua_block { ngx.say("granted") }
    }
    location /refuses {
        deny all;
        access_by_lua_block { ngx.sleep(0.001) ngx.exit(403) }
        content_by_lua_block { ngx.say("not reached") }
    }
    location /unauthorized {
        deny all;
        access_by_lua_block { ngx.exit(401) }
        content_by_lua_block { ngx.say("not reached") }
    }
    location /declines {
        deny all;
        access_by_lua_block { ngx.exit(ngx.DECLINED) }
        content_by_lua_block { ngx.say("not reached") }
    }
    location /allowed {
        allow all;
        access_by_lua_block { ngx.log(ngx.ERR, "not reached") }
        content_by_lua_block { ngx.say("granted") }
    }
    location /breaks {
        deny all;
        access_by_lua_block { error("x") }
    }
--- request eval
["GET /grants", "GET /ok", "GET /refuses", "GET /unauthorized", "GET /declines", "GET /allowed", "GET /breaks"]
--- error_code eval
[200, 200, 403, 401, 403, 200, 500]
--- response_body_like eval
['\Agranted', '\Agranted', "403", "401", "403", '\Agranted', "500"]



=== TEST 9: satisfy all
--- config
    location /t {
        satisfy all;
        allow all;
        access_by_lua_block { ngx.exit(403) }
        content_by_lua_block { ngx.say("not reached") }
    }
--- request
GET /t
--- error_code: 403
--- response_body_like: 403 Forbidden



=== TEST 10: in an if block
--- config
    location /t {
        rewrite_by_lua_block { ngx.ctx.r = "location" }
        access_by_lua_block { ngx.ctx.a = "location" }
        content_by_lua_block { ngx.say("location ", ngx.ctx.r, " ", ngx.ctx.a) }
        if ($arg_a = 1) {
            rewrite_by_lua_block { ngx.ctx.r = "if" }
        }
        if ($arg_a = 2) {
            access_by_lua_block { ngx.sleep(0.001) ngx.ctx.a = "if" }
        }
        if ($arg_a = 3) {
            content_by_lua_block { ngx.sleep(0.001) ngx.say("if ", ngx.ctx.r, " ", ngx.ctx.a) }
        }
    }
--- request eval
["GET /t?a=0", "GET /t?a=1", "GET /t?a=2", "GET /t?a=3"]
--- response_body eval
["location location location\n", "location if location\n", "location location if\n", "if location location\n"]



=== TEST 11: error_page: to a Lua location, to a named one, with another status
--- config
    error_page 404 /page;
    error_page 403 = @named;
    error_page 500 =200 /page;
    location /404 { content_by_lua_block { ngx.exit(404) } }
    location /wait { content_by_lua_block { ngx.sleep(0.001) ngx.exit(404) } }
    location /403 { access_by_lua_block { ngx.sleep(0.001) ngx.exit(403) } }
    location /500 { rewrite_by_lua_block { error("oops") } }
    location = /page { internal; content_by_lua_block { ngx.sleep(0.001) ngx.say("page ", ngx.req.get_method()) } }
    location @named { content_by_lua_block { ngx.sleep(0.001) ngx.say("named") } }
--- request eval
["GET /404", "POST /wait\nabc", "GET /403", "GET /500", "GET /nothing"]
--- error_code eval
[404, 404, 200, 200, 404]
--- response_body_like eval
['\Apage GET\n\z', '\Apage GET\n\z', '\Anamed\n\z', '\Apage GET\n\z', '\Apage GET\n\z']



=== TEST 12: try_files, internal redirects
--- config
    location /t {
        access_by_lua_block { ngx.sleep(0.001) }
        try_files /none @lua;
    }
    location /index/ { rewrite_by_lua_block { ngx.sleep(0.001) } root html; index /lua; }
    location /lua { content_by_lua_block { ngx.say("lua") } }
    location @lua { content_by_lua_block { ngx.sleep(0.001) ngx.say("named") } }
--- request eval
["GET /t", "GET /lua"]
--- response_body eval
["named\n", "lua\n"]



=== TEST 13: nginx's own content after Lua
--- config
    location /file.txt {
        rewrite_by_lua_block { ngx.sleep(0.001) }
        access_by_lua_block { ngx.sleep(0.001) }
    }
--- user_files
>>> file.txt
a file
--- pipelined_requests eval
["GET /file.txt", "HEAD /file.txt", "GET /file.txt"]
--- response_body eval
["a file\n", "", "a file\n"]



=== TEST 14: proxy_pass after Lua, Lua behind it, keepalive
--- config
    location /t {
        rewrite_by_lua_block { ngx.sleep(0.001) }
        access_by_lua_block { ngx.req.read_body() }
        proxy_pass http://127.0.0.1:$server_port/backend;
    }
    location /backend {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(ngx.req.get_method(), " ", ngx.req.get_body_data())
        }
    }
--- pipelined_requests eval
["POST /t\nabc", "PUT /t\ndef", "GET /t"]
--- response_body eval
["POST abc\n", "PUT def\n", "GET nil\n"]



=== TEST 15: HTTP/2, several requests at once
--- http2
--- config
    location /t {
        rewrite_by_lua_block { ngx.sleep(0.001) }
        content_by_lua_block {
            ngx.say("one")
            ngx.flush(true)
            ngx.sleep(0.001)
            ngx.print(("x"):rep(200000))
            ngx.flush(true)
            ngx.say("two")
        }
    }
    location /exit { content_by_lua_block { ngx.sleep(0.001) ngx.exit(404) } }
    location /error { content_by_lua_block { error("x") } }
--- request eval
["GET /t", "HEAD /t", "GET /exit", "GET /error"]
--- error_code eval
[200, 200, 404, 500]
--- response_body_like eval
['\Aone\nx{30000}', '\A\z', '404 Not Found', '500']



=== TEST 16: get_phase in every phase
--- http_config
    init_by_lua_block { phases = { ngx.get_phase() } }
    init_worker_by_lua_block { phases[2] = ngx.get_phase() }
--- config
    location /t {
        rewrite_by_lua_block { phases[3] = ngx.get_phase() }
        access_by_lua_block { phases[4] = ngx.get_phase() }
        content_by_lua_block {
            ngx.say(table.concat(phases, " "), " ", ngx.get_phase())
        }
    }
--- request
GET /t
--- response_body
init init_worker rewrite access content
