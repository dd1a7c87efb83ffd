# Idle connections that ngx.balancer keeps: who closes them.
use Test::Nginx::Socket::Lua;

plan tests => 17;
no_long_string();

our $backend = <<'CONF';
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            assert(b.set_current_peer("unix:$TEST_NGINX_HTML_DIR/" .. ngx.var.arg_s .. ".sock"))
            assert(b.enable_keepalive(30))
        }
        balancer_keepalive 2;
    }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/a.sock;
        listen unix:$TEST_NGINX_HTML_DIR/b.sock;
        listen unix:$TEST_NGINX_HTML_DIR/c.sock;
        location / { content_by_lua_block { ngx.say(ngx.var.connection_requests) } }
        location /brief { keepalive_timeout 50ms; content_by_lua_block { ngx.say(ngx.var.connection_requests) } }
        location /close { keepalive_timeout 0; content_by_lua_block { ngx.say(ngx.var.connection_requests) } }
    }
CONF
our $front = <<'CONF';
    location /t/ {
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://backend/;
    }
CONF
run_tests();

__DATA__

=== TEST 1: the one used least recently goes where there are too many
--- http_config eval: $::backend
--- config eval: $::front
--- request eval
["GET /t/?s=a", "GET /t/?s=b", "GET /t/?s=c", "GET /t/?s=c", "GET /t/?s=b", "GET /t/?s=a"]
--- response_body eval
["1\n", "1\n", "1\n", "2\n", "2\n", "1\n"]



=== TEST 2: the peer closes it
--- http_config eval: $::backend
--- config eval
$::front . <<'CONF';
    location /run {
        content_by_lua_block {
            local function get(path)
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                assert(sock:send("GET " .. path .. " HTTP/1.0\r\n\r\n"))
                ngx.print(sock:receive("*a"):match("\r\n\r\n(.*)"))
                sock:close()
            end
            get("/t/brief?s=a") ngx.sleep(0.3) get("/t/brief?s=a")
            get("/t/close?s=b") get("/t/close?s=b")
        }
    }
CONF
--- request
GET /run
--- response_body
1
1
1
1
--- no_error_log
[error]



=== TEST 3: it does not hold up a worker that is to leave
--- http_config eval: $::backend
--- config eval: $::front
--- request
GET /t/?s=a
--- response_body
1
--- no_shutdown_error_log
open socket
