# Debian's lua-nginx-websocket, as it is: its client talks to its server, which stands on
# a raw request socket, in the same nginx.

use Test::Nginx::Socket::Lua;
use Test::Nginx::CA;
use Test::Nginx::Puppet;

plan skip_all => 'lua-nginx-websocket was not unpacked' if !lua_library('resty/websocket/server.lua');
plan 'no_plan';

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( config =>
            'location = /echo { content_by_lua_block { require "ws".echo() } }' . $block->config );
    }
);

no_long_string();
run_tests();

__DATA__

=== TEST 1: text, binary, empty; close
--- lua
local connect = require "ws".connect
local ws = connect()
for _, text in ipairs { "hello", "", "söme ütf-8", ("x"):rep(125), ("y"):rep(126), ("z"):rep(65535) } do
    assert(ws:send_text(text))
    local data, kind, err = ws:recv_frame()
    show(data == text, kind, err)
    assert(ws:send_binary(text))
    data, kind, err = ws:recv_frame()
    show(data == text, kind, err)
end
assert(ws:send_close(1000, "bye"))
show(ws:recv_frame())
show(ws:recv_frame())
--- response_body
true "text" nil
true "binary" nil
true "text" nil
true "binary" nil
true "text" nil
true "binary" nil
true "text" nil
true "binary" nil
true "text" nil
true "binary" nil
true "text" nil
true "binary" nil
"bye" "close" 1000
nil nil "failed to receive the first 2 bytes: closed"
--- error_log
close: 1000 bye
--- no_error_log
[crit]
[alert]



=== TEST 2: large frames, many frames
--- lua
local connect = require "ws".connect
local ws = connect()
for _, size in ipairs { 65536, 100001, 1000000 } do
    local text = ("0123456789"):rep(math.ceil(size / 10)):sub(1, size)
    assert(ws:send_binary(text))
    local data = ws:recv_frame()
    ngx.say(#data, " ", data == text)
end
-- A burst, then the answers.
for i = 1, 500 do
    assert(ws:send_text("message " .. i))
end
local good = 0
for i = 1, 500 do
    good = good + (ws:recv_frame() == "message " .. i and 1 or 0)
end
ngx.say(good)
-- What is too large for the server.
local big = connect { timeout = 2000, max_payload_len = 2000000 }
big:send_text(("x"):rep(1000001))
show(big:recv_frame())
ws:close()
--- response_body_like
65536 true
100001 true
1000000 true
500
nil nil "failed to receive the first 2 bytes: (closed|connection reset by peer)"
--- error_log
failed: exceeding max payload len
--- no_error_log
[crit]
[alert]



=== TEST 3: ping and pong, both ways
--- lua
local connect = require "ws".connect
local ws = connect()
assert(ws:send_ping("1"))
show(ws:recv_frame())
assert(ws:send_ping())
show(ws:recv_frame())
assert(ws:send_text("!ping"))
show(ws:recv_frame())
assert(ws:send_pong("I am"))
assert(ws:send_text("after"))
show(ws:recv_frame())
ws:close()
--- response_body
"1" "pong" nil
"" "pong" nil
"are you there?" "ping" nil
"after" "text" nil
--- error_log
pong: I am



=== TEST 4: fragments, with a ping between them
--- lua
local connect = require "ws".connect
local ws = connect()
assert(ws:send_frame(false, 1, "one"))
assert(ws:send_frame(false, 0, "two"))
assert(ws:send_ping("between"))
assert(ws:send_frame(true, 0, "three"))
show(ws:recv_frame())
show(ws:recv_frame())
-- A frame that comes byte by byte.
local bytes = string.char(0x81, 0x85, 0, 0, 0, 0) .. "hello"
for i = 1, #bytes do
    ws.sock:send(bytes:sub(i, i))
    ngx.sleep(0.002)
end
show(ws:recv_frame())
ws:close()
--- response_body
"between" "pong" nil
"text one, continuation two, continuation three" "text" nil
"hello" "text" nil



=== TEST 5: timeouts, of server and client
--- lua
local connect = require "ws".connect
local ws = connect()
assert(ws:send_text("!timeout"))
show(ws:recv_frame())
ws:set_timeout(20)
assert(ws:send_text("!wait"))
show(ws:recv_frame())
ws:set_timeout(2000)
show(ws:recv_frame())
assert(ws:send_text("still here"))
show(ws:recv_frame())
ws:close()
--- response_body
"failed to receive the first 2 bytes: timeout" "text" nil
nil nil "failed to receive the first 2 bytes: timeout"
"waited" "text" nil
"still here" "text" nil
--- error_log
lua tcp socket read timed out



=== TEST 6: the client is gone, with and without a farewell
--- lua
local connect = require "ws".connect
local ws = connect()
ws:close()
ws = connect()
ws.sock:close()
ngx.sleep(0.05)
ws = connect()
ws.sock:send(string.char(0x81))
ws.sock:close()
ngx.sleep(0.05)
ngx.say("done")
--- response_body
done
--- grep_error_log eval
qr/(?:close|failed): [^,]*/
--- grep_error_log_out
close: nil 
failed: failed to receive the first 2 bytes: closed
failed: failed to receive the first 2 bytes: closed



=== TEST 7: header, protocols; what is no WebSocket request
--- lua
local connect = require "ws".connect
local raw = c.raw("GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    .. "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    .. string.char(0x88, 0x80, 0, 0, 0, 0)) -- the frame that closes, together with the header
local header, rest = raw:match("^(.-\r\n\r\n)(.*)$")
for _, line in ipairs { "HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Protocol: chat", "Transfer-Encoding", "Content-Type" } do
    show(line, header:find(line, 1, true) ~= nil)
end
show(rest:byte(1, -1))
show(c.raw("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):match("^[^\r]*"))
show(c.raw("GET /echo HTTP/1.0\r\n\r\n"):match("^[^\r]*"))
--- response_body
"HTTP/1.1 101 Switching Protocols" true
"Connection: upgrade" true
"Upgrade: websocket" true
"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" true
"Sec-WebSocket-Protocol: chat" true
"Transfer-Encoding" false
"Content-Type" false
136 0
"HTTP/1.1 400 Bad Request"
"HTTP/1.1 400 Bad Request"
--- error_log
refused: bad "upgrade" request header: nil
refused: bad http version



=== TEST 8: many connections at once; each is a coroutine of one worker
--- lua
local connect = require "ws".connect
local all = {}
for i = 1, 25 do
    all[i] = connect()
    assert(all[i]:send_text("one " .. i))
end
local good = 0
for i = 25, 1, -1 do
    good = good + (all[i]:recv_frame() == "one " .. i and 1 or 0)
    assert(all[i]:send_text("two " .. i))
end
for i = 1, 25 do
    good = good + (all[i]:recv_frame() == "two " .. i and 1 or 0)
    all[i]:close()
end
ngx.say(good)
--- response_body
50



=== TEST 9: the server pushes while it reads: two light threads
--- config
    location = /push {
        content_by_lua_block {
            local ws = assert(require "resty.websocket.server":new { timeout = 2000 })
            local count = 0
            local pusher = ngx.thread.spawn(function ()
                while true do
                    ngx.sleep(0.005)
                    count = count + 1
                    if not ws:send_text("push " .. count) then
                        return
                    end
                end
            end)
            local data, kind
            repeat
                data, kind = ws:recv_frame()
            until kind == "close" or not data
            ngx.thread.kill(pusher)
            ws:send_close(1000, kind)
        }
    }
--- lua
local connect = require "ws".connect
local ws = connect(nil, "ws://127.0.0.1:" .. ngx.var.server_port .. "/push")
show(ws:recv_frame())
show(ws:recv_frame())
assert(ws:send_text("x"))
show(ws:recv_frame())
assert(ws:send_close(1000))
local data, kind, code
repeat
    data, kind, code = ws:recv_frame()
until kind ~= "text"
show(data, kind, code)
--- response_body
"push 1" "text" nil
"push 2" "text" nil
"push 3" "text" nil
"close" "close" 1000



=== TEST 10: wss, with a checked certificate
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate $TEST_NGINX_CA/good.pem;
        ssl_certificate_key $TEST_NGINX_CA/good.key;
        location = /echo { content_by_lua_block { require "ws".echo() } }
    }
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
--- lua
local connect = require "ws".connect
local ws = connect(nil, "wss://127.0.0.1:$TEST_NGINX_RAND_PORT_1/echo", { ssl_verify = true })
for _, size in ipairs { 5, 1000, 100000, 900000 } do
    assert(ws:send_text(("x"):rep(size)))
    show(#ws:recv_frame())
end
ws:set_timeout(20)
show(ws:recv_frame())
ws:set_timeout(1000)
assert(ws:send_close(1000, "bye"))
show(ws:recv_frame())
--- response_body
5
1000
100000
900000
nil nil "failed to receive the first 2 bytes: timeout"
"bye" "close" 1000
--- error_log
lua tcp socket read timed out



=== TEST 11: full duplex: one thread reads while another writes, at both ends, large messages both ways
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        ssl_certificate $TEST_NGINX_CA/good.pem;
        ssl_certificate_key $TEST_NGINX_CA/good.key;
        location = /both { content_by_lua_block { require "ws".both() } }
    }
--- config
    location = /both { content_by_lua_block { require "ws".both() } }
--- lua
local ws_lib = require "ws"
for _, url in ipairs { "ws://127.0.0.1:" .. ngx.var.server_port .. "/both", "wss://127.0.0.1:$TEST_NGINX_RAND_PORT_1/both" } do
    local ws = ws_lib.connect({ timeout = 20000, max_payload_len = 1000000 }, url)
    ngx.say(ws_lib.exchange(ws, "client"))
    show(ws:recv_frame())
end
--- response_body
client: sent 12800000 and received 12800000, both at once
"server: sent 12800000 and received 12800000, both at once" "text" nil
client: sent 12800000 and received 12800000, both at once
"server: sent 12800000 and received 12800000, both at once" "text" nil
--- timeout: 60
