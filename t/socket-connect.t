# ngx.socket.connect: a socket made and connected by one call; ngx.socket.stream.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

Test::Nginx::Peer->dns(
    'a.test'    => '127.0.0.1',
    'slow.test' => { answer => '127.0.0.1', delay => 0.2 },
);
my $free = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Listen => 1 );
$ENV{TEST_NGINX_REFUSING_PORT} = $free->sockport;
close $free;

run_tests();

__DATA__

=== TEST 1: a connected socket, of the same kind as ngx.socket.tcp makes
--- lua
local sock, err = ngx.socket.connect("127.0.0.1", port)
show(type(sock), err, getmetatable(sock) == getmetatable(ngx.socket.tcp()))
show(ngx.socket.stream == ngx.socket.tcp)
show(sock:send("say:hello%0A hold\n"))
show(sock:receive())
show(sock:close())
show(sock:connect("127.0.0.1", port))
show(sock:send("say:again%0A hold\n"), sock:receive())
--- response_body
"table" nil true
true
18
"hello"
1
1
18 "again"



=== TEST 2: a name, at once and after a while
--- location_config
resolver $TEST_NGINX_RESOLVER ipv6=off;
--- lua
for _, name in ipairs { "a.test", "slow.test", "slow.test" } do
    local sock = assert(ngx.socket.connect(name, tostring(port)))
    sock:send("say:" .. name .. "%0A hold\n")
    show(sock:receive())
end
show(ngx.socket.connect("none.test", port))
--- response_body
"a.test"
"slow.test"
"slow.test"
nil "none.test could not be resolved (3: Host not found)"



=== TEST 3: a unix socket
--- http_config
server {
    listen unix:$TEST_NGINX_HTML_DIR/http.sock;
    location / { return 200 "hello"; }
}
--- lua
for _, arguments in ipairs { {}, { { pool = "mine" } } } do
    local sock = assert(ngx.socket.connect("unix:$TEST_NGINX_HTML_DIR/http.sock", unpack(arguments)))
    sock:send("GET / HTTP/1.0\r\n\r\n")
    show((sock:receive("*a"):gsub("^.*\r\n\r\n", "")))
end
show(ngx.socket.connect("unix:/no/such/socket"))
--- response_body
"hello"
"hello"
nil "no such file or directory"
--- error_log
connect() to unix:/no/such/socket failed (2: No such file or directory)



=== TEST 4: the pool that the options name
--- lua
local function reused(opts)
    local sock = assert(ngx.socket.connect("127.0.0.1", port, opts))
    local times = sock:getreusedtimes()
    if times == 0 then
        sock:send("hold\n")
    end
    sock:setkeepalive(1000)
    return times
end
show(reused(), reused(), reused { pool = "mine" }, reused { pool = "mine" }, reused())
--- response_body
0 1 0 1 2



=== TEST 5: what fails
--- lua
show(ngx.socket.connect("127.0.0.1"))
show(ngx.socket.connect("127.0.0.1", 65536))
show(ngx.socket.connect("a.test", port))
show(ngx.socket.connect("127.0.0.1", $TEST_NGINX_REFUSING_PORT))
fails(ngx.socket.connect)
fails(ngx.socket.connect, "127.0.0.1", port, {}, 1)
fails(ngx.socket.connect, {}, 1)
fails(ngx.socket.connect, "127.0.0.1", port, { pool_size = 0 })
--- response_body
nil "missing the port number"
nil "bad port number: 65536"
nil "no resolver defined to resolve \"a.test\""
nil "connection refused"
ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen 1
ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen 5
bad argument #1 to '?' (string expected, got table)
bad argument #3 to '?' (bad "pool_size" option value: 0)
--- error_log
connect() failed (111: Connection refused)



=== TEST 6: the socket is not collected while it connects
--- config
    location = /gc {
        content_by_lua_block {
            for i = 1, 10 do
                collectgarbage()
            end
            ngx.say("collected")
        }
    }
--- location_config
resolver $TEST_NGINX_RESOLVER ipv6=off;
--- lua
local other = assert(ngx.socket.connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
assert(other:send("GET /gc HTTP/1.0\r\nHost: a\r\n\r\n"))
local sock = assert(ngx.socket.connect("slow.test", port))
show((other:receive("*a"):match("collected")))
show(sock:send("say:hello%0A hold\n"))
show(sock:receive())
--- response_body
"collected"
18
"hello"
