# Small pieces sent one after the other do not wait for the peer's delayed acknowledgement:
# TCP_NODELAY is set for the second one, which costs a system call then and no earlier.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: one question, one answer: the kernel's default stays
--- lua
local sock = open("say:one%0A line say:two%0A line line hold")
show(sock:receive())
sock:send("question\n")
show(sock:receive(), sock:getoption("tcp-nodelay"))
sock:send("first\n")
show(sock:getoption("tcp-nodelay"))
sock:send("second\n")
show(sock:getoption("tcp-nodelay"))
--- response_body
"one"
"two" 0
0
1



=== TEST 2: what Lua has set stays
--- lua
local sock = open("line line line hold")
show(sock:setoption("tcp-nodelay", false))
sock:send("first\n")
sock:send("second\n")
show(sock:getoption("tcp-nodelay"))
show(sock:setoption("tcp-nodelay", true), sock:getoption("tcp-nodelay"))
--- response_body
true
0
true 1



=== TEST 3: from the start of a handshake on, which often ends with something sent
--- lua
local sock = open("tls:good hold")
show(sock:getoption("tcp-nodelay"))
show(sock:sslhandshake(false, "a.test"))
show(sock:getoption("tcp-nodelay"))
--- response_body
0
true
1



=== TEST 4: a unix socket has no such option
--- http_config
    server { listen unix:$TEST_NGINX_HTML_DIR/o.sock; location / { return 200 "hello"; } }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/o.sock"))
sock:send("GET / HTTP/1.0\r\n")
sock:send("\r\n")
show((sock:receive("*a"):match("\r\n\r\n(.*)")))
--- response_body
"hello"
