# Much data over TLS, both ways, and slow peers.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: 64 MB received, in constant memory
--- lua
local t = require "puppet"
local before = t.memory()
for _, version in ipairs { "1.2", "1.3" } do
    local sock = open("tls:good:" .. version .. " fill:67108864")
    assert(sock:sslhandshake(false))
    local total = 0
    while true do
        local data, err = sock:receiveany(65536)
        if not data then
            show(total, err)
            break
        end
        total = total + #data
    end
end
collectgarbage()
show(t.memory() - before < 20000)
--- response_body
67108864 "closed"
67108864 "closed"
true
--- timeout: 60



=== TEST 2: 64 MB sent in one call, and in pieces
--- lua
local t = require "puppet"
local text = ("0123456789abcdef"):rep(4 * 1024 * 1024)
local sock = open("tls:good read:67108864 say:done%0A")
assert(sock:sslhandshake(false))
show(sock:send(text), sock:receive())
sock = open("tls:good:1.2 read:67108864 say:done%0A")
assert(sock:sslhandshake(false))
local piece = text:sub(1, 1000003)
local total = 0
while total < #text do
    total = total + assert(sock:send(piece:sub(1, #text - total)))
end
show(total, sock:receive())
--- response_body
67108864 "done"
67108864 "done"
--- timeout: 60



=== TEST 3: a peer that reads slowly: the rest is sent from a copy, byte for byte
--- lua
local sock = open("tls:good wait:0.2 echo")
sock:setoption("sndbuf", 8192)
assert(sock:sslhandshake(false))
local parts = {}
for i = 1, 60000 do
    parts[i] = ("%08d,"):format(i)
end
local text = table.concat(parts)
show(sock:send(parts) == #text)
show(sock:receive(#text) == text)
--- response_body
true
true
--- timeout: 20



=== TEST 4: the send timeout is about progress
--- lua
local t = require "puppet"
local sock = open("tls:good sip:0.05:1500000 say:done%0A")
sock:setoption("sndbuf", 8192)
sock:settimeouts(1000, 800, 5000)
assert(sock:sslhandshake(false))
local seconds, sent, err = t.timed(sock.send, sock, ("x"):rep(1500000))
show(seconds > 0.8, sent, err)
show(sock:receive())
--- response_body
true 1500000 nil
"done"
--- timeout: 20



=== TEST 5: a peer that does not read at all
--- lua
local t = require "puppet"
local sock = open("tls:good say:hello%0A mute")
sock:settimeouts(1000, 200, 1000)
assert(sock:sslhandshake(false))
local seconds, sent, err = t.timed(sock.send, sock, ("x"):rep(20000000))
show(t.about(seconds, 0.2), sent, err)
show(sock:send("x"))
show(sock:receive())
show(sock:setkeepalive())
show(sock:close())
--- response_body
"about 0.2" nil "timeout"
nil "closed"
"hello"
nil "closed"
1
--- error_log
lua tcp socket write timed out
--- no_error_log
[crit]
[alert]
bad write retry
stale global
--- timeout: 10



=== TEST 6: byte by byte, lines, patterns, exact sizes
--- lua
local sock = open("tls:good drip:0.01:ab%0Acd--xef say:0123456789 hold")
assert(sock:sslhandshake(false))
show(sock:receive(), sock:receiveuntil("--x")(), sock:receive(2), sock:receive(4), sock:receiveany(100))
--- response_body
"ab" "cd" "ef" "0123" "456789"



=== TEST 7: timeouts on reads; what comes later is read
--- lua
local t = require "puppet"
local sock = open("tls:good say:ab wait:0.4 say:cd%0A hold")
sock:settimeouts(1000, 1000, 150)
assert(sock:sslhandshake(false))
local seconds, line, err, partial = t.timed(sock.receive, sock)
show(t.about(seconds, 0.15), line, err, partial)
sock:settimeout(2000)
show(sock:receive())
--- response_body
"about 0.15" nil "timeout" "ab"
"cd"
--- error_log
lua tcp socket read timed out



=== TEST 8: empty and odd data
--- lua
local sock = open("tls:good read:14 say:ok%0A")
assert(sock:sslhandshake(false))
show(sock:send(""), sock:send({}), sock:send(true), sock:send(nil), sock:send(1.5), sock:send({ "a", { "b" }, 12 }))
show(sock:receive())
--- response_body
0 0 4 3 3 4
"ok"



=== TEST 9: errors of a write
--- lua
local sock = open("tls:good reset cut")
assert(sock:sslhandshake(false))
ngx.sleep(0.1)
show(sock:send(("x"):rep(100)))
show(sock:send("x"))
show(sock:close())
--- response_body_like eval
qr/^nil "(?:broken pipe|connection reset by peer)"\nnil "closed"\n1\n$/
--- error_log
SSL_write() failed
