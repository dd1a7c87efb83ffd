# The classic first example: bind to a local address, connect, send, receive, close,
# each with its error check.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: bind, connect, send, receive, close
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()

            -- assume "127.0.0.2" is a local address of this machine
            local ok, err = sock:bind("127.0.0.2")
            if not ok then
                ngx.say("failed to bind: ", err)
                return
            end
            ngx.say("bound")

            local ok, err = sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1)
            if not ok then
                ngx.say("failed to connect server: ", err)
                return
            end
            ngx.say("connected")

            local bytes, err = sock:send("GET /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            if not bytes then
                ngx.say("failed to send: ", err)
                return
            end
            ngx.say("sent ", bytes, " bytes")

            while true do
                local line, err, partial = sock:receive()
                if not line then
                    ngx.say("the end: ", err, ", ", partial)
                    break
                end
                if line:find("HTTP/") or line:find("you are") then
                    ngx.say("received: ", line)
                end
            end

            local ok, err = sock:close()
            if not ok then
                ngx.say("failed to close: ", err)
                return
            end
            ngx.say("closed")
        }
    }
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location = /who { return 200 "you are $remote_addr\n"; }
    }
--- request
GET /t
--- response_body
bound
connected
sent 49 bytes
received: HTTP/1.1 200 OK
received: you are 127.0.0.2
the end: closed, 
closed
--- no_error_log
[error]



=== TEST 2: the same when each step fails
--- lua
local sock = ngx.socket.tcp()
show("bind", sock:bind("not an address"))
show("connect", sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
show("send", sock:send("x"))
show("receive", sock:receive())
show("close", sock:close())
--- response_body
"bind" nil "bad address"
"connect" nil "connection refused"
"send" nil "closed"
"receive" nil "closed"
"close" nil "closed"
--- error_log
connect() failed (111: Connection refused)
attempt to send data on a closed socket
attempt to receive data on a closed socket
