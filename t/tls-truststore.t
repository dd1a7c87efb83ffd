# sock:settrustedstore: an X509_STORE that Lua code made.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: arguments and states
--- lua
local ffi = require "ffi"
local store = require("x509_store").new "root.pem"
local sock = ngx.socket.tcp()
fails(sock.settrustedstore, sock, store)
sock = open("hold")
fails(function() sock:settrustedstore() end)
fails(function() sock:settrustedstore("x") end)
fails(function() sock:settrustedstore({}) end)
fails(function() sock:settrustedstore(ffi.cast("void *", 0)) end)
show(sock:settrustedstore(store))
sock:close()
show(sock:settrustedstore(store))
--- response_body
socket is never created nor connected
bad argument #1 to 'settrustedstore' (cdata expected, got nil)
bad argument #1 to 'settrustedstore' (cdata expected, got string)
bad argument #1 to 'settrustedstore' (cdata expected, got table)
bad argument #1 to 'settrustedstore' (a store of certificates expected)
true
nil "closed"



=== TEST 2: decides in place of the directive, for one handshake
--- location_config
lua_socket_log_errors off;
lua_ssl_trusted_certificate $TEST_NGINX_CA/other.pem;
--- lua
local new = require("x509_store").new
local function shake(cert, store)
    local sock = open("tls:" .. cert .. " say:x")
    if store then
        assert(sock:settrustedstore(new(store)))
        collectgarbage() collectgarbage()
    end
    show(cert, store, sock:sslhandshake(false, "a.test", true))
    return sock
end
shake("good")
shake("good", "root.pem")
shake("good")
shake("stranger")
shake("stranger", "root.pem")
shake("deep", "root.pem")
shake("under", "root.pem")
local sock = shake("good", "root.pem")
sock:connect("127.0.0.1", port)
sock:send("tls:good say:x\n")
show(sock:sslhandshake(false, "a.test", true))
--- response_body
"good" nil nil "20: unable to get local issuer certificate"
"good" "root.pem" true
"good" nil nil "20: unable to get local issuer certificate"
"stranger" nil true
"stranger" "root.pem" nil "20: unable to get local issuer certificate"
"deep" "root.pem" nil "22: certificate chain too long"
"under" "root.pem" true
"good" "root.pem" true
nil "20: unable to get local issuer certificate"



=== TEST 3: on a pooled connection, and for a resumed session
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    keepalive_timeout 10s;
    location / { return 200 "$ssl_session_reused"; }
}
--- location_config
lua_socket_log_errors off;
--- lua
local new = require("x509_store").new
local function get(sock, how)
    sock:send("GET / HTTP/1.1\r\nHost: a\r\nConnection: " .. how .. "\r\n\r\n")
    sock:receiveuntil("\r\n\r\n")()
    return sock:receive(1)
end
local function connect(store)
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
    if store then
        assert(sock:settrustedstore(new(store)))
    end
    return sock
end
local sock = connect("root.pem")
local session = assert(sock:sslhandshake(nil, "a.test", true))
show(get(sock, "keep-alive"), sock:setkeepalive())
-- The pooled connection: good for root, for no other.
sock = connect("root.pem")
show(sock:getreusedtimes(), (sock:sslhandshake(false, "a.test", true)))
show(get(sock, "keep-alive"), sock:setkeepalive())
sock = connect()
show(sock:getreusedtimes(), sock:sslhandshake(false, "a.test", true))
-- The session.
sock = connect("root.pem")
show(sock:getreusedtimes())
shook(sock:sslhandshake(session, "a.test", true))
show(get(sock, "close"))
sock = connect("other.pem")
shook(sock:sslhandshake(session, "a.test", true))
sock = connect()
shook(sock:sslhandshake(session, "a.test", true))
--- response_body
"." 1
1 true
"." 1
2 nil "20: unable to get local issuer certificate"
0
session
"r"
nil "20: unable to get local issuer certificate"
nil "20: unable to get local issuer certificate"
