# TLS and light threads: both directions at once, busy strings, threads that are killed.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

worker_connections(512);
run_tests();

__DATA__

=== TEST 1: a handshake needs the socket to itself
--- lua
local sock = open("wait:1 tls:good line say:x%0A hold")
local thread = ngx.thread.spawn(function() return sock:sslhandshake(false) end)
for _, name in ipairs { "receive", "close", "setkeepalive", "sslhandshake" } do
    show(name, sock[name](sock))
end
show(sock:send("x"))
show(sock:receiveany(1))
show(sock:connect("127.0.0.1", port))
show(ngx.thread.wait(thread))
thread = ngx.thread.spawn(function() return sock:receive() end)
show(sock:sslhandshake())
sock:send("go\n")
show(ngx.thread.wait(thread))
shook(sock:sslhandshake())
--- response_body
"receive" nil "socket busy connecting"
"close" nil "socket busy connecting"
"setkeepalive" nil "socket busy connecting"
"sslhandshake" nil "socket busy connecting"
nil "socket busy connecting"
nil "socket busy connecting"
nil "socket busy connecting"
true true
nil "socket busy reading"
true "x"
session



=== TEST 2: nor while another thread sends
--- lua
local sock = open("wait:0.2 sip:0:8000000 hold")
sock:setoption("sndbuf", 8192)
local thread = ngx.thread.spawn(function() return sock:send(("x"):rep(8000000)) end)
show(sock:sslhandshake())
show(ngx.thread.wait(thread))
--- response_body
nil "socket busy writing"
true 8000000



=== TEST 3: both directions at once, much
--- lua
for _, version in ipairs { "1.2", "1.3" } do
    local sock = open("tls:good:" .. version .. " echo")
    assert(sock:sslhandshake(false))
    local size, text = 20000000, ("0123456789"):rep(1000)
    local writer = ngx.thread.spawn(function()
        for i = 1, size / #text do
            assert(sock:send(text))
        end
        return "sent"
    end)
    local total = 0
    while total < size do
        total = total + #assert(sock:receive(#text))
    end
    show(total, ngx.thread.wait(writer))
end
--- response_body
20000000 true "sent"
20000000 true "sent"
--- timeout: 30



=== TEST 4: a new handshake while one thread reads and one writes
--- lua
local sock = open("tls:good:1.2 line wait:0.1 renegotiate echo")
assert(sock:sslhandshake(false))
local text = ("0123456789"):rep(10000)
local reader = ngx.thread.spawn(function()
    for i = 1, 50 do
        assert(sock:receive(#text) == text)
    end
    return "received"
end)
sock:send("go\n")
ngx.sleep(0.3)
for i = 1, 50 do
    assert(sock:send(text))
end
show(ngx.thread.wait(reader))
--- response_body
true "received"
--- timeout: 10



=== TEST 5: threads that are killed in the middle
--- lua
local t = require "puppet"
local before
for round = 1, 3 do
    for _, script in ipairs { "hold", "wait:0.1 tls:good hold", "say:%16%03 hold" } do
        local sock = open(script)
        local thread = ngx.thread.spawn(function() return sock:sslhandshake(false) end)
        ngx.sleep(0.02)
        assert(ngx.thread.kill(thread))
        show(sock:send("x"))
        show(sock:close())
    end
    before = before or t.fds()
end
show(t.fds() - before)
--- response_body eval
qq{nil "closed"\nnil "closed"\n} x 9 . "0\n"
--- error_log
attempt to send data on a closed socket



=== TEST 6: a killed writer leaves half a record behind; the reader goes on
--- lua
local sock = open("tls:good wait:2 say:hello%0A mute")
assert(sock:sslhandshake(false))
local writer = ngx.thread.spawn(function() return sock:send(("x"):rep(20000000)) end)
local reader = ngx.thread.spawn(function() return sock:receive() end)
ngx.sleep(0.1)
show(ngx.thread.kill(writer))
show(ngx.thread.wait(reader))
show(sock:send("x"))
show(sock:close())
--- response_body
1
true "hello"
nil "closed"
1
--- error_log
attempt to send data on a closed socket
--- no_error_log
[crit]
[alert]
bad write retry



=== TEST 7: many handshakes at a time
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { return 200 "ok"; }
}
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
--- lua
local threads, count = {}, { [true] = 0, [false] = 0 }
local session
for i = 1, 60 do
    threads[i] = ngx.thread.spawn(function()
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
        local good = i % 3 > 0
        local s, err = sock:sslhandshake(session, good and "a.test" or "b.test", true)
        assert((s ~= nil) == good, err)
        count[good] = count[good] + 1
        if good then
            session = s
            sock:send("GET / HTTP/1.0\r\n\r\n")
            assert(sock:receive("*a"):find("ok"))
        end
    end)
end
for i = 1, 60 do
    local ok, err = ngx.thread.wait(threads[i])
    if not ok then show(err) end
end
show(count[true], count[false])
--- response_body
40 20
