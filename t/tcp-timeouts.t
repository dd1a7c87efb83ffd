# settimeout, settimeouts, and what they limit.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

blackhole();
run_tests();

__DATA__

=== TEST 1: the number and range of arguments; nothing is returned
--- lua
local sock = ngx.socket.tcp()
fails(sock.settimeout, sock)
fails(sock.settimeout, sock, 1, 2)
fails(sock.settimeout)
fails(sock.settimeouts, sock, 1, 2)
fails(sock.settimeouts, sock, 1, 2, 3, 4)
for _, bad in ipairs { -1, -0.5, 2 ^ 31, 1e300, 1 / 0, 0 / 0 } do
    fails(sock.settimeout, sock, bad)
    fails(sock.settimeouts, sock, 1, bad, 1)
end
show(select("#", sock:settimeout(2 ^ 31 - 1)), select("#", sock:settimeouts(1, 2, 3)))
show(select("#", sock:settimeout(0)), select("#", sock:settimeout(nil)),
    select("#", sock:settimeout("x")), select("#", sock:settimeout({})))
--- response_body
ngx.socket settimeout: expecting 2 arguments (including the object) but seen 1
ngx.socket settimeout: expecting 2 arguments (including the object) but seen 3
ngx.socket settimeout: expecting 2 arguments (including the object) but seen 0
ngx.socket settimeouts: expecting 4 arguments (including the object) but seen 3
ngx.socket settimeouts: expecting 4 arguments (including the object) but seen 5
bad timeout value
bad timeout value
bad timeout value
bad timeout value
bad timeout value
bad timeout value
bad timeout value
bad timeout value
bad timeout value
bad timeout value
bad timeout value
bad timeout value
0 0
0 0 0 0



=== TEST 2: a connect without an answer
--- lua
local sock = ngx.socket.tcp()
sock:settimeout(80)
local took, ok, err = t.timed(sock.connect, sock, "127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT)
show(ok, err, t.about(took, 0.08))
show(sock:close())
sock:settimeouts(50, 5000, 5000)
took, ok, err = t.timed(sock.connect, sock, "127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT)
show(ok, err, t.about(took, 0.05))
show(sock:connect("127.0.0.1", port))
--- response_body
nil "timeout" "about 0.08"
nil "closed"
nil "timeout" "about 0.05"
1
--- grep_error_log eval: qr/lua tcp socket connect timed out, when connecting to 127.0.0.1:\d+/
--- grep_error_log_out eval
"lua tcp socket connect timed out, when connecting to 127.0.0.1:$ENV{TEST_NGINX_BLACKHOLE_PORT}\n" x 2



=== TEST 3: the directives are the defaults; 0, nil and what is no number bring them back
--- location_config
    lua_socket_connect_timeout 60ms;
    lua_socket_send_timeout 70ms;
    lua_socket_read_timeout 80ms;
--- lua
local function try(expected, set)
    local sock = ngx.socket.tcp()
    if set then
        sock:settimeout(3000)
        set(sock)
    end
    local took, ok, err = t.timed(sock.connect, sock, "127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT)
    show(ok, err, t.about(took, 0.06))
    assert(sock:connect("127.0.0.1", port))
    sock:send("mute\n")
    took, ok, err = t.timed(sock.receive, sock)
    show(ok, err, t.about(took, 0.08))
    took, ok, err = t.timed(sock.send, sock, ("x"):rep(20000000))
    show(ok, err, t.about(took, 0.07))
end
try()
try(nil, function(sock) sock:settimeout(0) end)
try(nil, function(sock) sock:settimeout(nil) end)
try(nil, function(sock) sock:settimeouts(nil, 0, "x") end)
--- response_body
nil "timeout" "about 0.06"
nil "timeout" "about 0.08"
nil "timeout" "about 0.07"
nil "timeout" "about 0.06"
nil "timeout" "about 0.08"
nil "timeout" "about 0.07"
nil "timeout" "about 0.06"
nil "timeout" "about 0.08"
nil "timeout" "about 0.07"
nil "timeout" "about 0.06"
nil "timeout" "about 0.08"
nil "timeout" "about 0.07"
--- error_log
timed out



=== TEST 4: settimeouts sets each of the three
--- lua
local sock = open("mute")
sock:settimeouts(1000, 40, 90)
local took, ok, err = t.timed(sock.receive, sock)
show(ok, err, t.about(took, 0.09))
took, ok, err = t.timed(sock.send, sock, ("x"):rep(20000000))
show(ok, err, t.about(took, 0.04))
--- response_body
nil "timeout" "about 0.09"
nil "timeout" "about 0.04"
--- error_log
timed out



=== TEST 5: a number may come as a string
--- lua
local sock = open("mute")
sock:settimeout("40")
local took, ok, err = t.timed(sock.receive, sock)
show(ok, err, t.about(took, 0.04))
--- response_body
nil "timeout" "about 0.04"
--- error_log
timed out



=== TEST 6: a peer that drips keeps a read alive: the time runs from the last progress
--- lua
for _, read in ipairs {
    function(sock) return sock:receive() end,
    function(sock) return sock:receive(12) end,
    function(sock) return sock:receiveuntil("\n")() end,
} do
    local sock = open("drip:0.04:0123456789ab%0A wait:0.6 say:late hold")
    sock:settimeout(400)
    local took, data, err, partial = t.timed(read, sock)
    show(data, err, partial, took > 0.41 or took)
end
local sock = open("drip:0.04:0123456789 hold")
sock:settimeout(400)
local took, data, err, partial = t.timed(sock.receive, sock)
show(data, err, partial, took > 0.75 or took)
--- response_body
"0123456789ab" nil nil true
"0123456789ab" nil nil true
"0123456789ab" nil nil true
nil "timeout" "0123456789" true
--- error_log
lua tcp socket read timed out



=== TEST 7: the timeout can be changed between calls, and applies to the next one
--- lua
local sock = open("mute")
for _, ms in ipairs { 30, 60, 20 } do
    sock:settimeout(ms)
    local took, ok, err = t.timed(sock.receive, sock)
    show(err, t.about(took, ms / 1000))
end
--- response_body
"timeout" "about 0.03"
"timeout" "about 0.06"
"timeout" "about 0.02"
--- error_log
timed out



=== TEST 8: timeouts stay with the object through close and connect
--- lua
local sock = open("mute")
sock:settimeout(40)
sock:close()
assert(sock:connect("127.0.0.1", port))
sock:send("mute\n")
local took, ok, err = t.timed(sock.receive, sock)
show(err, t.about(took, 0.04))
--- response_body
"timeout" "about 0.04"
--- error_log
timed out



=== TEST 9: data that came before the timer is noticed first
--- lua
local sock = open("wait:0.03 say:there%0A hold")
sock:settimeout(50)
-- The worker is busy past the timeout; data and timer are due at once.
local until_ = os.clock() + 0.12
ngx.sleep(0)
while os.clock() < until_ do end
show(sock:receive())
--- response_body
"there"



=== TEST 10: many sockets time out at once
--- lua
local done = 0
local socks = {}
for i = 1, 20 do
    socks[i] = open("mute")
    socks[i]:settimeout(20)
end
local took = t.timed(function()
    for i = 1, 20 do
        local data, err = socks[i]:receive()
        if err == "timeout" then done = done + 1 end
    end
end)
show(done, t.about(took, 0.4))
--- response_body
20 "about 0.4"
--- error_log
timed out



=== TEST 11: ngx.sleep(0) lets all other events have their turn
--- lua
local sock = open("say:x hold")
for i = 1, 20000 do
    ngx.sleep(0)
end
-- The byte came in the meantime: no wait is needed, so even this may read it.
show((("x"):gsub("x", function() return sock:receive(1) end)))
--- response_body
"x"
--- timeout: 60



=== TEST 12: the timer of an earlier wait neither ends a later one nor puts it off
--- lua
local function wait(sock, ms)
    sock:settimeout(ms)
    local took, data, err = t.timed(sock.receive, sock)
    return data or err, took
end
-- The first wait leaves its timer, which would fire in the second.
local sock = open("wait:0.05 say:one%0A hold")
show((wait(sock, 300)))
local err, took = wait(sock, 900)
show(err, took > 0.8)
-- Here it would fire too late.
local sock = open("wait:0.05 say:two%0A hold")
show((wait(sock, 60000)))
local err, took = wait(sock, 200)
show(err, took < 20)
-- And here while nobody waits.
local sock = open("wait:0.05 say:three%0A wait:0.4 say:four%0A hold")
show((wait(sock, 150)))
ngx.sleep(0.3)
show((wait(sock, 60000)))
-- And in a pool.
local sock = open("wait:0.05 say:five%0A hold")
show((wait(sock, 150)))
sock:setkeepalive(60000)
ngx.sleep(0.3)
assert(sock:connect("127.0.0.1", port))
show(sock:getreusedtimes())
--- response_body
"one"
"timeout" true
"two"
"timeout" true
"three"
"four"
"five"
1
--- timeout: 60
--- error_log
timed out
