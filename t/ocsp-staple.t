# ngx.ocsp.set_ocsp_status_resp: an OCSP answer stapled to a certificate, asked
# for in the handshake itself.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Peer;
use Test::Nginx::Puppet;

# A responder: HTTP around what openssl made before.
Test::Nginx::Peer->tcp( RESPONDER => sub {
    my ($socket) = @_;
    my $length = 0;
    while ( my $line = <$socket> ) {
        $length = $1 if $line =~ /^Content-Length: (\d+)/;
        last if $line eq "\r\n";
    }
    read( $socket, my $request, $length );
    open my $file, '<:raw', "$ENV{TEST_NGINX_CA}/ocsp.der" or die $!;
    my $answer = do { local $/; <$file> };
    print {$socket} "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\n$answer";
} );

my $common = <<'_';
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
ssl_certificate $TEST_NGINX_CA/good.pem;
ssl_certificate_key $TEST_NGINX_CA/good.key;
init_by_lua_block {
    local ffi = require "ffi"
    ffi.cdef "long SSL_ctrl(void *ssl, int cmd, long larg, void *parg);"
    -- What a server staples; nil where it staples nothing.
    function stapled(port, ...)
        local sock = ngx.socket.tcp()
        sock:settimeout(8000)
        assert(sock:connect("127.0.0.1", port))
        assert(sock:sslhandshake(...))
        local answer = ffi.new("unsigned char *[1]")
        -- SSL_get_tlsext_status_ocsp_resp
        local len = tonumber(ffi.C.SSL_ctrl(sock:getsslpointer(), 70, 0, answer))
        return len > 0 and ffi.string(answer[0], len) or nil
    end
}
_

add_block_preprocessor(
    sub {
        my ($block) = @_;
        my $own = $block->http_config;
        $block->set_value( http_config => $common . ( defined $own ? $own : '' ) );
    }
);

no_long_string();
run_tests();

__DATA__

=== TEST 1: asked for, checked and stapled, with TLS 1.3 and 1.2
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate_by_lua_file html/staple.lua;
}
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 ssl;
    ssl_protocols TLSv1.2;
    ssl_certificate_by_lua_file html/staple.lua;
}
--- user_files eval
">>> staple.lua
" . <<'_' =~ s/PORT/$ENV{TEST_NGINX_RESPONDER_PORT}/r
local ssl, ocsp, pem = require "ngx.ssl", require "ngx.ocsp", require("puppet").pem
local der = ssl.cert_pem_to_der(pem "good.pem" .. pem "root.pem")
local request = assert(ocsp.create_ocsp_request(der))
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", PORT))
assert(sock:send("POST / HTTP/1.0\r\nContent-Length: " .. #request .. "\r\n\r\n" .. request))
local answer = assert(sock:receive "*a"):match("\r\n\r\n(.*)")
assert(ocsp.validate_ocsp_response(answer, der))
local ok, warning = ocsp.set_ocsp_status_resp(answer)
ngx.log(ngx.NOTICE, "stapled: ", ok, " ", warning)
_
--- lua
local good = t.pem "ocsp.der"
for _, port in ipairs { $TEST_NGINX_RAND_PORT_1, $TEST_NGINX_RAND_PORT_2 } do
    show(stapled(port, nil, "a.test", true, true) == good)
    show(stapled(port, nil, "a.test", true))
end
--- response_body
true
nil
true
nil
--- grep_error_log eval: qr/stapled: .*?(?=,| while)/
--- grep_error_log_out
stapled: true nil
stapled: true no status req
stapled: true nil
stapled: true no status req
--- no_error_log
[error]
[alert]



=== TEST 2: in place of the configured answer; only where the code says so
--- http_config
ssl_stapling on;
ssl_stapling_file $TEST_NGINX_CA/ocsp.der;
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate_by_lua_block {
        local ocsp = require "ngx.ocsp"
        if require("ngx.ssl").server_name() == "a.test" then
            assert(ocsp.set_ocsp_status_resp("first"))
            assert(ocsp.set_ocsp_status_resp("anything"))
        end
    }
}
--- lua
local good = t.pem "ocsp.der"
show(stapled($TEST_NGINX_RAND_PORT_1, nil, "a.test", false, true))
show(stapled($TEST_NGINX_RAND_PORT_1, nil, "b.test", false, true) == good)
--- response_body
"anything"
true



=== TEST 3: arguments, and where it is called
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate_by_lua_block {
        local ocsp = require "ngx.ocsp"
        local function log(...) ngx.log(ngx.NOTICE, "result: ", ...) end
        local ok, err = ocsp.set_ocsp_status_resp("")
        log(ok, " ", err)
        local ok, err = pcall(ocsp.set_ocsp_status_resp)
        log(ok, " ", err)
    }
}
--- lua
show(stapled($TEST_NGINX_RAND_PORT_1, nil, "a.test", true, true))
fails(require("ngx.ocsp").set_ocsp_status_resp, "x")
--- response_body
nil
API disabled in the context of content_by_lua*
--- grep_error_log eval: qr/result: .*?\)?(?=, context| while)/
--- grep_error_log_out
result: nil empty OCSP response
result: false bad argument #1 to '?' (string expected, got no value)
