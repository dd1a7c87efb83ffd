# ngx.balancer and TLS to the peer.
use Test::Nginx::Socket::Lua;
use Test::Nginx::CA;

plan tests => 31;
no_long_string();

our $peers = <<'CONF';
    server {
        listen unix:$TEST_NGINX_HTML_DIR/tls.sock ssl;
        ssl_certificate $TEST_NGINX_CA/good.pem;
        ssl_certificate_key $TEST_NGINX_CA/good.key;
        location / {
            content_by_lua_block { ngx.say(ngx.var.ssl_server_name or "none", " ", ngx.var.connection_requests) }
        }
    }
    server {
        listen unix:$TEST_NGINX_HTML_DIR/plain.sock;
        location / { return 200 "plain\n"; }
    }
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            local b = require "ngx.balancer"
            local arg = ngx.req.get_uri_args()
            assert(b.set_current_peer("unix:$TEST_NGINX_HTML_DIR/" .. (arg.plain and "plain" or "tls") .. ".sock", nil, arg.host))
            if arg.plain then assert(b.set_upstream_tls(false)) end
            if arg.keep then assert(b.enable_keepalive()) end
            if arg.again then assert(b.set_upstream_tls(true)) end
        }
    }
CONF
run_tests();

__DATA__

=== TEST 1: the name of the peer
--- http_config eval: $::peers
--- config
    location /t {
        proxy_ssl_server_name on;
        proxy_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
        proxy_ssl_verify on;
        proxy_pass https://backend;
    }
--- request eval
["GET /t?host=a.test", "GET /t?host=b.wild.test", "GET /t?host=b.test"]
--- response_body eval
["a.test 1\n", "b.wild.test 1\n", qr/502 Bad Gateway/]
--- error_code eval
[200, 200, 502]
--- error_log
upstream SSL certificate does not match "b.test"



=== TEST 2: kept connections are those of one name
--- http_config eval: $::peers
--- config
    location /t {
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_ssl_server_name on;
        proxy_pass https://backend;
    }
--- request eval
["GET /t?host=a.test&keep=1", "GET /t?host=a.test&keep=1", "GET /t?host=b.test&keep=1", "GET /t?host=a.test&keep=1"]
--- response_body eval
["a.test 1\n", "a.test 2\n", "b.test 1\n", "a.test 3\n"]



=== TEST 3: TLS off, and on again
--- http_config eval: $::peers
--- config
    location /t { proxy_pass https://backend; }
--- request eval
["GET /t?plain=1", "GET /t?host=a.test&again=1"]
--- response_body eval
["plain\n", "none 1\n"]



=== TEST 4: no TLS where nginx has prepared none
--- http_config eval: $::peers
--- config
    location /t { proxy_pass http://backend; }
--- request
GET /t?again=1
--- error_code: 500
--- error_log
the upstream has no TLS configured



=== TEST 5: a kept connection serves those only who want it as it is
--- http_config eval: $::peers
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location /any { proxy_pass https://backend/; }
    location /same { proxy_pass https://backend/; }
    location /plain { proxy_pass http://backend/; }
    location /verified {
        proxy_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
        proxy_ssl_verify on;
        proxy_pass https://backend/;
    }
--- request eval
["GET /any?host=b.test&keep=1", "GET /plain?host=b.test&keep=1", "GET /verified?host=b.test&keep=1",
 "GET /same?host=b.test&keep=1", "GET /any?host=b.test&keep=1"]
--- error_code eval
[200, 400, 502, 200, 200]
--- response_body_like eval
["^none 1\n", "plain HTTP request was sent to HTTPS port", "502 Bad Gateway", "^none [12]\n", "^none [23]\n"]
