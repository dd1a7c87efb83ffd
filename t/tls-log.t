# What error.log says about TLS, and that lua_socket_log_errors off silences it.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: verification
--- lua
show(open("tls:good say:x"):sslhandshake(false, "a.test", true))
show(open("tls:self say:x"):sslhandshake(false, "a.test", true))
--- response_body
nil "20: unable to get local issuer certificate"
nil "18: self-signed certificate"
--- grep_error_log eval
qr/\[error\] [^\[]*lua ssl certificate [^,]*/
--- grep_error_log_out eval
qr/\A[^\n]*lua ssl certificate verify error: \(20: unable to get local issuer certificate\)\n[^\n]*lua ssl certificate verify error: \(18: self-signed certificate\)\n\z/



=== TEST 2: another host
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
--- lua
show(open("tls:good say:x"):sslhandshake(false, "b.test", true))
--- response_body
nil "certificate host mismatch"
--- error_log
[error]
lua ssl certificate does not match host "b.test"
client: 127.0.0.1, server: localhost, request: "GET /t HTTP/1.1"



=== TEST 3: too late
--- lua
local sock = open("hold")
sock:settimeout(50)
show(sock:sslhandshake())
--- response_body
nil "timeout"
--- error_log
lua ssl handshake timed out



=== TEST 4: what nginx says about a connection
--- lua
show(open("say:HTTP/1.1%20400%0D%0A hold"):sslhandshake())
show(open("wait:0"):sslhandshake())
--- response_body
nil "handshake failed"
nil "handshake failed"
--- error_log
SSL_do_handshake() failed (SSL: error:
peer closed connection in SSL handshake



=== TEST 5: all of it off, whichever handler had the connection before
--- config
location = /loud {
    content_by_lua_block {
        local sock = require("puppet").open("tls:good:1.2 line reset cut", { pool = "p" })
        assert(sock:sslhandshake(false))
        ngx.say(sock:setkeepalive())
    }
}
location = /quiet {
    lua_socket_log_errors off;
    content_by_lua_block {
        local t = require "puppet"
        local sock = t.open("", { pool = "p" })
        t.show(sock:getreusedtimes(), sock:send("go\n"))
        ngx.sleep(0.1)
        t.show(sock:send("x"))
        t.show(t.open("tls:good say:x"):sslhandshake(false, "b.test", true))
        t.show(t.open("wait:0"):sslhandshake())
        t.show(t.open("say:HTTP%0A hold"):sslhandshake())
        local sock = t.open("hold")
        sock:settimeout(50)
        t.show(sock:sslhandshake())
    }
}
--- request eval
[ 'GET /loud', 'GET /quiet' ]
--- response_body_like eval
[ qr/^1$/, qr/^1 3\nnil "[a-z ]+"\nnil "20: [^\n]+\nnil "handshake failed"\nnil "handshake failed"\nnil "timeout"\n$/ ]
--- no_error_log
[error]
[crit]
[alert]



=== TEST 6: errors of OpenSSL are not left behind for other connections
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    location / { return 200 "ok"; }
}
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/other.pem;
--- lua
local ssl = require "ngx.ssl"
local function others()
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1)
    assert(sock:sslhandshake(false))
    sock:send("GET / HTTP/1.0\r\n\r\n")
    assert(sock:receive("*a"))
    sock:close()
end
ssl.parse_pem_cert("x")
others()
ssl.parse_der_cert("x")
ssl.parse_pem_priv_key("x")
others()
open("tls:good say:x"):sslhandshake(false, "b.test", true)
others()
open("tls:stranger say:x"):sslhandshake(false, "b.test", true)
others()
open("say:HTTP%0A hold"):sslhandshake()
others()
open("tls:good say:x"):sslhandshake(false, ("x"):rep(300))
others()
local sock = open("tls:good hold", { pool = "p" })
sock:sslhandshake(false)
sock:settrustedstore(require("x509_store").new "self.pem")
show(sock:sslhandshake(false, "a.test", true))
others()
--- response_body
nil "20: unable to get local issuer certificate"
--- no_error_log
[alert]
stale global
--- error_log
[error]
