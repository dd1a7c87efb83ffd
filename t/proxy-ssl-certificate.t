# proxy_ssl_certificate_by_lua*: a certificate for the handshake with the server
# of proxy_pass, chosen while that handshake waits.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Peer;
use Test::Nginx::Puppet;

our $has_redis = Test::Nginx::Peer->has('redis-server');
Test::Nginx::Peer->redis if $has_redis;

# A server that wants a certificate and tells whose it got; one for each version.
my $upstreams = "proxy_ssl_protocols TLSv1.2 TLSv1.3;\n" . join '', map {
    my ( $n, $protocols ) = @$_;
    <<"_"
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_$n ssl;
    ssl_protocols $protocols;
    ssl_certificate \$TEST_NGINX_CA/good.pem;
    ssl_certificate_key \$TEST_NGINX_CA/good.key;
    ssl_client_certificate \$TEST_NGINX_CA/root.pem;
    ssl_verify_client optional;
    ssl_verify_depth 3;
    location / {
        return 200 "\$ssl_protocol \$ssl_client_verify \$ssl_client_s_dn \$connection_requests \$ssl_session_reused\\n";
    }
}
_
} ( [ 1, 'TLSv1.3' ], [ 2, 'TLSv1.2' ] );

add_block_preprocessor(
    sub {
        my ($block) = @_;
        my $http = $block->http_config;
        $block->set_value( http_config => "$http\n$upstreams" );
        $block->set_value( no_error_log => "[error]\n[crit]\n[alert]" )
            if !grep { defined $block->$_ } qw( error_log no_error_log );
    }
);

no_long_string();
run_tests();

__DATA__

=== TEST 1: a certificate, with TLS 1.3 and 1.2
--- config
location = /13 {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        local ssl, cert = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        local pem = require("puppet").pem
        local set, key = cert.set_cert(ssl.parse_pem_cert(pem "client.pem")), cert.set_priv_key(ssl.parse_pem_priv_key(pem "client.key"))
        ngx.log(ngx.NOTICE, "phase: ", ngx.get_phase(), " ", ngx.var.uri, " ", set, " ", key)
    }
}
location = /12 {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    proxy_ssl_certificate_by_lua '
        local ssl, cert = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        local pem = require("puppet").pem
        assert(cert.set_der_cert(ssl.cert_pem_to_der(pem "guest.pem")))
        assert(cert.set_der_priv_key(ssl.priv_key_pem_to_der(pem "guest.key")))
    ';
}
--- request eval
[ 'GET /13', 'GET /12', 'GET /13' ]
--- response_body eval
[ "TLSv1.3 SUCCESS CN=client 1 .\n", "TLSv1.2 SUCCESS CN=guest 1 .\n", "TLSv1.3 SUCCESS CN=client 1 .\n" ]
--- error_log
phase: proxy_ssl_cert /13 true true
while SSL handshaking to upstream



=== TEST 2: from Redis, meanwhile
--- skip_eval: 3: !$main::has_redis
--- http_config
init_by_lua_block {
    function from_redis()
        local redis, ssl, cert = require "resty.redis", require "ngx.ssl", require "ngx.ssl.proxysslcert"
        local red = redis:new()
        assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
        local name = ngx.var.arg_name
        ngx.sleep(0.05)
        local pem, key = red:get(name .. ".pem"), red:get(name .. ".key")
        assert(red:set_keepalive())
        assert(cert.set_cert(ssl.parse_pem_cert(pem)))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(key)))
    end
}
--- config
location = /fill {
    content_by_lua_block {
        local red = require("resty.redis"):new()
        assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
        for _, name in ipairs { "client.pem", "client.key", "guest.pem", "guest.key" } do
            red:set(name, require("puppet").pem(name))
        end
        ngx.say("filled")
    }
}
location = /13 {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block { from_redis() }
}
location = /12 {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
    proxy_ssl_certificate_by_lua_block { from_redis() }
}
--- request eval
[ 'GET /fill', 'GET /13?name=client', 'GET /12?name=guest', 'GET /13?name=guest', 'GET /12?name=client' ]
--- response_body eval
[ "filled\n", "TLSv1.3 SUCCESS CN=client 1 .\n", "TLSv1.2 SUCCESS CN=guest 1 .\n",
    "TLSv1.3 SUCCESS CN=guest 1 .\n", "TLSv1.2 SUCCESS CN=client 1 .\n" ]



=== TEST 3: beside the configured one, in place of it, or none
--- config
proxy_ssl_certificate $TEST_NGINX_CA/client.pem;
proxy_ssl_certificate_key $TEST_NGINX_CA/client.key;
location = /kept {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block { ngx.sleep(0.01) }
}
location = /cleared {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        ngx.sleep(0.01)
        local ok, err = require("ngx.ssl.proxysslcert").clear_certs()
        ngx.log(ngx.NOTICE, "cleared: ", ok, " ", err)
    }
}
location = /replaced {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        local ssl, cert = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        local pem = require("puppet").pem
        assert(cert.set_cert(ssl.parse_pem_cert(pem "guest.pem")))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(pem "guest.key")))
    }
}
# The same settings of nginx's, and no code.
location = /plain {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
}
--- request eval
[ map {"GET /$_"} qw( kept cleared replaced plain plain replaced ) ]
--- response_body eval
[ "TLSv1.3 SUCCESS CN=client 1 .\n", "TLSv1.3 NONE  1 .\n", "TLSv1.3 SUCCESS CN=guest 1 .\n",
    "TLSv1.3 SUCCESS CN=client 1 .\n", "TLSv1.3 SUCCESS CN=client 1 r\n", "TLSv1.3 SUCCESS CN=guest 1 .\n" ]
--- error_log
cleared: true nil



=== TEST 4: what cannot be presented
--- config
location = /t {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        local ssl, cert = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        local pem = require("puppet").pem
        local function show(...)
            local ok, err = pcall(...)
            ngx.log(ngx.NOTICE, "result: ", ok, " ", err)
        end
        local function try(f, ...)
            local ok, err = f(...)
            ngx.log(ngx.NOTICE, "result: ", ok, " ", err)
        end
        try(cert.set_cert, ssl.parse_pem_cert(pem "client.pem"))
        try(cert.set_priv_key, ssl.parse_pem_priv_key(pem "root.key"))
        try(cert.set_der_cert, "junk")
        try(cert.set_der_priv_key, "junk")
        show(cert.set_cert, ssl.parse_pem_priv_key(pem "rsa.key"))
        show(cert.set_priv_key, "key")
        show(cert.set_der_cert, nil)
    }
}
--- request
GET /t
--- response_body eval
"TLSv1.3 NONE  1 .\n"
--- grep_error_log eval: qr/result: .*?(?= while)/
--- grep_error_log_out
result: true nil
result: nil SSL_use_PrivateKey() failed
result: nil d2i_X509_bio() failed
result: nil d2i_PrivateKey_bio() failed
result: false bad argument #1 to '?' (a certificate of ngx.ssl.parse_pem_cert or parse_der_cert expected)
result: false bad argument #1 to '?' (cdata expected, got string)
result: false bad argument #1 to '?' (string expected, got nil)



=== TEST 5: a Lua error, ngx.exit, a file that is not there
--- config
location = /error {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block { ngx.sleep(0.01) error("no luck") }
}
location = /at-once {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block { error("at once") }
}
location = /exit {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block { ngx.sleep(0.01) ngx.exit(ngx.ERROR) ngx.log(ngx.ALERT, "not reached") }
}
location = /ok {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block { ngx.exit(ngx.OK) error("not reached") }
}
location = /nofile {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_file html/none.lua;
}
location = /file {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_file html/$arg_name.lua;
}
--- user_files
>>> exit.lua
ngx.log(ngx.NOTICE, "the file ran")
ngx.exit(ngx.ERROR)
--- request eval
[ map {"GET /$_"} qw( error at-once exit ok nofile file?name=exit ) ]
--- error_code eval
[ 502, 502, 502, 200, 502, 502 ]
--- response_body_like eval
[ ( '502 Bad Gateway' ) x 3, '^TLSv1.3 NONE', ( '502 Bad Gateway' ) x 2 ]
--- error_log eval
[ qr/lua entry thread aborted: runtime error: proxy_ssl_certificate_by_lua\(nginx.conf:\d+\):1: no luck\n/,
    qr/runtime error: .*: at once\n/, 'stack traceback:', qr{cannot open .*html/none.lua}, 'the file ran' ]



=== TEST 6: the next server is tried, with the code run anew
--- http_config
upstream two {
    server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    server 127.0.0.1:$TEST_NGINX_RAND_PORT_2;
}
--- config
location = /t {
    proxy_pass https://two;
    proxy_ssl_certificate_by_lua_block {
        ngx.ctx.tries = (ngx.ctx.tries or 0) + 1
        ngx.log(ngx.NOTICE, "try ", ngx.ctx.tries)
        ngx.sleep(0.01)
        if ngx.ctx.tries == 1 then
            ngx.exit(ngx.ERROR)
        end
        local ssl, cert = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        local pem = require("puppet").pem
        assert(cert.set_cert(ssl.parse_pem_cert(pem "client.pem")))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(pem "client.key")))
    }
}
--- request
GET /t
--- response_body
TLSv1.2 SUCCESS CN=client 1 .
--- grep_error_log eval: qr/try \d/
--- grep_error_log_out
try 1
try 2



=== TEST 7: a connection that is kept alive is asked for once
--- http_config
upstream kept {
    server 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    keepalive 4;
}
--- config
location = /t {
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_pass https://kept;
    proxy_ssl_certificate_by_lua_block {
        ngx.sleep(0.01)
        ngx.log(ngx.NOTICE, "asked")
        local ssl, cert = require "ngx.ssl", require "ngx.ssl.proxysslcert"
        local pem = require("puppet").pem
        assert(cert.set_cert(ssl.parse_pem_cert(pem "client.pem")))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(pem "client.key")))
    }
}
--- request eval
[ ('GET /t') x 3 ]
--- response_body eval
[ map {"TLSv1.3 SUCCESS CN=client $_ .\n"} 1 .. 3 ]
--- grep_error_log eval: qr/asked/
--- grep_error_log_out eval
[ "asked\n", '', '' ]



=== TEST 8: the code takes longer than proxy_connect_timeout
--- config
location = /t {
    proxy_connect_timeout 200ms;
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_PUPPET_PORT))
        sock:send("hold\n")
        sock:receive()
        ngx.log(ngx.ALERT, "not reached")
    }
}
--- request
GET /t
--- error_code: 504
--- response_body_like: 504 Gateway Time-out
--- error_log
upstream timed out
--- no_error_log
[alert]



=== TEST 9: the client goes while the code waits
--- config
location = /t {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        ngx.log(ngx.NOTICE, "waits")
        ngx.sleep(1)
        ngx.log(ngx.ALERT, "not reached")
    }
}
--- request
GET /t
--- timeout: 0.3
--- abort
--- ignore_response
--- wait: 1
--- error_log
waits
client prematurely closed connection
--- no_error_log
[alert]
not reached
