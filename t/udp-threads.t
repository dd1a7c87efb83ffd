# Datagram sockets and light threads: what is refused while another thread uses the socket,
# threads that are killed, a reading and a sending thread.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

Test::Nginx::Peer->udp(
    ECHO => sub {
        my ($datagram) = @_;
        return [ $1, $2 ] if $datagram =~ /^later (\S+) (.*)/;
        return "<$datagram>";
    }
);
Test::Nginx::Peer->dns( 'slow.test' => { answer => '127.0.0.1', delay => 0.2 }, 'mute.test' => 'TIMEOUT' );

run_tests();

__DATA__

=== TEST 1: while a thread waits for a datagram
--- lua
local sock = ngx.socket.udp()
sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
sock:settimeout(5000)
local reader = ngx.thread.spawn(function() return sock:receive() end)
show(sock:receive())
show(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
show(sock:close())
-- The other direction is free.
show(sock:send("hello"))
show(ngx.thread.wait(reader))
show(sock:close())
--- response_body
nil "socket busy"
nil "socket busy"
nil "socket busy"
1
true "<hello>"
1



=== TEST 2: while a thread resolves the name of the peer
--- location_config
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
--- lua
local sock = ngx.socket.udp()
local resolver = ngx.thread.spawn(function() return sock:setpeername("slow.test", $TEST_NGINX_ECHO_PORT) end)
show(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
show(sock:send("x"))
show(sock:receive())
show(sock:close())
show(ngx.thread.wait(resolver))
show(sock:send("hello"), sock:receive())
--- response_body
nil "socket busy"
nil "socket busy"
nil "socket busy"
nil "socket busy"
true 1
1 "<hello>"



=== TEST 3: a killed reader leaves a socket that is closed, and can have a new peer
--- lua
local before = t.datagrams()
for _, run in ipairs { function(f) f() end, function(f) coroutine.wrap(f)() end } do
    local sock = ngx.socket.udp()
    assert(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
    sock:settimeout(50)
    local reader = ngx.thread.spawn(function()
        run(function() sock:receive() end)
        ngx.log(ngx.ERR, "ran on")
    end)
    sock:send("later 0.03 lost")
    show(ngx.thread.kill(reader), t.datagrams() - before)
    show(sock:send("x"))
    show(sock:receive())
    show(sock:close())
    show(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
    ngx.sleep(0.1)
    -- What was sent to the old socket does not come to the new one.
    show(sock:send("again"), sock:receive())
    show(sock:close(), t.datagrams() - before)
end
--- response_body eval
qq{1 0
nil "closed"
nil "closed"
nil "closed"
1
1 "<again>"
1 0
} x 2
--- error_log
on a closed socket



=== TEST 4: a thread that is killed while it resolves; the socket can be used
--- location_config
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
--- lua
local sock = ngx.socket.udp()
for _, name in ipairs { "mute.test", "slow.test" } do
    local resolver = ngx.thread.spawn(function()
        coroutine.wrap(function() sock:setpeername(name, 1) end)()
        ngx.log(ngx.ERR, "ran on")
    end)
    ngx.sleep(0.01)
    show(ngx.thread.kill(resolver))
    show(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
    show(sock:send("hello"), sock:receive())
end
-- The answer that comes for nobody.
ngx.sleep(0.25)
show(sock:send("hello"), sock:receive())
--- response_body
1
1
1 "<hello>"
1
1
1 "<hello>"
1 "<hello>"



=== TEST 5: one thread sends, another receives
--- lua
local sock = ngx.socket.udp()
sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
sock:settimeout(5000)
local reader = ngx.thread.spawn(function()
    local count = 0
    for i = 1, 200 do
        count = count + (assert(sock:receive()) == "<" .. i .. ">" and 1 or 0)
    end
    return count
end)
for i = 1, 200 do
    assert(sock:send(tostring(i)))
    if i % 10 == 0 then ngx.sleep(0.001) end
end
show(ngx.thread.wait(reader))
--- response_body
true 200
