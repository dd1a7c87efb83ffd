# sock:getsslpointer, getsslctx, getsslsession.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: without a connection, without TLS
--- lua
local sock = ngx.socket.tcp()
for _, name in ipairs { "getsslpointer", "getsslctx", "getsslsession" } do
    fails(sock[name], sock)
    fails(sock[name], {})
    fails(sock[name])
end
sock = open("hold")
show(sock:getsslpointer())
show(sock:getsslctx())
show(sock:getsslsession())
sock:close()
show(sock:getsslpointer())
show(sock:getsslctx())
show(sock:getsslsession())
--- response_body_like eval
qr/\A(?:socket is never created nor connected\nbad argument #1 to [^\n]+ \(socket object expected, got table\)\nbad argument #1 to [^\n]+ \(socket object expected, got [^\n]+\)\n){3}(?:nil "no ssl connection"\n){3}(?:nil "closed"\n){3}\z/



=== TEST 2: pointers that OpenSSL takes
--- lua
local ffi = require "ffi"
ffi.cdef [[
    const char *SSL_get_version(const void *ssl);
    void *SSL_get_SSL_CTX(const void *ssl);
    const char *SSL_get_servername(const void *ssl, int type);
    int SSL_CTX_get_verify_depth(const void *ctx);
]]
local sock = open("tls:good:1.2 hold")
assert(sock:sslhandshake(nil, "a.test"))
local ssl, ctx = sock:getsslpointer(), sock:getsslctx()
show(type(ssl), type(ctx), tostring(ffi.typeof(ssl)))
show(ffi.string(ffi.C.SSL_get_version(ssl)), ffi.string(ffi.C.SSL_get_servername(ssl, 0)))
show(ffi.C.SSL_get_SSL_CTX(ssl) == ctx, ffi.C.SSL_CTX_get_verify_depth(ctx))
-- One context serves all.
local other = open("tls:good hold")
assert(other:sslhandshake())
show(other:getsslctx() == ctx, other:getsslpointer() == ssl)
shook(sock:getsslsession())
--- response_body
"cdata" "cdata" "ctype<void *>"
"TLSv1.2" "a.test"
true 1
true false
session



=== TEST 3: a session for a later handshake
--- lua
local sock = open("tls:good:1.2 hold")
assert(sock:sslhandshake(false))
local session = sock:getsslsession()
sock:close()
show(sock:getsslsession())
shook(open("tls:good:1.2 hold"):sslhandshake(session))
--- response_body
nil "closed"
session



=== TEST 4: TLS 1.3: resumable once a ticket has been read
--- lua
local sock = open("tls:good:1.3 wait:0.1 say:x hold")
assert(sock:sslhandshake(false))
show(sock:receive(1))
shook(sock:getsslsession())
--- response_body
"x"
session
