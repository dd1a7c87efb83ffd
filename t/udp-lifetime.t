# Whom a datagram socket belongs to, and when it is closed.

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
workers(1);

run_tests();

__DATA__

=== TEST 1: another request cannot use a socket, its owner's end closes it
--- config
    location = /keep {
        content_by_lua_block {
            local sock = ngx.socket.udp()
            sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
            sock:send("hello")
            package.loaded.kept = sock
            ngx.say(sock:receive())
        }
    }
    location = /use {
        content_by_lua_block {
            local sock = package.loaded.kept
            for _, method in ipairs { "setpeername", "send", "receive", "close" } do
                local args = method == "setpeername" and { "127.0.0.1", 1 } or { method == "send" and "x" or nil }
                local ok, err = pcall(sock[method], sock, unpack(args))
                ngx.say(ok, " ", (err:gsub("^.-: ", "")))
            end
            sock:settimeout(1)
            package.loaded.kept = nil
        }
    }
--- request eval
[ "GET /keep", "GET /use" ]
--- response_body eval
[ "<hello>\n", "false bad request\n" x 4 ]
--- no_error_log
[error]



=== TEST 2: handlers that end leave no descriptor behind
--- config
    location = /leave {
        content_by_lua_block {
            for _, where in ipairs { "unix:$TEST_NGINX_ECHO_SOCK", "127.0.0.1" } do
                local sock = ngx.socket.udp()
                assert(sock:setpeername(where, $TEST_NGINX_ECHO_PORT))
                package.loaded[sock] = true -- out of reach of the collector
                sock:send("hello")
                assert(sock:receive() == "<hello>")
            end
            ngx.say("done")
        }
    }
    location = /fail {
        content_by_lua_block {
            local sock = ngx.socket.udp()
            package.loaded[sock] = true
            sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
            error("oops")
        }
    }
    location = /same {
        content_by_lua_block {
            ngx.say(require("puppet").datagrams())
        }
    }
--- request eval
[ "GET /same", "GET /leave", "GET /fail", "GET /leave", "GET /same" ]
--- error_code eval
[ 200, 200, 500, 200, 200 ]
--- response_body_like eval
[ qr/^0$/, qr/^done$/, qr/500/, qr/^done$/, qr/^0$/ ]
--- error_log
oops



=== TEST 3: the collector closes what nobody refers to
--- lua
local before = t.datagrams()
for i = 1, 20 do
    local sock = ngx.socket.udp()
    assert(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
end
show(t.datagrams() - before > 10)
collectgarbage()
collectgarbage()
show(t.datagrams() - before)
--- response_body
true
0



=== TEST 4: a method that waits keeps its object, also where nothing else refers to it
--- config
    location = /gc {
        content_by_lua_block {
            for i = 1, 10 do
                collectgarbage()
            end
            ngx.say("collected")
        }
    }
--- lua
local function collect()
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
    assert(sock:send("GET /gc HTTP/1.0\r\nHost: a\r\n\r\n"))
    return sock
end
local function datagram()
    local sock = ngx.socket.udp()
    assert(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
    sock:settimeout(1000)
    sock:send("later 0.2 hello")
    return sock:receive()
end
local function stream()
    return open("wait:0.2 say:hello%0A hold"):receive()
end
local function pattern()
    return open("wait:0.2 say:hello%0A hold"):receiveuntil("\n")()
end
for _, wait in ipairs { datagram, stream, pattern } do
    local other = collect()
    show(wait())
    show((other:receive("*a"):match("collected")))
end
--- response_body
"hello"
"collected"
"hello"
"collected"
"hello"
"collected"



=== TEST 5: a client that goes away ends nothing too early
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.udp()
            sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
            sock:settimeout(1000)
            sock:send("later 0.3 hello")
            ngx.log(ngx.WARN, "received ", (sock:receive()))
        }
    }
--- request
GET /t
--- timeout: 0.1
--- abort
--- ignore_response
--- wait: 0.4
--- error_log
received hello
--- no_error_log
[error]



=== TEST 6: a coroutine may wait
--- lua
local answers = {}
local function ask(text)
    local sock = ngx.socket.udp()
    sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT)
    sock:send(text)
    coroutine.yield("asked " .. text)
    answers[#answers + 1] = sock:receive()
    return "answered"
end
local a, b = coroutine.create(ask), coroutine.create(ask)
show(coroutine.resume(a, "a"))
show(coroutine.resume(b, "b"))
show(coroutine.resume(b))
show(coroutine.resume(a))
show(answers[1], answers[2])
--- response_body
true "asked a"
true "asked b"
true "answered"
true "answered"
"<b>" "<a>"
