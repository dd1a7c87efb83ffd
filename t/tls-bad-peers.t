# Peers that stall, lie, break off, renegotiate.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

Test::Nginx::Peer->tcp( GARBAGE => sub {
    my ($socket) = @_;
    sysread $socket, my $hello, 4096;
    # A record that announces a ServerHello and holds nonsense.
    syswrite $socket, "\x16\x03\x03\x00\x40\x02\x00\x00\x3c" . "\xa5" x 0x3c;
    sysread $socket, $hello, 4096;
} );
Test::Nginx::Peer->tcp( ALERT => sub {
    my ($socket) = @_;
    sysread $socket, my $hello, 4096;
    syswrite $socket, "\x15\x03\x03\x00\x02\x02\x28";
    sysread $socket, $hello, 4096;
} );

# Passes on what a real server says, but breaks off in the middle of it.
Test::Nginx::Peer->tcp( TRUNCATED => sub {
    my ($socket) = @_;
    my $server = IO::Socket::INET->new("127.0.0.1:$ENV{TEST_NGINX_PUPPET_PORT}") or exit;
    syswrite $server, "tls:good say:x\n";
    sysread $socket, my $hello, 4096;
    syswrite $server, $hello;
    sysread $server, my $answer, 100;
    syswrite $socket, $answer;
} );

# Passes everything on, but changes a bit in what follows the handshake.
Test::Nginx::Peer->tcp( FORGER => sub {
    my ($socket) = @_;
    my $server = IO::Socket::INET->new("127.0.0.1:$ENV{TEST_NGINX_PUPPET_PORT}") or exit;
    syswrite $server, "tls:good:1.2 line say:0123456789abcdef hold\n";
    my $flights = 0;
    while (1) {
        my $ready = '';
        vec( $ready, fileno $_, 1 ) = 1 for $socket, $server;
        select $ready, undef, undef, 5 or exit;
        for ( [ $socket, $server ], [ $server, $socket ] ) {
            my ( $from, $to ) = @$_;
            next if !vec $ready, fileno $from, 1;
            sysread $from, my $bytes, 16384 or exit;
            $flights++ if $from == $socket;
            substr( $bytes, -1 ) ^= "\x01" if $flights > 2 && $from == $server;
            syswrite $to, $bytes;
        }
    }
} );

for my $name (qw( GARBAGE ALERT TRUNCATED FORGER )) {
    env_to_nginx("TEST_NGINX_${name}_PORT");
}

run_tests();

__DATA__

=== TEST 1: everything that is not a TLS server
--- lua
for _, script in ipairs {
    "say:HTTP/1.1%20400%20Bad%20Request%0D%0A%0D%0A hold",
    "say:HTTP/1.1%20400%20Bad%20Request%0D%0A%0D%0A",
    "fill:100000",
    "read:10",
    "read:10 reset",
    "read:10 half hold",
    "wait:0",
    "reset",
    "say:%15%03%03%00%02%02%28 hold",
} do
    local sock = open(script)
    show(sock:sslhandshake(nil, "a.test", true))
    show(sock:receive())
end
for _, name in ipairs { "GARBAGE", "ALERT", "TRUNCATED" } do
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_" .. name .. "_PORT")))
    show(sock:sslhandshake(nil, "a.test", true))
    show(sock:receive())
end
--- response_body eval
qq{nil "handshake failed"\nnil "closed"\n} x 12
--- no_error_log
[crit]
[alert]
stale global
--- error_log
SSL_do_handshake() failed
peer closed connection in SSL handshake



=== TEST 2: without lua_socket_log_errors none of it is logged
--- location_config
lua_socket_log_errors off;
--- lua
for _, script in ipairs { "say:HTTP%0D%0A hold", "read:10", "read:10 reset", "reset", "say:%16%03%03%FF%FF hold" } do
    show(open(script):sslhandshake())
end
--- response_body eval
qq{nil "handshake failed"\n} x 5



=== TEST 3: no common protocol, no common cipher
--- config
location = /protocol {
    lua_ssl_protocols TLSv1.2;
    content_by_lua_block {
        local t = require "puppet"
        t.show(t.open("tls:good:1.3 say:x"):sslhandshake())
        t.show(t.open("tls:good:1.2 say:x"):sslhandshake(false))
    }
}
location = /cipher {
    lua_ssl_protocols TLSv1.2;
    lua_ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;
    content_by_lua_block {
        local t = require "puppet"
        t.show(t.open("tls:good say:x"):sslhandshake())
        t.show(t.open("tls:rsa say:x"):sslhandshake(false))
    }
}
--- request eval
[ 'GET /protocol', 'GET /cipher' ]
--- response_body eval
[ qq{nil "handshake failed"\ntrue\n}, qq{nil "handshake failed"\ntrue\n} ]
--- error_log
SSL_do_handshake() failed
--- no_error_log
[crit]
[alert]



=== TEST 4: a peer that never answers, or only begins to
--- location_config
lua_socket_log_errors off;
--- lua
local t = require "puppet"
for _, script in ipairs { "hold", "say:%16%03%03 hold", "say:%16%03%03%00%40 hold", "repeat:0.3:%16" } do
    local seconds, ok, err = t.timed(function()
        local sock = open(script)
        sock:settimeouts(200, 5000, 5000)
        return sock:sslhandshake()
    end)
    show(ok, err, seconds < 4)
end
--- response_body
nil "timeout" true
nil "timeout" true
nil "timeout" true
nil "timeout" true



=== TEST 5: changed on the way
--- lua
local sock = ngx.socket.tcp()
sock:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_FORGER_PORT")))
shook(sock:sslhandshake(nil, "a.test"))
show(sock:send("go\n"))
show(sock:receive(16))
show(sock:receive(16))
show(sock:setkeepalive())
show(sock:close())
--- response_body
session
3
nil "protocol error" ""
nil "closed"
nil "closed"
1
--- error_log
SSL_read() failed



=== TEST 6: reset after the handshake: no orderly end
--- lua
for _, version in ipairs { "1.2", "1.3" } do
    local sock = open("tls:good:" .. version .. " say:abc wait:0.1 reset cut")
    assert(sock:sslhandshake(false))
    show(sock:receive("*a"))
    sock = open("tls:good:" .. version .. " say:abc wait:0.1 reset cut")
    assert(sock:sslhandshake(false))
    ngx.sleep(0.3)
    show(sock:receive("*a"))
end
--- response_body
nil "connection reset by peer" "abc"
nil "connection reset by peer" "abc"
nil "connection reset by peer" "abc"
nil "connection reset by peer" "abc"



=== TEST 7: the end, with and without a farewell
--- lua
for _, last in ipairs { "", "cut", "half hold" } do
    local sock = open("tls:good say:abc " .. last)
    assert(sock:sslhandshake(false))
    show(sock:receive("*a"))
    show(sock:receive())
    show(sock:receive())
end
--- response_body
"abc"
nil "closed" ""
nil "closed"
"abc"
nil "closed" ""
nil "closed"
"abc"
nil "closed" ""
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 8: a new handshake in the middle (TLS 1.2)
--- lua
local sock = open("tls:good:1.2 line say:one%0A renegotiate line say:two%0A hold")
assert(sock:sslhandshake(false))
sock:settimeout(1000)
show(sock:send("go\n"), sock:receive())
show(sock:receive(1))
show(sock:send("on\n"), sock:receive())
show(sock:setkeepalive())
--- response_body
3 "one"
nil "timeout" ""
3 "two"
1
--- error_log
lua tcp socket read timed out



=== TEST 9: a new handshake while the connection is idle
--- lua
local sock = open("tls:good:1.2 wait:0.1 renegotiate line say:two%0A hold", { pool = "p" })
assert(sock:sslhandshake(false))
show(sock:setkeepalive())
ngx.sleep(0.3)
sock:connect("127.0.0.1", port, { pool = "p" })
show(sock:getreusedtimes(), sock:send("on\n"), sock:receive())
--- response_body
1
1 3 "two"



=== TEST 10: renegotiation while much is sent and received
--- lua
local sock = open("tls:good:1.2 fill:3000000 renegotiate echo")
assert(sock:sslhandshake(false))
show(#sock:receive(3000000))
local text = ("x"):rep(100000)
for i = 1, 5 do
    sock:send(text)
    assert(sock:receive(100000) == text)
end
show "ok"
--- response_body
3000000
"ok"
--- timeout: 10
