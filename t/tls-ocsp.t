# sslhandshake(_, _, _, true): the request for a stapled OCSP answer.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: the answer comes if it is asked for
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    ssl_stapling on;
    ssl_stapling_file $TEST_NGINX_CA/ocsp.der;
    location / { return 200 "ok"; }
}
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
--- lua
local ffi, pem = require "ffi", require("puppet").pem
ffi.cdef "long SSL_ctrl(void *ssl, int cmd, long larg, void *parg);"
local function stapled(...)
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1)
    assert(sock:sslhandshake(...))
    local answer = ffi.new("unsigned char *[1]")
    -- SSL_get_tlsext_status_ocsp_resp
    local len = tonumber(ffi.C.SSL_ctrl(sock:getsslpointer(), 70, 0, answer))
    return len > 0 and ffi.string(answer[0], len) == pem "ocsp.der"
end
show(stapled(nil, "a.test", true, true))
show(stapled(nil, "a.test", true))
show(stapled(nil, "a.test", false, true))
show(stapled(false, nil, nil, false))
--- response_body
true
false
true
false



=== TEST 2: a server that has none
--- lua
local sock = open("tls:good say:x hold")
shook(sock:sslhandshake(false, "a.test", false, true))
show(sock:receive(1))
--- response_body
true
"x"
