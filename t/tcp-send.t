# sock:send: what it takes, what it returns, how it fails.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: the same bytes as tostring makes
--- lua
local sock = open("echo")
for _, data in ipairs { "abc", "a\0b\r\n", 0, 42, -1, 3.5, 1e14, 1e15, 2 ^ 53, 1e100, 0.1, 1 / 3, -0.5, 1 / 0,
                        true, false } do
    local text = tostring(data)
    local sent, err = sock:send(data)
    if sent ~= #text or sock:receive(sent) ~= text then
        show("not the same", data, sent, err)
    end
    if type(data) ~= "boolean" then
        sent = sock:send({ data, { data } })
        if sent ~= 2 * #text or sock:receive(sent) ~= text .. text then
            show("not the same in an array", data, sent)
        end
    end
end
show(sock:send(nil), sock:receive(3))
show(sock:send(""), sock:send({}), sock:send({ {}, { "", {} } }))
show(sock:send({ "a", 1, { "b", { 2.5, "c" } }, "\0" }), sock:receive(8))
local numbers = { 1, 2 }
sock:send(numbers)
show(type(numbers[1]), sock:receive(2))
--- response_body
3 "nil"
0 0 0
8 "a1b2.5c\0"
"number" "12"



=== TEST 2: what cannot be sent
--- lua
local sock = open("echo")
for _, data in ipairs { print, sock.send, coroutine.create(print), ngx.null, io.stdout } do
    fails(function() sock:send(data) end)
end
fails(function() sock:send({ "a", { true } }) end)
fails(function() sock:send({ nil, "a" }) end)
fails(function() sock:send({ print }) end)
fails(function() sock:send({ ngx.null }) end)
fails(function() sock:send({ key = "a" }) end)
fails(function() sock:send({ "a", [1.5] = "b" }) end)
fails(function() sock:send({ [0] = "b" }) end)
fails(function() sock:send({ { key = 1 } }) end)
local own = {}
own[1] = own
fails(function() sock:send(own) end)
local deep = "x"
for _ = 1, 999 do deep = { deep } end
show(sock:send(deep))
fails(function() sock:send({ { deep } }) end)
fails(sock.send, sock)
fails(sock.send, sock, 1, 2)
show(sock:send("still open"))
--- response_body
bad argument #1 to 'send' (string, number, boolean, nil, or array table expected, got function)
bad argument #1 to 'send' (string, number, boolean, nil, or array table expected, got function)
bad argument #1 to 'send' (string, number, boolean, nil, or array table expected, got thread)
bad argument #1 to 'send' (string, number, boolean, nil, or array table expected, got userdata)
bad argument #1 to 'send' (string, number, boolean, nil, or array table expected, got userdata)
bad argument #1 to 'send' (bad data type boolean found)
bad argument #1 to 'send' (bad data type nil found)
bad argument #1 to 'send' (bad data type function found)
bad argument #1 to 'send' (bad data type userdata found)
bad argument #1 to 'send' (non-array table found)
bad argument #1 to 'send' (non-array table found)
bad argument #1 to 'send' (non-array table found)
bad argument #1 to 'send' (non-array table found)
bad argument #1 to 'send' (table nested too deeply)
1
bad argument #1 to 'send' (table nested too deeply)
expecting 2 arguments (including the object), but got 1
expecting 2 arguments (including the object), but got 3
10



=== TEST 3: a large array with many holes does not take for ever
--- lua
local sock = open("echo")
fails(function() sock:send({ [2 ^ 30] = "x" }) end)
--- response_body
bad argument #1 to 'send' (bad data type nil found)



=== TEST 4: much more than the kernel takes at once, in order and complete
--- lua
local sock = open("count hold")
local piece = ("0123456789abcdef"):rep(1024)
local data = piece:rep(1024)
show(sock:send(data))
local parts = {}
for i = 1, 512 do parts[i] = i % 2 == 0 and piece or { piece } end
show(sock:send(parts))
sock:close()
sock = open("echo")
local half = ("x"):rep(100000) .. "y"
show(sock:send(half), sock:receive(#half) == half)
--- response_body
16777216
8388608
100001 true



=== TEST 5: waits for a slow reader; each progress arms the timeout anew
--- lua
local sock = open("sip:0.02:1500000 say:done%0A")
sock:settimeouts(1000, 300, 8000)
local took, sent, err = t.timed(sock.send, sock, ("x"):rep(1500000))
show(sent, err)
show(sock:receive())
--- response_body
1500000 nil
"done"



=== TEST 6: a reader that does not read: timeout, and only the write half is closed
--- lua
local sock = open("say:early%0A mute")
sock:settimeouts(1000, 150, 8000)
local data = ("x"):rep(20000000)
local took, sent, err = t.timed(sock.send, sock, data)
show(sent, err, t.about(took, 0.15))
show(sock:send("more"))
show(sock:send(""))
show(sock:receive())
show(sock:setkeepalive())
show(sock:close())
show(sock:close())
--- response_body
nil "timeout" "about 0.15"
nil "closed"
nil "closed"
"early"
nil "closed"
1
nil "closed"
--- error_log
lua tcp socket write timed out
attempt to send data on a closed socket



=== TEST 7: the peer has gone
--- lua
local sock = open("say:bye%0A reset")
ngx.sleep(0.3)
local sent, err = sock:send("x")
show(sent, err)
show(sock:send("x"))
--- response_body
nil "connection reset by peer"
nil "closed"
--- error_log
send() failed (104: Connection reset by peer)



=== TEST 8: an error closes the write half only
--- lua
local sock = open("say:a%0Abc reset")
ngx.sleep(0.05)
show(sock:receive())
local sent, err
repeat
    sent, err = sock:send("x")
    ngx.sleep(0.01)
until not sent
show(sent, err)
show(sock:send("y"))
show(sock:close())
--- response_body_like
^"a"
nil "(?:broken pipe|connection reset by peer)"
nil "closed"
1
$
--- error_log
send() failed



=== TEST 9: what was received before a failed send is there afterwards
--- lua
local sock = open("say:one%0Atwo%0Athree%0A mute")
sock:settimeouts(1000, 50, 300)
ngx.sleep(0.1)
show(sock:receive(2))
show(sock:send(("x"):rep(20000000)))
show(sock:receive())
show(sock:receive())
show(sock:receive())
show(sock:receive())
--- response_body
"on"
nil "timeout"
"e"
"two"
"three"
nil "timeout" ""
--- error_log
lua tcp socket write timed out
lua tcp socket read timed out
