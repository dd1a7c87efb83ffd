# proxy_ssl_verify_by_lua*: Lua judges the certificate of the server of
# proxy_pass; nothing goes out to that before it has.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

# A server with a good certificate, one with one that nobody knows.
my $http = join '', "proxy_ssl_protocols TLSv1.2 TLSv1.3;\nproxy_ssl_name a.test;\n", map {
    my ( $n, $name, $protocols ) = @$_;
    <<"_"
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_$n ssl;
    ssl_protocols $protocols;
    ssl_certificate \$TEST_NGINX_CA/$name.pem;
    ssl_certificate_key \$TEST_NGINX_CA/$name.key;
    ssl_client_certificate \$TEST_NGINX_CA/root.pem;
    ssl_verify_client optional;
    location / {
        return 200 "\$ssl_protocol \$ssl_client_verify \$ssl_session_reused\\n";
    }
}
_
} ( [ 1, 'good', 'TLSv1.3' ], [ 2, 'good', 'TLSv1.2' ], [ 3, 'stranger', 'TLSv1.3' ], [ 4, 'cn', 'TLSv1.2' ] );

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( http_config => $block->http_config . "\n$http" );
        $block->set_value( no_error_log => "[error]\n[crit]\n[alert]" )
            if !grep { defined $block->$_ } qw( error_log no_error_log );
    }
);

no_long_string();
run_tests();

__DATA__

=== TEST 1: what the code sees
--- config
location ~ ^/(?<port>\d+) {
    proxy_pass https://127.0.0.1:$port/;
    proxy_ssl_verify_by_lua_block {
        local ffi, verify = require "ffi", require "ngx.ssl.proxysslverify"
        pcall(ffi.cdef, "char *X509_NAME_oneline(void *name, char *buf, int size); void *X509_get_issuer_name(void *x509);")
        local cert = verify.get_verify_cert()
        local buffer = ffi.new "char[200]"
        ffi.C.X509_NAME_oneline(ffi.C.X509_get_issuer_name(cert), buffer, 200)
        ngx.log(ngx.NOTICE, "seen: ", ngx.get_phase(), " ", type(cert), " ", ffi.string(buffer), " ", verify.get_verify_result())
    }
}
--- request eval
[ map {"GET /\$TEST_NGINX_RAND_PORT_$_"} 1 .. 3 ]
--- response_body eval
[ "TLSv1.3 NONE .\n", "TLSv1.2 NONE .\n", "TLSv1.3 NONE .\n" ]
--- grep_error_log eval: qr/seen: .*?(?= while)/
--- grep_error_log_out
seen: proxy_ssl_verify cdata /CN=root 20
seen: proxy_ssl_verify cdata /CN=root 20
seen: proxy_ssl_verify cdata /CN=other 20



=== TEST 2: the verdict, waited for
--- config
location = /good {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_verify_by_lua_block {
        local verify = require "ngx.ssl.proxysslverify"
        ngx.sleep(0.02)
        assert(verify.set_verify_result(0))
        assert(verify.get_verify_result() == 0)
    }
}
location = /good12 {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    proxy_ssl_verify_by_lua '
        ngx.sleep(0.02)
        require "ngx.ssl.proxysslverify".set_verify_result(0)
    ';
}
location = /bad {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_verify_by_lua_block {
        ngx.sleep(0.02)
        require "ngx.ssl.proxysslverify".set_verify_result(23)
    }
}
location = /bad12 {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    proxy_ssl_verify_by_lua_file html/bad.lua;
}
--- user_files
>>> bad.lua
require "ngx.ssl.proxysslverify".set_verify_result(50)
--- request eval
[ map {"GET /$_"} qw( good good12 bad bad12 good bad ) ]
--- error_code eval
[ 200, 200, 502, 502, 200, 502 ]
--- response_body_like eval
[ '^TLSv1.3 NONE \.$', '^TLSv1.2 NONE \.$', '502', '502', '^TLSv1.3 NONE \.$', '502' ]
--- grep_error_log eval: qr/upstream SSL certificate verify error: .*?(?= while)|peer closed connection in SSL handshake/
--- grep_error_log_out
upstream SSL certificate verify error: (23:certificate revoked)
peer closed connection in SSL handshake
upstream SSL certificate verify error: (50:application verification failure)
peer closed connection in SSL handshake
upstream SSL certificate verify error: (23:certificate revoked)
peer closed connection in SSL handshake
--- no_error_log
[alert]
[crit]



=== TEST 3: beside nginx's own verification
--- config
proxy_ssl_verify on;
proxy_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
location = /silent-good {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_verify_by_lua_block { ngx.log(ngx.NOTICE, "found ", require "ngx.ssl.proxysslverify".get_verify_result(), ".") }
}
location = /silent-bad {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_3;
    proxy_ssl_verify_by_lua_block { ngx.sleep(0.01) ngx.log(ngx.NOTICE, "found ", require "ngx.ssl.proxysslverify".get_verify_result(), ".") }
}
location = /forgiven {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_3;
    proxy_ssl_verify_by_lua_block { ngx.sleep(0.01) require "ngx.ssl.proxysslverify".set_verify_result(0) }
}
location = /other-name {
    proxy_ssl_name b.test;
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_3;
    proxy_ssl_verify_by_lua_block { ngx.sleep(0.01) require "ngx.ssl.proxysslverify".set_verify_result(0) }
}
location = /condemned {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_verify_by_lua_block { ngx.sleep(0.01) require "ngx.ssl.proxysslverify".set_verify_result(28) }
}
# The same settings of nginx's, and no code.
location = /plain-good {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
}
location = /plain-bad {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_3;
}
--- request eval
[ map {"GET /$_"} qw( silent-good silent-bad forgiven other-name condemned plain-good plain-good plain-bad ) ]
--- error_code eval
[ 200, 502, 200, 502, 502, 200, 200, 502 ]
--- response_body_like eval
[ '^TLSv1.3 NONE \.$', 502, '^TLSv1.3 NONE \.$', 502, 502, '^TLSv1.3 NONE \.$', '^TLSv1.3 NONE r$', 502 ]
--- grep_error_log eval: qr/found \d+|upstream SSL certificate (?:verify error: .*?|does not match ".*?")(?= while)/
--- grep_error_log_out
found 0
found 21
upstream SSL certificate verify error: (21:unable to verify the first certificate)
upstream SSL certificate does not match "b.test"
upstream SSL certificate verify error: (28:certificate rejected)
upstream SSL certificate verify error: (21:unable to verify the first certificate)
--- no_error_log
[alert]
[crit]



=== TEST 4: a Lua error, ngx.exit
--- config
location = /error {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_verify_by_lua_block { ngx.sleep(0.01) error("no luck") }
}
location = /exit {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    proxy_ssl_verify_by_lua_block { ngx.exit(ngx.ERROR) }
}
location = /ok {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    proxy_ssl_verify_by_lua_block { ngx.exit(ngx.OK) error("not reached") }
}
--- request eval
[ map {"GET /$_"} qw( error exit ok ) ]
--- error_code eval
[ 502, 502, 200 ]
--- response_body_like eval
[ 502, 502, '^TLSv1.2 NONE \.$' ]
--- error_log eval
[ qr/lua entry thread aborted: runtime error: proxy_ssl_verify_by_lua\(nginx.conf:\d+\):1: no luck\n/ ]
--- no_error_log
[alert]
not reached



=== TEST 5: a certificate and a verdict in one handshake
--- config
location ~ ^/(?<port>\d+) {
    proxy_pass https://127.0.0.1:$port;
    proxy_ssl_certificate_by_lua_block {
        ngx.sleep(0.02)
        local ssl, cert = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        local pem = require("puppet").pem
        assert(cert.set_cert(ssl.parse_pem_cert(pem "client.pem")))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(pem "client.key")))
        ngx.ctx.chosen = true
    }
    proxy_ssl_verify_by_lua_block {
        ngx.sleep(0.02)
        assert(ngx.ctx.chosen)
        require "ngx.ssl.proxysslverify".set_verify_result(tonumber(ngx.var.arg_result))
    }
}
--- request eval
[ map { ( "GET /\$TEST_NGINX_RAND_PORT_$_?result=0", "GET /\$TEST_NGINX_RAND_PORT_$_?result=1" ) } 1, 2 ]
--- error_code eval
[ 200, 502, 200, 502 ]
--- response_body_like eval
[ '^TLSv1.3 SUCCESS \.$', 502, '^TLSv1.2 SUCCESS \.$', 502 ]
--- no_error_log
[alert]
[crit]



=== TEST 6: kept alive: judged once; the next server where one is bad
--- http_config
upstream some {
    server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    keepalive 4;
}
--- config
location = /t {
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_pass https://some;
    proxy_ssl_verify_by_lua_block {
        local verify = require "ngx.ssl.proxysslverify"
        ngx.sleep(0.01)
        ngx.ctx.judged = (ngx.ctx.judged or 0) + 1
        ngx.log(ngx.NOTICE, "judged ", ngx.ctx.judged, ".")
        verify.set_verify_result(ngx.ctx.judged == 1 and 1 or 0)
    }
}
--- request eval
[ ('GET /t') x 3 ]
--- response_body_like eval
[ ('^TLSv1.2 NONE') x 3 ]
--- grep_error_log eval: qr/judged \d/
--- grep_error_log_out
judged 1
judged 2
--- no_error_log
[alert]
[crit]



=== TEST 7: longer than proxy_connect_timeout; the client goes
--- config
location = /slow {
    proxy_connect_timeout 200ms;
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_verify_by_lua_block { ngx.sleep(5) ngx.log(ngx.ALERT, "not reached") }
}
location = /gone {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    proxy_ssl_verify_by_lua_block { ngx.log(ngx.NOTICE, "waits") ngx.sleep(1) ngx.log(ngx.ALERT, "not reached") }
}
location = /t {
    content_by_lua_block {
        local function get(uri, timeout)
            local sock = ngx.socket.tcp()
            sock:settimeout(timeout)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET " .. uri .. " HTTP/1.0\r\n\r\n")
            ngx.say(sock:receive())
            sock:close()
        end
        get("/slow", 3000)
        get("/gone", 200)
        ngx.sleep(1.2)
    }
}
--- request
GET /t
--- response_body
HTTP/1.1 504 Gateway Time-out
niltimeout
--- error_log
upstream timed out
waits
client prematurely closed connection
--- no_error_log
[alert]
not reached



=== TEST 8: a server that shows no certificate
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
    ssl_protocols TLSv1.2;
    ssl_ciphers "AECDH@SECLEVEL=0";
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    location / { return 200 "anonymous\n"; }
}
proxy_ssl_ciphers "AECDH@SECLEVEL=0";
--- config
location = /judged {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    proxy_ssl_verify_by_lua_block { require "ngx.ssl.proxysslverify".set_verify_result(0) }
}
location = /plain {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_5;
}
--- request eval
[ 'GET /plain', 'GET /judged' ]
--- error_code eval
[ 200, 502 ]
--- response_body_like eval
[ '^anonymous', '502' ]
--- error_log
upstream SSL certificate verify error: there is no certificate while SSL handshaking to upstream
--- no_error_log
[alert]
