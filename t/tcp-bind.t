# sock:bind.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: the connection comes from the address
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        listen [::1]:$TEST_NGINX_RAND_PORT_1;
        location = /who { return 200 "$remote_addr"; }
    }
--- lua
local function who(host, ...)
    local sock = ngx.socket.tcp()
    if select("#", ...) > 0 then
        show(sock:bind(...))
    end
    local ok, err = sock:connect(host, $TEST_NGINX_RAND_PORT_1)
    if not ok then
        return show(ok, err)
    end
    sock:send("GET /who HTTP/1.0\r\n\r\n")
    show(sock:receive("*a"):match("\r\n\r\n(.*)"))
end
who("127.0.0.1")
who("127.0.0.1", "127.0.0.7")
who("127.0.0.1", "127.0.0.8", 0)
who("[::1]", "::1")
who("[::1]", "[::1]")
--- response_body
"127.0.0.1"
true
"127.0.0.7"
true
"127.0.0.8"
true
"::1"
true
"::1"



=== TEST 2: and from the port
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location = /who { return 200 "$remote_addr:$remote_port"; }
    }
--- lua
local sock = ngx.socket.tcp()
show(sock:bind("127.0.0.9", $TEST_NGINX_RAND_PORT_2))
show(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
sock:send("GET /who HTTP/1.0\r\n\r\n")
show(sock:receive("*a"):match("\r\n\r\n(.*)") == "127.0.0.9:$TEST_NGINX_RAND_PORT_2")
--- response_body
true
1
true



=== TEST 3: what is no literal address
--- lua
local sock = ngx.socket.tcp()
for _, bad in ipairs { "", "localhost", "127.0.0.1:80", "127.0.0", "1.2.3.4.5", "300.1.1.1", ":::1",
                       "unix:/x", "127.0.0.1\0", 5, true, {}, print } do
    show(sock:bind(bad))
end
show(sock:bind(nil))
fails(sock.bind, sock)
fails(sock.bind, sock, "127.0.0.1", 1, 2)
show(sock:bind("127.0.0.1", -1))
show(sock:bind("127.0.0.1", 65536))
show(sock:bind("127.0.0.1", "x"))
show(sock:bind("127.0.0.1", nil))
--- response_body
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
nil "bad address"
expecting 2 or 3 arguments (including the object), but got 1
expecting 2 or 3 arguments (including the object), but got 4
nil "bad port number"
nil "bad port number"
nil "bad port number"
true



=== TEST 4: an address that this machine does not have
--- lua
local before = t.fds()
local sock = ngx.socket.tcp()
show(sock:bind("198.51.100.1"))
for i = 1, 20 do
    local ok, err = sock:connect("127.0.0.1", port)
    if i == 1 then show(ok, err) end
end
show(t.fds() - before)
show(sock:bind("127.0.0.1"))
show(sock:connect("127.0.0.1", port))
--- response_body
true
nil "cannot assign requested address"
0
true
1
--- error_log
bind(198.51.100.1:0) failed (99: Cannot assign requested address)



=== TEST 5: it applies to all later connects, not to unix sockets
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        listen unix:$TEST_NGINX_HTML_DIR/b.sock;
        location = /who { return 200 "$remote_addr"; }
    }
--- lua
local sock = ngx.socket.tcp()
show(sock:bind("127.0.0.7"))
for _, url in ipairs { "127.0.0.1", "unix:$TEST_NGINX_HTML_DIR/b.sock", "127.0.0.1" } do
    if url:find("unix") then
        show(sock:connect(url))
    else
        show(sock:connect(url, $TEST_NGINX_RAND_PORT_1))
    end
    sock:send("GET /who HTTP/1.0\r\n\r\n")
    show(sock:receive("*a"):match("\r\n\r\n(.*)"))
end
--- response_body
true
1
"127.0.0.7"
1
"unix:"
1
"127.0.0.7"



=== TEST 6: an IPv6 address does not serve for an IPv4 peer
--- lua
local sock = ngx.socket.tcp()
show(sock:bind("::1"))
local ok, err = sock:connect("127.0.0.1", port)
show(ok, type(err))
--- response_body
true
nil "string"
--- error_log
failed (
