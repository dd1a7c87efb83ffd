# sock:setclientcert, lua_ssl_certificate: what is shown to a peer that asks.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: arguments
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
local cert, key = ssl.parse_pem_cert(pem "client.pem"), ssl.parse_pem_priv_key(pem "client.key")
local sock = ngx.socket.tcp()
fails(sock.setclientcert, {}, cert, key)
show(sock:setclientcert(cert))
show(sock:setclientcert(cert, nil))
show(sock:setclientcert(nil, key))
show(sock:setclientcert(false, key))
show(sock:setclientcert(pem "client.pem", key))
show(sock:setclientcert(cert, pem "client.key"))
show(sock:setclientcert({}, key))
fails(function() sock:setclientcert(key, cert) end)
fails(function() sock:setclientcert(cert, cert) end)
local ffi = require "ffi"
fails(function() sock:setclientcert(ffi.cast("void *", 64), key) end)
fails(function() sock:setclientcert(ffi.new("char[1]"), key) end)
show(sock:setclientcert(nil, nil))
show(sock:setclientcert(false, false))
show(sock:setclientcert())
show(sock:setclientcert(cert, key))
--- response_body
bad argument #1 to '?' (socket object expected, got table)
nil "client certificate must be supplied with corresponding private key"
nil "client certificate must be supplied with corresponding private key"
nil "client certificate must be supplied with corresponding private key"
nil "client certificate must be supplied with corresponding private key"
nil "bad cert arg: cdata expected, got string"
nil "bad pkey arg: cdata expected, got string"
nil "bad cert arg: cdata expected, got table"
bad argument #1 to 'setclientcert' (a certificate of ngx.ssl.parse_pem_cert or parse_der_cert expected)
bad argument #2 to 'setclientcert' (a key of ngx.ssl.parse_pem_priv_key or parse_der_priv_key expected)
bad argument #1 to 'setclientcert' (a certificate of ngx.ssl.parse_pem_cert or parse_der_cert expected)
bad argument #1 to 'setclientcert' (a certificate of ngx.ssl.parse_pem_cert or parse_der_cert expected)
true
true
true
true



=== TEST 2: shown to a peer that requires one; PEM and DER; several handshakes
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
for _, version in ipairs { "1.2", "1.3" } do
    for _, cert in ipairs { ssl.parse_pem_cert(pem "client.pem"), ssl.parse_der_cert(pem "client.der") } do
        for _, key in ipairs {
            ssl.parse_pem_priv_key(pem "client.key"), ssl.parse_der_priv_key(pem "client.key.der")
        } do
            local sock = ngx.socket.tcp()
            show(sock:setclientcert(cert, key))
            sock:connect("127.0.0.1", port)
            sock:send("tls:good:" .. version .. ":client about\n")
            shook(sock:sslhandshake(false))
            show(sock:receive())
        end
    end
end
--- response_body eval
qq{true\ntrue\n"TLSv1_2 name=- client=client"\n} x 4 . qq{true\ntrue\n"TLSv1_3 name=- client=client"\n} x 4



=== TEST 3: set between connect and handshake; kept for the next connection; cleared
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
local sock = open("tls:good:1.2:client about")
show(sock:setclientcert(ssl.parse_pem_cert(pem "client.pem"), ssl.parse_pem_priv_key(pem "client.key")))
collectgarbage() collectgarbage()
shook(sock:sslhandshake(false))
show(sock:receive())
sock:connect("127.0.0.1", port)
sock:send("tls:good:1.2:client about\n")
shook(sock:sslhandshake(false))
show(sock:receive())
show(sock:setclientcert(nil, nil))
sock:connect("127.0.0.1", port)
sock:send("tls:good:1.2:client about\n")
shook(sock:sslhandshake(false))
--- response_body
true
true
"TLSv1_2 name=- client=client"
true
"TLSv1_2 name=- client=client"
true
nil "handshake failed"
--- error_log
SSL_do_handshake() failed



=== TEST 4: TLS 1.3 learns of a missing certificate when it reads
--- lua
local sock = open("tls:good:1.3:client about")
shook(sock:sslhandshake(false))
show(sock:receive())
show(sock:close())
--- response_body
true
nil "protocol error" ""
1
--- error_log
SSL_read() failed



=== TEST 5: a key that does not fit
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
local sock = open("tls:good:client about")
sock:setclientcert(ssl.parse_pem_cert(pem "client.pem"), ssl.parse_pem_priv_key(pem "rsa.key"))
show(sock:sslhandshake(false))
show(sock:close())
sock = open("tls:good:client about")
sock:setclientcert(ssl.parse_pem_cert(pem "client.pem"), ssl.parse_pem_priv_key(pem "other.key"))
show(sock:sslhandshake(false))
show(open("tls:good say:x"):sslhandshake(false))
--- response_body
nil "SSL_check_private_key() failed"
nil "closed"
nil "SSL_use_PrivateKey() failed"
true
--- error_log eval
qr/\[error\] .*SSL_use_PrivateKey\(\) failed \(SSL: error:.*mismatch/
--- no_error_log
[crit]
stale global



=== TEST 6: with its chain
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    ssl_client_certificate $TEST_NGINX_CA/root.pem;
    ssl_verify_client optional;
    ssl_verify_depth 3;
    location / { return 200 "$ssl_client_verify $ssl_client_s_dn"; }
}
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
local function who(name)
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1)
    if name then
        sock:setclientcert(ssl.parse_pem_cert(pem(name .. ".pem")), ssl.parse_pem_priv_key(pem(name .. ".key")))
    end
    assert(sock:sslhandshake(false))
    sock:send("GET / HTTP/1.0\r\n\r\n")
    return (sock:receive("*a"):match("\r\n\r\n(.*)"))
end
show(who())
show(who "client")
show(who "guest")
--- response_body
"NONE "
"SUCCESS CN=client"
"SUCCESS CN=guest"



=== TEST 7: lua_ssl_certificate; setclientcert comes first
--- location_config
lua_ssl_certificate $TEST_NGINX_CA/client.pem;
lua_ssl_certificate_key $TEST_NGINX_CA/client.key;
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
local sock = open("tls:good:client about")
shook(sock:sslhandshake(false))
show(sock:receive())
sock = open("tls:good:1.2:client about")
sock:setclientcert(ssl.parse_pem_cert(pem "self.pem"), ssl.parse_pem_priv_key(pem "self.key"))
show(sock:sslhandshake(false))
--- response_body
true
"TLSv1_3 name=- client=client"
nil "handshake failed"
--- error_log
SSL_do_handshake() failed
