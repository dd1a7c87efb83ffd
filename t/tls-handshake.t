# sock:sslhandshake: arguments, results, SNI, who may call it and when.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: arguments
--- lua
local sock = open("tls:good say:x")
fails(sock.sslhandshake)
fails(sock.sslhandshake, sock, nil, nil, nil, nil, nil)
fails(sock.sslhandshake, "x")
fails(sock.sslhandshake, {})
fails(function() sock:sslhandshake("a.test") end)
fails(function() sock:sslhandshake(io.stdout) end)
fails(function() sock:sslhandshake(nil, {}) end)
fails(function() sock:sslhandshake(nil, true) end)
shook(sock:sslhandshake())
show(sock:receive(1))
--- response_body
ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen 0
ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen 6
bad argument #1 to '?' (socket object expected, got string)
bad argument #1 to '?' (socket object expected, got table)
bad argument #1 to 'sslhandshake' (session expected, got string)
bad argument #1 to 'sslhandshake' (session expected, got userdata)
bad argument #2 to 'sslhandshake' (string expected, got table)
bad argument #2 to 'sslhandshake' (string expected, got boolean)
session
"x"



=== TEST 2: false as session: true comes back
--- lua
for _, version in ipairs { "1.2", "1.3" } do
    local sock = open("tls:good:" .. version .. " about")
    shook(sock:sslhandshake(false))
    show(sock:receive())
    sock = open("tls:good:" .. version .. " about")
    shook(sock:sslhandshake(nil))
    show(sock:receive())
    sock = open("tls:good:" .. version .. " about")
    shook(sock:sslhandshake(true))
    show(sock:receive())
end
--- response_body
true
"TLSv1_2 name=- client=-"
session
"TLSv1_2 name=- client=-"
session
"TLSv1_2 name=- client=-"
true
"TLSv1_3 name=- client=-"
session
"TLSv1_3 name=- client=-"
session
"TLSv1_3 name=- client=-"



=== TEST 3: SNI: names, but no addresses
--- lua
for _, name in ipairs { "a.test", "", "127.0.0.1", "::1", "[::1]", 12, ("a"):rep(255) } do
    local sock = open("tls:good about")
    shook(sock:sslhandshake(false, name))
    local line = sock:receive()
    show((line:gsub("a+ ", "a... ")))
end
--- response_body
true
"TLSv1_3 name=a.test client=-"
true
"TLSv1_3 name=- client=-"
true
"TLSv1_3 name=- client=-"
true
"TLSv1_3 name=- client=-"
true
"TLSv1_3 name=- client=-"
true
"TLSv1_3 name=12 client=-"
true
"TLSv1_3 name=a... client=-"



=== TEST 4: a name that OpenSSL refuses; the socket is closed
--- lua
local sock = open("tls:good about")
show(sock:sslhandshake(false, ("a"):rep(256)))
show(sock:close())
show(sock:sslhandshake())
--- response_body
nil "SSL_set_tlsext_host_name() failed"
nil "closed"
nil "closed"
--- error_log
SSL_set_tlsext_host_name() failed (SSL: error:
--- no_error_log
[crit]
[alert]
stale global



=== TEST 5: never connected, closed, closed by the peer
--- lua
local sock = ngx.socket.tcp()
fails(sock.sslhandshake, sock)
sock = open("hold")
sock:close()
show(sock:sslhandshake())
sock:connect("127.0.0.1", 1)
show(sock:sslhandshake())
for _, method in ipairs { "receive", "setkeepalive" } do
    sock = open("half hold")
    ngx.sleep(0.05)
    show(sock[method](sock))
    show(sock:sslhandshake())
    show(sock:close())
end
--- response_body
socket is never created nor connected
nil "closed"
nil "closed"
nil "closed" ""
nil "closed"
1
nil "closed"
nil "closed"
1
--- error_log
connect() failed



=== TEST 6: a socket of another request
--- config
location = /first {
    content_by_lua_block {
        local sock = require("puppet").open("tls:good hold")
        package.loaded.kept = sock
        ngx.say("kept")
    }
}
location = /second {
    content_by_lua_block {
        local t, sock = require "puppet", package.loaded.kept
        t.show(sock:sslhandshake())
        t.show(sock:settrustedstore(require("ffi").cast("void *", 0)))
        t.show(sock:getsslpointer())
    }
}
--- request eval
[ 'GET /first', 'GET /second' ]
--- response_body eval
[ "kept\n", qq{nil "bad request"\nnil "bad request"\nnil "closed"\n} ]



=== TEST 7: with TLS already: at once; name and verification are checked
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
--- lua
local sock = open("tls:good line say:x%0A hold")
shook(sock:sslhandshake(nil, "a.test"))
shook(sock:sslhandshake())
shook(sock:sslhandshake(false))
shook(sock:sslhandshake(false, "a.test", true))
shook(sock:sslhandshake(nil, "b.wild.test", true))
sock:send("go\n")
show(sock:receive())
show(sock:sslhandshake(nil, "b.test", true))
show(sock:receive())
--- response_body
session
session
true
true
session
"x"
nil "certificate host mismatch"
nil "closed"



=== TEST 8: data that came in plaintext never count as received over TLS
--- location_config
lua_socket_log_errors off;
--- lua
local sock = open("say:220%20ready%0AINJECTED%0A wait:0.1 tls:good hold")
ngx.sleep(0.05)
show(sock:receive())
show(sock:sslhandshake(false))
show(sock:receive())
--- response_body
"220 ready"
nil "unread data in buffer"
nil "closed"



=== TEST 9: after a dialogue in plaintext
--- lua
local sock = open("say:220%20ready%0A line tls:good say:secret%0A")
show(sock:receive())
show(sock:send("STARTTLS\n"))
shook(sock:sslhandshake(false))
show(sock:receive())
show(sock:receive())
--- response_body
"220 ready"
9
true
"secret"
nil "closed" ""



=== TEST 10: the handshake is under the connect timeout
--- location_config
lua_socket_log_errors off;
--- lua
local sock = open("wait:5 tls:good")
sock:settimeouts(100, 5000, 5000)
local t = require "puppet"
local seconds, ok, err = t.timed(sock.sslhandshake, sock, false)
show(t.about(seconds, 0.1), ok, err)
show(sock:close())
--- response_body
"about 0.1" nil "timeout"
nil "closed"



=== TEST 11: a slow handshake has all the time it needs; later reads have their own timeout
--- lua
local t = require "puppet"
local sock = open("wait:0.3 tls:good wait:1.5 say:x%0A")
sock:settimeouts(6000, 6000, 200)
shook(sock:sslhandshake(false))
local seconds, line, err = t.timed(sock.receive, sock)
show(t.about(seconds, 0.2), line, err)
sock:settimeout(10000)
show(sock:receive())
--- response_body
true
"about 0.2" nil "timeout"
"x"
--- error_log
lua tcp socket read timed out



=== TEST 12: over a unix socket
--- http_config
server {
    listen unix:$TEST_NGINX_HTML_DIR/tls.sock ssl;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    location / { return 200 "name $ssl_server_name\n"; }
}
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/tls.sock"))
shook(sock:sslhandshake(false, "a.test", true))
sock:send("GET / HTTP/1.0\r\n\r\n")
show((sock:receive("*a"):match("\r\n\r\n(.*)")))
--- response_body
true
"name a.test\n"



=== TEST 13: many at once, each with its own outcome
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate $TEST_NGINX_CA/rsa.pem;
    ssl_certificate_key $TEST_NGINX_CA/rsa.key;
    location / { return 200 "ok"; }
}
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
--- lua
local fds = require("puppet").fds
local before
for round = 1, 2 do
    for i = 1, 50 do
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
        assert(sock:sslhandshake(false, "a.test", true))
        if i % 2 == 0 then sock:close() end
        if i % 10 == 0 then collectgarbage() end
    end
    collectgarbage()
    before = before or fds()
end
show(fds() <= before + 2)
--- response_body
true



=== TEST 14: the object may be held nowhere else while it waits
--- config
location = /collect { content_by_lua_block { collectgarbage() collectgarbage() } }
--- lua
local function collect_soon()
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET /collect HTTP/1.0\r\n\r\n")
    return sock
end
local sock = collect_soon()
shook((open("wait:0.3 tls:good")):sslhandshake(false))
--- response_body
true
