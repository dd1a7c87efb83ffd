# UDP and unix datagram sockets.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

use Socket qw( SOCK_DGRAM );

Test::Nginx::Peer->udp( ECHO => \&answer );
Test::Nginx::Peer->dns(
    'echo.test'  => '127.0.0.1',
    'echo6.test' => '::1',
    'many.test'  => [ '127.0.0.1', '127.0.0.1', '127.0.0.1' ],
    'slow.test'  => { answer => '127.0.0.1', delay => 0.1 },
    'mute.test'  => 'TIMEOUT',
);
my $free = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Proto => 'udp' );
$ENV{TEST_NGINX_REFUSING_PORT} = $free->sockport;
close $free;

# A unix socket that nobody reads from.
$ENV{TEST_NGINX_FULL_SOCK} = "$ENV{TEST_NGINX_ECHO_SOCK}.full";
my $full = IO::Socket::UNIX->new( Local => $ENV{TEST_NGINX_FULL_SOCK}, Type => SOCK_DGRAM ) or die "bind: $!";

sub answer {
    my ( $datagram, $sender ) = @_;
    return $sender if $datagram eq 'who';
    return length $datagram if $datagram =~ /^count/;
    return () if $datagram eq 'silence';
    return ( 'one', '', 'three' ) if $datagram eq 'several';
    return 'x' x $1 if $datagram =~ /^fill (\d+)/;
    return [ $1, $2 ] if $datagram =~ /^later (\S+) (.*)/;
    return "<$datagram>";
}

run_tests();

__DATA__

=== TEST 1: the constructor
--- lua
local sock = ngx.socket.udp()
sock.field = "mine"
show(type(sock), sock.field)
fails(ngx.socket.udp, 1)
fails(ngx.socket.udp, nil, nil)
--- response_body
"table" "mine"
expecting zero arguments, but got 1
expecting zero arguments, but got 2



=== TEST 2: a call with a bad self is a Lua error
--- lua
local udp, tcp = ngx.socket.udp(), ngx.socket.tcp()
local more = {
    setpeername = { "127.0.0.1", 1 }, send = { "x" }, receive = {}, settimeout = { 1 },
    close = {}, bind = { "127.0.0.1" },
}
for name, args in pairs(more) do
    for _, bad in ipairs { "x", 1, {}, tcp, setmetatable({ 7 }, getmetatable(udp)), io.stdout } do
        local ok, err = pcall(udp[name], bad, unpack(args))
        if ok or not err:find("socket object expected, got", 1, true) then
            show(name, ok, err)
        end
    end
end
fails(tcp.receive, udp)
fails(udp.receive, tcp)
fails(udp.close)
--- response_body
bad argument #1 to '?' (socket object expected, got table)
bad argument #1 to '?' (socket object expected, got table)
expecting 1 argument (including the object) but seen 0



=== TEST 3: the number of arguments
--- lua
local sock = ngx.socket.udp()
fails(sock.setpeername, sock)
fails(sock.setpeername, sock, "127.0.0.1", 1, 2)
fails(sock.setpeername, sock, {}, 1)
fails(sock.send, sock)
fails(sock.send, sock, 1, 2)
fails(sock.receive, sock, 1, 2)
fails(sock.settimeout, sock)
fails(sock.settimeout, sock, 1, 2)
fails(sock.close, sock, 1)
fails(sock.bind, sock)
--- response_body
ngx.socket.udp setpeername: expecting 2 or 3 arguments (including the object), but seen 1
ngx.socket.udp setpeername: expecting 2 or 3 arguments (including the object), but seen 4
bad argument #2 to '?' (string expected, got table)
expecting 2 arguments (including the object), but got 1
expecting 2 arguments (including the object), but got 3
expecting 1 or 2 arguments (including the object), but got 3
ngx.socket settimeout: expecting 2 arguments (including the object) but seen 1
ngx.socket settimeout: expecting 2 arguments (including the object) but seen 3
expecting 1 argument (including the object) but seen 2
expecting 2 or 3 arguments (including the object), but got 1



=== TEST 4: a query and its answer
--- lua
local sock = ngx.socket.udp()
show(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
show(sock:settimeout(1000))
show(sock:send("hello"))
show(sock:receive())
show(sock:send("again"))
show(sock:receive())
show(sock:close())
show(sock:setpeername("127.0.0.1", "$TEST_NGINX_ECHO_PORT"))
show(sock:send("a new socket"))
show(sock:receive())
--- response_body
1

1
"<hello>"
1
"<again>"
1
1
1
"<a new socket>"



=== TEST 5: forms of the port
--- lua
local sock = ngx.socket.udp()
show(sock:setpeername("127.0.0.1"))
show(sock:setpeername("127.0.0.1", nil))
show(sock:setpeername("127.0.0.1", -1))
show(sock:setpeername("127.0.0.1", 65536))
show(sock:setpeername("127.0.0.1", "53x"))
--- response_body
nil "missing the port number"
nil "missing the port number"
nil "bad port number: -1"
nil "bad port number: 65536"
nil "bad port number: 53x"



=== TEST 6: IPv6
--- skip_eval: 3: !IO::Socket::IP->new( LocalHost => '::1', Proto => 'udp' )
--- lua
local sock = ngx.socket.udp()
show(sock:setpeername("[::1]", $TEST_NGINX_ECHO_PORT))
sock:send("who")
show((sock:receive():gsub(" %d+$", "")))
--- response_body
1
"::1"



=== TEST 7: names are resolved
--- location_config
resolver $TEST_NGINX_RESOLVER;
resolver_timeout 200ms;
--- lua
for _, name in ipairs { "echo.test", "many.test", "slow.test", "none.test", "mute.test", "a/b", "" } do
    local sock = ngx.socket.udp()
    sock:settimeout(1000)
    show(sock:setpeername(name, $TEST_NGINX_ECHO_PORT))
    if sock:send(name) then
        show(sock:receive())
    end
end
--- response_body
1
"<echo.test>"
1
"<many.test>"
1
"<slow.test>"
nil "none.test could not be resolved (3: Host not found)"
nil "mute.test could not be resolved (110: Operation timed out)"
nil "failed to parse host name \"a/b\": invalid host"
nil "failed to parse host name \"\": no host"
--- error_log
attempt to send data on a closed socket



=== TEST 8: a name without a resolver
--- lua
local sock = ngx.socket.udp()
show(sock:setpeername("echo.test", $TEST_NGINX_ECHO_PORT))
--- response_body
nil "no resolver defined to resolve \"echo.test\""



=== TEST 9: a unix socket can answer, for the local end has an address
--- lua
local sock = ngx.socket.udp()
show(sock:setpeername("unix:$TEST_NGINX_ECHO_SOCK"))
show(sock:send("who"))
show(sock:receive())
show(sock:send("fill 65536"))
show(#sock:receive())
show(sock:send("fill 70000"))
show(#sock:receive())
show(sock:close())
--- response_body
1
1
"unix"
1
65536
1
65536
1



=== TEST 10: unix sockets that are none
--- lua
local sock = ngx.socket.udp()
show(sock:setpeername("unix:/no/such/socket"))
show(sock:setpeername("unix:" .. ("x"):rep(200)))
show(sock:setpeername("unix:"))
show(sock:send("x"))
--- response_body_like
^nil "no such file or directory"
nil "failed to parse host name \\"unix:x+\\": too long path in the unix domain socket"
nil "failed to parse host name \\"unix:\\": no path in the unix domain socket"
nil "closed"$
--- error_log
connect() failed (2: No such file or directory)
attempt to send data on a closed socket



=== TEST 11: what can be sent
--- lua
local sock = ngx.socket.udp()
sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
for _, data in ipairs { "text\0", 42, 1.5, true, false, { "a", { "b", 1, {} }, 2 }, {}, "" } do
    show(sock:send(data), (sock:receive()))
end
show(sock:send(nil), (sock:receive()))
fails(sock.send, sock, { true })
fails(sock.send, sock, { a = 1 })
fails(sock.send, sock, function() end)
fails(sock.send, sock, io.stdout)
--- response_body
1 "<text\0>"
1 "<42>"
1 "<1.5>"
1 "<true>"
1 "<false>"
1 "<ab12>"
1 "<>"
1 "<>"
1 "<nil>"
bad argument #2 to '?' (bad data type boolean found)
bad argument #2 to '?' (non-array table found)
bad argument #2 to '?' (string, number, boolean, nil, or array table expected, got function)
bad argument #2 to '?' (string, number, boolean, nil, or array table expected, got userdata)



=== TEST 12: one receive, one datagram
--- lua
local sock = ngx.socket.udp()
sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
sock:settimeout(200)
sock:send("several")
show(sock:receive())
show(sock:receive())
show(sock:receive())
sock:send("cut off")
show(sock:receive(4))
show(sock:receive())
sock:send("none of it")
show(sock:receive(0))
sock:send("number")
show(sock:receive("3"))
fails(sock.receive, sock, -1)
fails(sock.receive, sock, "*l")
fails(sock.receive, sock, {})
--- response_body
"one"
""
"three"
"<cut"
nil "timeout"
""
"<nu"
bad argument #2 to '?' (bad number argument)
bad argument #2 to '?' (number expected, got string)
bad argument #2 to '?' (number expected, got table)
--- error_log
lua udp socket read timed out



=== TEST 13: the largest datagrams
--- lua
local sock = ngx.socket.udp()
sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
show(sock:send("count" .. ("x"):rep(65507 - 5)))
show(sock:receive())
show(sock:send(("x"):rep(65508)))
sock:send("fill 65507")
show(#sock:receive())
sock:send("fill 65507")
show(#sock:receive(1000000))
--- response_body
1
"65507"
nil "message too long"
65507
65507
--- error_log
send() failed (90: Message too long)



=== TEST 14: a timeout leaves the socket open
--- lua
local sock = ngx.socket.udp()
sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
sock:settimeout(100)
sock:send("later 0.3 late")
local seconds, data, err = t.timed(sock.receive, sock)
show(t.about(seconds, 0.1), data, err)
sock:settimeout(1000)
show(sock:receive())
show(sock:send("next"))
show(sock:receive())
--- response_body
"about 0.1" nil "timeout"
"late"
1
"<next>"
--- error_log
lua udp socket read timed out



=== TEST 15: 0, nil and text stand for the directive
--- location_config
lua_socket_read_timeout 100ms;
--- lua
local sock = ngx.socket.udp()
sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
for _, ms in ipairs { "default", 0, false, "text" } do
    if ms ~= "default" then
        sock:settimeout(5000)
        sock:settimeout(ms)
    end
    local seconds, data, err = t.timed(sock.receive, sock)
    show(t.about(seconds, 0.1), err)
end
fails(sock.settimeout, sock, -1)
fails(sock.settimeout, sock, 2 ^ 31)
--- response_body
"about 0.1" "timeout"
"about 0.1" "timeout"
"about 0.1" "timeout"
"about 0.1" "timeout"
bad timeout value
bad timeout value
--- error_log
lua udp socket read timed out



=== TEST 16: lua_socket_log_errors off
--- location_config
lua_socket_log_errors off;
--- lua
local sock = ngx.socket.udp()
show(sock:send("x"))
show(sock:receive())
show(sock:setpeername("unix:/no/such/socket"))
sock:setpeername("127.0.0.1", $TEST_NGINX_REFUSING_PORT)
sock:settimeout(100)
show(sock:send("x"))
show(sock:receive())
show(sock:receive())
show(sock:send(("x"):rep(65508)))
--- response_body
nil "closed"
nil "closed"
nil "no such file or directory"
1
nil "connection refused"
nil "timeout"
nil "message too long"



=== TEST 17: a peer that refuses; the socket can be used again
--- lua
local sock = ngx.socket.udp()
sock:setpeername("127.0.0.1", $TEST_NGINX_REFUSING_PORT)
sock:settimeout(1000)
for i = 1, 2 do
    show(sock:send("x"))
    show(sock:receive())
end
show(sock:close())
--- response_body
1
nil "connection refused"
1
nil "connection refused"
1
--- error_log
recv() failed (111: Connection refused)



=== TEST 18: without a peer
--- lua
local sock = ngx.socket.udp()
local function all()
    show(sock:send("x"))
    show(sock:receive())
    show(sock:close())
end
all()
show(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
show(sock:close())
all()
--- response_body
nil "closed"
nil "closed"
nil "closed"
1
1
nil "closed"
nil "closed"
nil "closed"
--- grep_error_log eval: qr/attempt to \w+ data on a closed socket/
--- grep_error_log_out
attempt to send data on a closed socket
attempt to receive data on a closed socket
attempt to send data on a closed socket
attempt to receive data on a closed socket



=== TEST 19: a second peer replaces the first
--- lua
local sock = ngx.socket.udp()
local before = t.datagrams()
sock:setpeername("127.0.0.1", $TEST_NGINX_REFUSING_PORT)
sock:send("x")
show(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
show(t.datagrams() - before)
sock:send("hello")
show(sock:receive())
show(sock:setpeername("a/b", 1))
show(t.datagrams() - before)
show(sock:send("x"))
--- response_body
1
1
"<hello>"
nil "failed to parse host name \"a/b\": invalid host"
0
nil "closed"
--- error_log
attempt to send data on a closed socket



=== TEST 20: bind
--- lua
local sock = ngx.socket.udp()
for _, bad in ipairs { "localhost", "127.0.0.256", "", 1, {} } do
    show(sock:bind(bad))
end
show(sock:bind("127.0.0.1", 65536))
show(sock:bind("127.0.0.2"))
sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
sock:send("who")
local address, port = sock:receive():match("(%S+) (%d+)")
show(address)
local other = ngx.socket.udp()
show(other:bind("127.0.0.2", port))
show(other:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
sock:close()
show(other:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
other:send("who")
show(other:receive() == "127.0.0.2 " .. port)
show(other:setpeername("unix:$TEST_NGINX_ECHO_SOCK"))
other:send("who")
show(other:receive())
--- response_body
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad port number"
1
"127.0.0.2"
1
nil "address already in use"
1
true
1
"unix"
--- error_log
Address already in use



=== TEST 21: where there is no handler
--- http_config
    init_by_lua_block {
        package.loaded.why = { pcall(ngx.socket.udp) }
    }
--- lua
show(package.loaded.why[1], (package.loaded.why[2]:gsub("^.*: ", "")))
--- response_body
false "no request found"



=== TEST 22: a unix peer that takes no more for now
--- lua
local sock = ngx.socket.udp()
sock:setpeername("unix:$TEST_NGINX_FULL_SOCK")
local sent, ok, err = 0
repeat
    ok, err = sock:send("x")
    sent = sent + (ok or 0)
until not ok or sent > 10000
show(sent > 1 and sent < 10000, err)
--- response_body
true "resource temporarily unavailable"
--- error_log
send() failed (11: Resource temporarily unavailable)
