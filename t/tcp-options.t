# sock:setoption, sock:getoption, sock:getfd.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: each option is set on the socket itself
--- lua
local ffi = require "ffi"
ffi.cdef "int getsockopt(int fd, int level, int name, void *value, unsigned int *len);"
local function kernel(fd, level, name)
    local value, len = ffi.new("int[1]"), ffi.new("unsigned int[1]", 4)
    assert(ffi.C.getsockopt(fd, level, name, value, len) == 0)
    return value[0]
end
local sock = open("mute")
local fd = sock:getfd()
for _, option in ipairs {
    { "keepalive", 1, 9, true, false }, { "keepalive", 1, 9, 1, 0 },
    { "reuseaddr", 1, 2, true, false }, { "tcp-nodelay", 6, 1, 1, 0 }, { "tcp-nodelay", 6, 1, true, false },
    { "keepidle", 6, 4, 77, 88 }, { "keepintvl", 6, 5, 7, 8 }, { "keepcnt", 6, 6, 3, 4 },
} do
    local name, level, number, one, two = unpack(option)
    show(name, sock:setoption(name, one), sock:getoption(name), kernel(fd, level, number))
    show(name, sock:setoption(name, two), sock:getoption(name), kernel(fd, level, number))
end
for name, number in pairs { sndbuf = 7, rcvbuf = 8 } do
    -- The kernel doubles the value.
    assert(sock:setoption(name, 16384) == true)
    assert(sock:getoption(name) == 32768 and kernel(fd, 1, number) == 32768)
end
show(sock:setoption("keepidle", "99"), sock:getoption("keepidle"))
--- response_body
"keepalive" true 1 1
"keepalive" true 0 0
"keepalive" true 1 1
"keepalive" true 0 0
"reuseaddr" true 1 1
"reuseaddr" true 0 0
"tcp-nodelay" true 1 1
"tcp-nodelay" true 0 0
"tcp-nodelay" true 1 1
"tcp-nodelay" true 0 0
"keepidle" true 77 77
"keepidle" true 88 88
"keepintvl" true 7 7
"keepintvl" true 8 8
"keepcnt" true 3 3
"keepcnt" true 4 4
true 99



=== TEST 2: ip-transparent before connect is really used (it takes a privilege)
--- skip_eval: 2: $> != 0
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location = /who { return 200 "$remote_addr"; }
    }
--- lua
local sock = ngx.socket.tcp()
show(sock:setoption("ip-transparent", true))
show(sock:bind("127.0.0.5"))
show(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
show(sock:getoption("ip-transparent"))
show(sock:setoption("ip-transparent", false))
show(sock:getoption("ip-transparent"))
sock:close()
show(sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
show(sock:getoption("ip-transparent"))
--- response_body
true
true
1
1
true
0
1
0



=== TEST 3: names and values that are none
--- lua
local sock = open("mute")
show(sock:setoption("linger", 1))
show(sock:setoption("", 1))
show(sock:setoption())
show(sock:setoption(nil, 1))
show(sock:setoption("keepalive"))
show(sock:setoption("keepalive", nil))
show(sock:setoption("keepalive", {}))
show(sock:setoption("keepalive", "x"))
show(sock:setoption("keepidle", -1))
show(sock:getoption("linger"))
show(sock:getoption())
show(sock:getoption(5))
show(sock:setoption({}, 1))
--- response_body
nil "unsupported option linger"
nil "unsupported option "
nil "missing the \"option\" argument"
nil "missing the \"option\" argument"
nil "missing the \"value\" argument"
nil "missing the \"value\" argument"
nil "missing the \"value\" argument"
nil "missing the \"value\" argument"
nil "invalid argument"
nil "unsupported option linger"
nil "missing the \"option\" argument"
nil "unsupported option 5"
nil "unsupported option table"



=== TEST 4: getfd is the connection's descriptor
--- lua
local function link(fd)
    local ffi = require "ffi"
    ffi.cdef "long readlink(const char *path, char *buffer, size_t size);"
    local buffer = ffi.new("char[64]")
    local n = ffi.C.readlink("/proc/self/fd/" .. fd, buffer, 64)
    return n < 0 and "none" or ffi.string(buffer, n):match("^%a+")
end
local sock = ngx.socket.tcp()
fails(sock.getfd, sock)
assert(sock:connect("127.0.0.1", port))
local fd = sock:getfd()
show(type(fd), link(fd))
sock:close()
show(link(fd))
show(sock:getfd())
sock:connect("127.0.0.1", port)
show(sock:getfd() == fd)
--- response_body
socket is never created nor connected
"number" "socket"
"none"
nil "closed"
true



=== TEST 5: TCP options on a unix socket are the system's error
--- http_config
    server { listen unix:$TEST_NGINX_HTML_DIR/o.sock; }
--- lua
local sock = ngx.socket.tcp()
show(sock:connect("unix:$TEST_NGINX_HTML_DIR/o.sock"))
show(sock:setoption("tcp-nodelay", true))
show(sock:getoption("keepidle"))
show(sock:setoption("sndbuf", 8192), sock:getoption("sndbuf"))
show(type(sock:getfd()))
--- response_body
1
nil "operation not supported"
nil "operation not supported"
true 16384
"number"



=== TEST 6: options stay when a connection comes back from its pool
--- lua
local sock = open("echo", { pool = "options" })
sock:setoption("keepidle", 123)
local fd = sock:getfd()
show(sock:setkeepalive())
show(sock:getfd())
assert(sock:connect("127.0.0.1", port, { pool = "options" }))
show(sock:getreusedtimes(), sock:getoption("keepidle"), sock:getfd() == fd)
--- response_body
1
nil "closed"
1 123 true
