# sock:connect and ngx.socket.connect: arguments, options, addresses, failures.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

# A port that refuses connections: it was free a moment ago.
my $free = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 1 );
$ENV{TEST_NGINX_REFUSING_PORT} = $free->sockport;
close $free;
env_to_nginx('TEST_NGINX_REFUSING_PORT');

run_tests();

__DATA__

=== TEST 1: the constructor takes no argument; both names make the same kind of table
--- lua
fails(ngx.socket.tcp, 1)
fails(ngx.socket.stream, nil, 2)
local sock = ngx.socket.tcp()
show(type(sock), type(ngx.socket.stream()), getmetatable(sock) == getmetatable(ngx.socket.stream()))
sock.field = "mine"
show(sock.field)
--- response_body
expecting zero arguments, but got 1
expecting zero arguments, but got 2
"table" "table" true
"mine"



=== TEST 2: a call with a bad self is a Lua error
--- lua
local sock = ngx.socket.tcp()
local more = {
    connect = { "a", 1 }, send = { "x" }, receive = {}, receiveany = { 1 }, receiveuntil = { "x" },
    close = {}, setkeepalive = {}, settimeout = { 1 }, settimeouts = { 1, 2, 3 },
    getreusedtimes = {}, setoption = { "keepalive", 1 }, getoption = { "keepalive" },
    getfd = {}, bind = { "127.0.0.1" },
}
for name, args in pairs(more) do
    for _, bad in ipairs { "x", 1, {}, setmetatable({ 7 }, getmetatable(sock)), io.stdout } do
        local ok, err = pcall(sock[name], bad, unpack(args))
        if ok or not err:find("socket object expected, got", 1, true) then
            show(name, ok, err)
        end
    end
end
fails(sock.receive, "x")
fails(sock.send, {}, "x")
fails(sock.close)
--- response_body
bad argument #1 to '?' (socket object expected, got string)
bad argument #1 to '?' (socket object expected, got table)
expecting 1 argument (including the object) but seen 0



=== TEST 3: the number of arguments
--- lua
local sock = ngx.socket.tcp()
fails(sock.connect, sock)
fails(sock.connect, sock, "127.0.0.1", 1, {}, 2)
fails(sock.connect)
fails(function() sock:connect({}, 1) end)
fails(function() sock:connect(nil, 1) end)
fails(ngx.socket.connect)
fails(ngx.socket.connect, "a", 1, {}, 3)
--- response_body
ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen 1
ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen 5
ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen 0
bad argument #1 to 'connect' (string expected, got table)
bad argument #1 to 'connect' (string expected, got nil)
ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen 1
ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen 5



=== TEST 4: forms of the port
--- lua
local function try(...)
    local sock = ngx.socket.tcp()
    show(sock:connect(...))
    sock:close()
end
try("127.0.0.1", port)
try("127.0.0.1", tostring(port))
try("127.0.0.1", " " .. port)
try("127.0.0.1", -1)
try("127.0.0.1", 65536)
try("127.0.0.1", "65536")
try("127.0.0.1", "http")
try("127.0.0.1", "")
try("127.0.0.1")
try("127.0.0.1", nil)
try("127.0.0.1", nil, {})
try("127.0.0.1", {})
try("127.0.0.1:" .. port, 1)
--- response_body
1
1
1
nil "bad port number: -1"
nil "bad port number: 65536"
nil "bad port number: 65536"
nil "bad port number: http"
nil "bad port number: "
nil "missing the port number"
nil "missing the port number"
nil "missing the port number"
nil "missing the port number"
1



=== TEST 5: options that are wrong are argument errors
--- lua
local sock = ngx.socket.tcp()
for _, opts in ipairs {
    { pool = {} }, { pool = true }, { pool_size = 0 }, { pool_size = -3 }, { pool_size = "x" },
    { backlog = -1 }, { backlog = true }, { pool_size = {} },
} do
    fails(function() sock:connect("127.0.0.1", port, opts) end)
end
fails(function() sock:connect("unix:/x", nil, { pool_size = 0 }) end)
show(sock:connect("127.0.0.1", port, { pool = 12, pool_size = 1, backlog = 0, unknown = 1 }))
show(ngx.socket.tcp():connect("127.0.0.1", port, { pool = 13, pool_size = "1", backlog = "0" }))
--- response_body
bad argument #3 to 'connect' (bad "pool" option type: table)
bad argument #3 to 'connect' (bad "pool" option type: boolean)
bad argument #3 to 'connect' (bad "pool_size" option value: 0)
bad argument #3 to 'connect' (bad "pool_size" option value: -3)
bad argument #3 to 'connect' (bad "pool_size" option type: string)
bad argument #3 to 'connect' (bad "backlog" option value: -1)
bad argument #3 to 'connect' (bad "backlog" option type: boolean)
bad argument #3 to 'connect' (bad "pool_size" option type: table)
bad argument #3 to 'connect' (bad "pool_size" option value: 0)
1
1



=== TEST 6: ngx.socket.connect makes a connected socket
--- lua
local sock, err = ngx.socket.connect("127.0.0.1", port)
show(type(sock), err)
show(sock:send("say:hi%0A\n"))
show(sock:receive())
show(sock:close())
show(ngx.socket.connect("127.0.0.1", $TEST_NGINX_REFUSING_PORT))
show(ngx.socket.connect("127.0.0.1"))
show(ngx.socket.connect("127.0.0.1", 65536))
show(ngx.socket.connect("unix:/none/such"))
fails(function() ngx.socket.connect("127.0.0.1", 1, { pool_size = 0 }) end)
--- response_body
"table" nil
10
"hi"
1
nil "connection refused"
nil "missing the port number"
nil "bad port number: 65536"
nil "no such file or directory"
bad argument #3 to 'connect' (bad "pool_size" option value: 0)
--- error_log
connect() failed (111: Connection refused)



=== TEST 7: unix sockets, with and without the place of the port
--- lua
local url = "unix:$TEST_NGINX_HTML_DIR/u.sock"
for i, args in ipairs { { url }, { url, { pool = "a" } }, { url, nil, { pool = "b" } } } do
    local sock = ngx.socket.tcp()
    show(sock:connect(unpack(args, 1, i)))
    show(sock:send("GET /here HTTP/1.0\r\n\r\n"))
    local body = sock:receive("*a")
    show(body:match("\r\n\r\n(.*)"))
    show(sock:close())
end
local sock = ngx.socket.tcp()
show(sock:connect(url, 80, { pool = "u" }))
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/u.sock;
        location = /here { return 200 "from unix"; }
    }
--- response_body
1
22
"from unix"
1
1
22
"from unix"
1
1
22
"from unix"
1
1



=== TEST 8: unix sockets that cannot be
--- lua
local function try(url)
    local sock = ngx.socket.tcp()
    show(sock:connect(url))
end
try("unix:/none/such.sock")
try("unix:")
try("unix:/" .. ("x"):rep(107))
try("unix:/a\0b")
try("unix:/")
--- response_body
nil "no such file or directory"
nil "failed to parse host name \"unix:\": no path in the unix domain socket"
nil "failed to parse host name \"unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\": too long path in the unix domain socket"
nil "failed to parse host name \"unix:/a\0b\": invalid path in the unix domain socket"
nil "connection refused"
--- grep_error_log eval: qr/connect\(\).*?failed \(\d+: [\w ]+\)/
--- grep_error_log_out
connect() to unix:/none/such.sock failed (2: No such file or directory)
connect() to unix:/ failed (111: Connection refused)



=== TEST 9: IPv6 in brackets, and without them
--- lua
local sock = ngx.socket.tcp()
show(sock:connect("[::1]", $TEST_NGINX_RAND_PORT_1))
show(sock:send("GET /six HTTP/1.0\r\n\r\n"))
show(sock:receive("*a"):match("\r\n\r\n(.*)"))
sock:close()
show(sock:connect("[::1", 80))
show(sock:connect("[]", 80))
show(sock:connect("[zz]", 80))
show(sock:connect("[::1]x", 80))
--- http_config
    server {
        listen [::1]:$TEST_NGINX_RAND_PORT_1;
        location = /six { return 200 "from $remote_addr"; }
    }
--- response_body
1
21
"from ::1"
nil "failed to parse host name \"[::1\": invalid host"
nil "failed to parse host name \"[]\": no host"
nil "failed to parse host name \"[zz]\": invalid IPv6 address"
nil "failed to parse host name \"[::1]x\": invalid host"



=== TEST 10: host names that are none
--- lua
local sock = ngx.socket.tcp()
for _, host in ipairs { "", "a/b", "a?b", "a:b", "a:0", "a:99999", "a\0b", ":80" } do
    show(sock:connect(host, 80))
end
show(sock:connect("no-resolver.test", 80))
show(sock:connect(3, 80, { pool = "x" }))
show(sock:connect("a..b", 80))
show(sock:connect(".", 80))
show(sock:close())
--- response_body
nil "failed to parse host name \"\": no host"
nil "failed to parse host name \"a/b\": invalid host"
nil "failed to parse host name \"a?b\": invalid host"
nil "failed to parse host name \"a:b\": invalid port"
nil "failed to parse host name \"a:0\": invalid port"
nil "failed to parse host name \"a:99999\": invalid port"
nil "failed to parse host name \"a\0b\": invalid host"
nil "failed to parse host name \":80\": no host"
nil "no resolver defined to resolve \"no-resolver.test\""
nil "no resolver defined to resolve \"3\""
nil "no resolver defined to resolve \"a..b\""
nil "no resolver defined to resolve \".\""
nil "closed"



=== TEST 11: refused, and a socket can be tried again
--- lua
local sock = ngx.socket.tcp()
show(sock:connect("127.0.0.1", $TEST_NGINX_REFUSING_PORT))
show(sock:send("x"))
show(sock:receive())
show(sock:close())
show(sock:connect("127.0.0.1", port))
show(sock:send("say:again%0A\n"))
show(sock:receive())
--- response_body
nil "connection refused"
nil "closed"
nil "closed"
nil "closed"
1
13
"again"
--- error_log
connect() failed (111: Connection refused)
--- no_error_log
[crit]



=== TEST 12: to connect a connected socket closes it first
--- lua
local before = t.fds()
local sock = open("say:one%0A hold")
show(sock:receive())
for i = 1, 50 do
    assert(sock:connect("127.0.0.1", port))
end
show(t.fds() - before)
show(sock:send("say:two%0A hold\n"))
show(sock:receive())
show(sock:connect("a/b", 1))
show(sock:send("x"))
show(t.fds() - before)
--- response_body
"one"
1
16
"two"
nil "failed to parse host name \"a/b\": invalid host"
nil "closed"
0
--- error_log
attempt to send data on a closed socket



=== TEST 13: bad arguments leave a connected socket as it is
--- lua
local sock = open("say:one%0A hold")
show(sock:connect("127.0.0.1"))
show(sock:connect("127.0.0.1", "x"))
fails(function() sock:connect("127.0.0.1", port, { pool_size = 0 }) end)
show(sock:receive())
--- response_body
nil "missing the port number"
nil "bad port number: x"
bad argument #3 to 'connect' (bad "pool_size" option value: 0)
"one"



=== TEST 14: every method before connect and after close
--- location_config
    lua_socket_log_errors off;
--- lua
local function all(sock)
    show(sock:receive())
    show(sock:receive(0))
    show(sock:receiveany(1))
    show(sock:receiveuntil("x")())
    show(sock:send("x"))
    show(sock:send(""))
    show(sock:close())
    show(sock:getreusedtimes())
    show(sock:setkeepalive())
end
local sock = ngx.socket.tcp()
all(sock)
for _, name in ipairs { "getfd", "getoption", "setoption" } do
    fails(function() sock[name](sock, "keepalive", 1) end)
end
assert(sock:connect("127.0.0.1", port))
show(sock:close())
all(sock)
show(sock:getfd())
show(sock:getoption("keepalive"))
show(sock:setoption("keepalive", 1))
--- response_body
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
socket is never created nor connected
socket is never created nor connected
socket is never created nor connected
1
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"
nil "closed"



=== TEST 15: not while the configuration is read; when a worker starts
--- http_config
    init_by_lua_block {
        local ok, err = pcall(ngx.socket.tcp)
        print("init: ", err)
    }
    init_worker_by_lua_block {
        ngx.log(ngx.WARN, "init_worker: ", type(ngx.socket.tcp()))
    }
--- lua
ngx.say("ok")
--- response_body
ok
--- error_log
init: no request found
init_worker: table



=== TEST 16: in the rewrite and the access phase
--- config
    location /t2 {
        rewrite_by_lua_block {
            local t = require "puppet"
            local sock = t.open("say:rewrite%0A")
            package.loaded.phases = { a = sock:receive(), sock = sock }
        }
        access_by_lua_block {
            local t = require "puppet"
            local sock = t.open("wait:0.05 say:access%0A")
            package.loaded.phases.b = sock:receive()
        }
        content_by_lua_block {
            local phases = package.loaded.phases
            ngx.say(phases.a, " ", phases.b)
            -- One request, one handler: its socket still serves.
            ngx.say(select(2, phases.sock:receive()))
        }
    }
--- request
GET /t2
--- response_body
rewrite access
closed
--- no_error_log
[error]
