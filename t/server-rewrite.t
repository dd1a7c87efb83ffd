# server_rewrite_by_lua: runs before a location is chosen.
use Test::Nginx::Socket::Lua;

plan tests => 22;
no_long_string();
run_tests();

__DATA__

=== TEST 1: runs before the location's code, with a wait
--- config
    server_rewrite_by_lua_block { ngx.sleep(0.001) ngx.ctx.p = { ngx.get_phase() } }
    location /t {
        rewrite_by_lua_block { table.insert(ngx.ctx.p, ngx.get_phase()) }
        content_by_lua_block { ngx.say(table.concat(ngx.ctx.p, " ")) }
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["server_rewrite rewrite\n", "server_rewrite rewrite\n"]



=== TEST 2: decides which location is found
--- config
    server_rewrite_by_lua_block { ngx.req.set_uri("/other") }
    location /t { return 200 "t\n"; }
    location /other { return 200 "other\n"; }
--- request
GET /t
--- response_body
other



=== TEST 3: runs after the server's own rewrite directives
--- config
    set $who nginx;
    rewrite ^/old$ /new;
    server_rewrite_by_lua_block { ngx.var.who = ngx.var.who .. " " .. ngx.var.uri }
    location / { return 200 "$who\n"; }
--- request
GET /old
--- response_body
nginx /new



=== TEST 4: code of http is for every server
--- http_config
    server_rewrite_by_lua_block { ngx.header["X-Server"] = ngx.var.server_name }
    server { listen unix:$TEST_NGINX_HTML_DIR/one.sock; server_name one; return 204; }
--- config
    location /t { return 204; }
--- request
GET /t
--- error_code: 204
--- response_headers
X-Server: localhost



=== TEST 5: answers the request
--- config
    server_rewrite_by_lua_block { ngx.say("here") ngx.exit(200) }
    location / { return 500; }
--- request
GET /t
--- response_body
here



=== TEST 6: refuses the request
--- config
    server_rewrite_by_lua_block { ngx.sleep(0.001) ngx.exit(403) }
    location / { return 200; }
--- request
GET /t
--- error_code: 403
--- no_error_log
[error]



=== TEST 7: a cosocket and ngx.req.socket
--- config
    server_rewrite_by_lua_block {
        local sock = assert(ngx.req.socket())
        ngx.ctx.body = sock:receive(5)
        local tcp = ngx.socket.tcp()
        assert(tcp:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
        tcp:close()
    }
    location / { content_by_lua_block { ngx.say(ngx.ctx.body) } }
--- request
POST /t
hello
--- response_body
hello



=== TEST 8: an error is a 500 with a traceback
--- config
    server_rewrite_by_lua_block {
        error("no")
    }
    location / { return 200; }
--- request
GET /t
--- error_code: 500
--- error_log eval
[qr/\[error\] .*lua entry thread aborted: runtime error: server_rewrite_by_lua\(nginx\.conf:\d+\):2: no/, "stack traceback:"]



=== TEST 9: redirect and a jump of the URI
--- config
    server_rewrite_by_lua_block {
        if ngx.var.uri == "/r" then ngx.redirect("/to") end
        local ok, err = pcall(ngx.req.set_uri, "/x", true)
        ngx.log(ngx.WARN, "set_uri: ", err)
    }
    location / { return 200 "ok\n"; }
--- request eval
["GET /r", "GET /t"]
--- error_code eval
[302, 200]
--- error_log
set_uri: API disabled in the context of server_rewrite_by_lua*
