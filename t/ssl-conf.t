# Where the directives of TLS handshakes may stand, and what is checked of them.
use Test::Nginx::Socket::Lua;
use Test::Nginx::CA;

plan tests => blocks() * 2;

no_long_string();
run_tests();

__DATA__

=== TEST 1: certificates are those of a server
--- http_config
ssl_certificate_by_lua_block { ngx.exit(ngx.OK) }
--- config
--- must_die
--- error_log
"ssl_certificate_by_lua_block" directive is not allowed here



=== TEST 2: sessions are fetched before there is a virtual server
--- config
ssl_session_fetch_by_lua_block { ngx.exit(ngx.OK) }
--- must_die
--- error_log
"ssl_session_fetch_by_lua_block" directive is not allowed here



=== TEST 3: and stored for any
--- config
ssl_session_store_by_lua_file store.lua;
--- must_die
--- error_log
"ssl_session_store_by_lua_file" directive is not allowed here



=== TEST 4: a location is known too late
--- config
location = /t {
    ssl_client_hello_by_lua 'ngx.exit(ngx.OK)';
}
--- must_die
--- error_log
"ssl_client_hello_by_lua" directive is not allowed here



=== TEST 5: a server without TLS
--- config
ssl_certificate_by_lua_block { ngx.exit(ngx.OK) }
--- must_die
--- error_log
no ssl configured for the server



=== TEST 6: nginx wants a certificate of its own
--- config
listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
ssl_certificate_by_lua_block { ngx.exit(ngx.OK) }
--- must_die
--- error_log
no "ssl_certificate" is defined



=== TEST 7: twice
--- config
listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
ssl_certificate $TEST_NGINX_CA/good.pem;
ssl_certificate_key $TEST_NGINX_CA/good.key;
ssl_certificate_by_lua_block { ngx.exit(ngx.OK) }
ssl_certificate_by_lua_file cert.lua;
--- must_die
--- error_log
"ssl_certificate_by_lua_file" directive is duplicate



=== TEST 8: handshakes of servers without TLS are nobody's
--- http_config
ssl_client_hello_by_lua_block { error("not here") }
ssl_session_fetch_by_lua_block { error("not here") }
ssl_session_store_by_lua_block { error("not here") }
--- config
location = /t { return 200 "plain\n"; }
--- request
GET /t
--- response_body
plain
