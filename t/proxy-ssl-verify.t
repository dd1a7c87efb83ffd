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
proxy_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
location ~ ^/(?<seen>verified|plain)/(?<port>\d+) {
    set $verify $seen;
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
[ map {"GET /plain/\$TEST_NGINX_RAND_PORT_$_"} 1 .. 3 ]
--- response_body eval
[ "TLSv1.3 NONE .\n", "TLSv1.2 NONE .\n", "TLSv1.3 NONE .\n" ]
--- grep_error_log eval: qr/seen: .*?(?= while)/
--- grep_error_log_out eval
[ "seen: proxy_ssl_verify cdata /CN=root 20\n", "seen: proxy_ssl_verify cdata /CN=root 20\n", "seen: proxy_ssl_verify cdata /CN=other 20\n" ]



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
    proxy_ssl_verify_by_lua_block {
        ngx.sleep(0.02)
        require "ngx.ssl.proxysslverify".set_verify_result(0)
    }
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
    proxy_ssl_verify_by_lua_block { require "ngx.ssl.proxysslverify".set_verify_result(50) }
}
--- request eval
[ map {"GET /$_"} qw( good good12 bad bad12 good bad ) ]
--- error_code eval
[ 200, 200, 502, 502, 200, 502 ]
--- response_body_like eval
[ '^TLSv1.3 NONE \.$', '^TLSv1.2 NONE \.$', '502', '502', '^TLSv1.3 NONE \.$', '502' ]
--- grep_error_log eval: qr/upstream SSL certificate verify error: .*?(?= while)/
--- grep_error_log_out eval
[ '', '', "upstream SSL certificate verify error: (23:certificate revoked)\n",
    "upstream SSL certificate verify error: (50:application verification failure)\n", '',
    "upstream SSL certificate verify error: (23:certificate revoked)\n" ]
