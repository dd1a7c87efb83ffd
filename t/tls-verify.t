# sock:sslhandshake(session, name, true): who is believed, and who is not.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: names
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
--- lua
for _, name in ipairs {
    "a.test", "A.TEST", "b.wild.test", "127.0.0.1", "::1", "[::1]", "0:0:0:0:0:0:0:1", "",
    "b.test", "wild.test", "a.b.wild.test", "127.0.0.2", "::2", "a.test.", "a.test\0.b.test",
    "*.wild.test", "\255",
} do
    local sock = open("tls:good say:x")
    show(name, sock:sslhandshake(false, name, true))
end
--- response_body
"a.test" true
"A.TEST" true
"b.wild.test" true
"127.0.0.1" true
"::1" true
"[::1]" true
"0:0:0:0:0:0:0:1" true
"" true
"b.test" nil "certificate host mismatch"
"wild.test" nil "certificate host mismatch"
"a.b.wild.test" nil "certificate host mismatch"
"127.0.0.2" nil "certificate host mismatch"
"::2" nil "certificate host mismatch"
"a.test." nil "certificate host mismatch"
"a.test\0.b.test" nil "certificate host mismatch"
"*.wild.test" true
"\255" nil "certificate host mismatch"
--- response_body_filters eval
sub { my $s = shift; $s =~ s/\xff/\\255/g; $s }



=== TEST 2: certificates
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
--- lua
for _, cert in ipairs {
    "good", "rsa", "cn", "under", "expired", "future", "self", "stranger", "client", "revoked",
} do
    for _, version in ipairs { "1.2", "1.3" } do
        local sock = open("tls:" .. cert .. ":" .. version .. " say:x")
        show(cert, sock:sslhandshake(false, "a.test", true))
    end
end
--- response_body
"good" true
"good" true
"rsa" true
"rsa" true
"cn" true
"cn" true
"under" true
"under" true
"expired" nil "10: certificate has expired"
"expired" nil "10: certificate has expired"
"future" nil "9: certificate is not yet valid"
"future" nil "9: certificate is not yet valid"
"self" nil "18: self-signed certificate"
"self" nil "18: self-signed certificate"
"stranger" nil "20: unable to get local issuer certificate"
"stranger" nil "20: unable to get local issuer certificate"
"client" nil "26: unsuitable certificate purpose"
"client" nil "26: unsuitable certificate purpose"
"revoked" true
"revoked" true
--- timeout: 30



=== TEST 3: nothing is trusted unless a directive says so
--- location_config
lua_socket_log_errors off;
--- lua
for _, cert in ipairs { "good", "self", "expired" } do
    show(cert, open("tls:" .. cert .. " say:x"):sslhandshake(false, "a.test", true))
end
--- response_body
"good" nil "20: unable to get local issuer certificate"
"self" nil "18: self-signed certificate"
"expired" nil "20: unable to get local issuer certificate"



=== TEST 4: a chain that is too long, or just not
--- config
location = /one {
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
    lua_socket_log_errors off;
    content_by_lua_block {
        local t = require "puppet"
        t.show(t.open("tls:under say:x"):sslhandshake(false, nil, true))
        t.show(t.open("tls:deep say:x"):sslhandshake(false, nil, true))
    }
}
location = /two {
    lua_ssl_verify_depth 2;
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
    content_by_lua_block {
        local t = require "puppet"
        t.show(t.open("tls:deep say:x"):sslhandshake(false, nil, true))
    }
}
location = /none {
    lua_ssl_verify_depth 0;
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
    lua_socket_log_errors off;
    content_by_lua_block {
        local t = require "puppet"
        t.show(t.open("tls:good say:x"):sslhandshake(false, nil, true))
        t.show(t.open("tls:under say:x"):sslhandshake(false, nil, true))
    }
}
--- request eval
[ 'GET /one', 'GET /two', 'GET /none' ]
--- response_body eval
[
    qq{true\nnil "22: certificate chain too long"\n}, "true\n",
    qq{true\nnil "22: certificate chain too long"\n},
]



=== TEST 5: revoked
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_ssl_crl $TEST_NGINX_CA/crl.pem;
lua_socket_log_errors off;
--- lua
for _, cert in ipairs { "good", "revoked", "expired" } do
    show(cert, open("tls:" .. cert .. " say:x"):sslhandshake(false, "a.test", true))
end
--- response_body
"good" true
"revoked" nil "23: certificate revoked"
"expired" nil "10: certificate has expired"



=== TEST 6: a list that does not cover the chain
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_ssl_crl $TEST_NGINX_CA/crl.pem;
lua_socket_log_errors off;
--- lua
show(open("tls:under say:x"):sslhandshake(false, "a.test", true))
--- response_body
nil "3: unable to get certificate CRL"



=== TEST 7: without verification everything goes
--- lua
for _, cert in ipairs { "good", "expired", "self", "stranger", "deep" } do
    local sock = open("tls:" .. cert .. " say:x")
    show(cert, sock:sslhandshake(false, "b.test", false), sock:receive(1))
end
--- response_body
"good" true "x"
"expired" true "x"
"self" true "x"
"stranger" true "x"
"deep" true "x"



=== TEST 8: after a failure there is no connection any more
--- location_config
lua_socket_log_errors off;
--- lua
local fds = require("puppet").fds
for _, name in ipairs { "b.test", "a.test" } do
    local sock = open("tls:good hold")
    local before = fds()
    show(sock:sslhandshake(nil, name, true))
    show(before - fds(), sock:send("x"))
    show(sock:receive())
    show(sock:setkeepalive())
    show(sock:close())
    show(sock:getsslsession())
end
--- response_body
nil "20: unable to get local issuer certificate"
1 nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "20: unable to get local issuer certificate"
1 nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
