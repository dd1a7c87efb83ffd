# sock:receive and sock:receiveany.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: lines end at LF; every CR is dropped
--- lua
local sock = open("say:one%0Atwo%0D%0A%0A%0D%0Aa%0Db%0D%0D%0Ac%00d%0Ano%0Dend%0D")
for i = 1, 3 do show(sock:receive()) end
for i = 1, 3 do show(sock:receive("*l")) end
show(sock:receive(nil))
show(sock:receive())
show(sock:receive())
--- response_body
"one"
"two"
""
""
"ab"
"c\0d"
nil "closed" "noend"
nil "closed"
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 2: lines across packets, byte by byte
--- lua
local sock = open("drip:0.002:first%0D%0Asec%0Dond%0D%0A%0A")
show(sock:receive(), sock:receive(), sock:receive())
show(sock:receive())
--- response_body
"first" "second" ""
nil "closed" ""



=== TEST 3: exactly n bytes, given as a number or a numeric string
--- lua
local sock = open("say:abcd wait:0.01 say:efghij wait:0.01 say:klm")
show(sock:receive(3))
show(sock:receive("3"))
show(sock:receive(0))
show(sock:receive("0"))
show(sock:receive(2.9))
show(sock:receive(4))
show(sock:receive(4))
show(sock:receive(1))
--- response_body
"abc"
"def"
""
""
"gh"
"ijkl"
nil "closed" "m"
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 4: zero bytes need no data, but a connection
--- lua
local sock = open("mute")
show(sock:receive(0))
sock:close()
show(sock:receive(0))
--- response_body
""
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 5: everything up to the end
--- lua
local sock = open("say:a%0D%0Ab wait:0.02 say:c%00d")
show(sock:receive("*a"))
show(sock:receive("*a"))
show(sock:setkeepalive())
show(sock:receive())
show(sock:receive("*a"))
sock = open("")
show(sock:receive("*a"))
sock = open("say:line%0Arest")
show(sock:receive(), sock:receive("*a"))
--- response_body
"a\r\nbc\0d"
""
nil "closed"
nil "closed" ""
nil "closed"
""
"line" "rest"
--- error_log
attempt to receive data on a closed socket



=== TEST 6: patterns and counts that are none
--- lua
local sock = open("say:ok%0A hold")
for _, bad in ipairs { "*x", "", "l", "a", "*la", "-1", -1, -0.5, {}, true, print } do
    local ok, err = pcall(function() sock:receive(bad) end)
    show((err:gsub("function: .*", "function")))
end
fails(function() sock:receive(0 / 0) end)
fails(sock.receive)
fails(sock.receive, sock, 1, 2)
show(sock:receive())
--- response_body_filters eval
sub { s/"content_by_lua\(nginx.conf:\d+\):\d+: (.*)"$/$1/gm for my $t = shift; $t }
--- response_body
bad argument #1 to 'receive' (bad pattern argument: *x)
bad argument #1 to 'receive' (bad pattern argument: )
bad argument #1 to 'receive' (bad pattern argument: l)
bad argument #1 to 'receive' (bad pattern argument: a)
bad argument #1 to 'receive' (bad pattern argument: *la)
bad argument #1 to 'receive' (bad number argument)
bad argument #1 to 'receive' (bad number argument)
bad argument #1 to 'receive' (bad number argument)
bad argument #1 to 'receive' (bad pattern argument: table)
bad argument #1 to 'receive' (bad pattern argument: boolean)
bad argument #1 to 'receive' (bad pattern argument: function)
bad argument #1 to 'receive' (bad number argument)
expecting 1 or 2 arguments (including the object), but got 0
expecting 1 or 2 arguments (including the object), but got 3
"ok"



=== TEST 7: a timeout hands out what came, once, and keeps the connection
--- lua
local sock = open("say:abc line say:def%0Aghi line say:jkl%0A hold")
sock:settimeout(150)
show(sock:receive())
show(sock:receive())
show(sock:send("go\n"))
show(sock:receive())
show(sock:receive(10))
show(sock:receive("*a"))
show(sock:send("go\n"))
show(sock:receive(10))
show(sock:close())
--- response_body
nil "timeout" "abc"
nil "timeout" ""
3
"def"
nil "timeout" "ghi"
nil "timeout" ""
3
nil "timeout" "jkl\n"
1
--- error_log
lua tcp socket read timed out



=== TEST 8: the end closes the read half; close still works
--- lua
local sock = open("say:abc half hold")
show(sock:receive(5))
show(sock:receive(5))
show(sock:receive("*a"))
show(sock:receiveany(5))
show(sock:send("still"))
show(sock:setkeepalive())
show(sock:close())
show(sock:close())
--- response_body
nil "closed" "abc"
nil "closed"
nil "closed"
nil "closed"
5
nil "closed"
1
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 9: a reset
--- lua
local sock = open("say:ab wait:0.05 reset")
show(sock:receive(5))
show(sock:receive(5))
show(sock:close())
show(sock:close())
--- response_body
nil "connection reset by peer" "ab"
nil "closed"
1
nil "closed"
--- error_log
recv() failed (104: Connection reset by peer)
attempt to receive data on a closed socket



=== TEST 10: receiveany
--- lua
local sock = open("say:abcdef line say:%0D%0A line say:xyz")
show(sock:receiveany(4))
show(sock:receiveany(4))
sock:send("\n")
show(sock:receiveany(100))
sock:send("\n")
show(sock:receiveany("2"))
show(sock:receiveany(1.5))
show(sock:receiveany(5))
show(sock:receiveany(5))
for _, bad in ipairs { 0, -1, 0.5, 0 / 0 } do
    fails(function() sock:receiveany(bad) end)
end
fails(function() sock:receiveany("x") end)
fails(function() sock:receiveany({}) end)
fails(sock.receiveany, sock)
fails(sock.receiveany, sock, 1, 2)
--- response_body
"abcd"
"ef"
"\r\n"
"xy"
"z"
nil "closed" ""
nil "closed"
bad argument #1 to 'receiveany' (bad max argument)
bad argument #1 to 'receiveany' (bad max argument)
bad argument #1 to 'receiveany' (bad max argument)
bad argument #1 to 'receiveany' (bad max argument)
bad argument #1 to 'receiveany' (bad max argument)
bad argument #1 to 'receiveany' (bad max argument)
expecting 2 arguments (including the object), but got 1
expecting 2 arguments (including the object), but got 3
--- error_log
attempt to receive data on a closed socket



=== TEST 11: receiveany waits for data and may time out
--- lua
local sock = open("wait:0.03 say:now hold")
show(sock:receiveany(10))
sock:settimeout(20)
show(sock:receiveany(10))
--- response_body
"now"
nil "timeout" ""
--- error_log
lua tcp socket read timed out



=== TEST 12: one kind of read after the other
--- lua
local sock = open("say:line%0D%0A12345any%0Arest")
ngx.sleep(0.2)
show(sock:receive("*l"), sock:receive(5), sock:receiveany(2), sock:receive(), sock:receive("*a"))
--- response_body
"line" "12345" "an" "y" "rest"



=== TEST 13: buffers smaller and larger than the data
--- config
    location /one {
        lua_socket_buffer_size 1;
        content_by_lua_file html/read.lua;
    }
    location /big {
        lua_socket_buffer_size 1m;
        content_by_lua_file html/read.lua;
    }
--- user_files
>>> read.lua
local t = require "puppet"
local sock = t.open("say:first%0D%0A0123456789second%0A--x--the-rest")
t.show(sock:receive(), sock:receive(10), sock:receive(), sock:receiveuntil("x--")(), sock:receive("*a"))
--- request eval
["GET /one", "GET /big"]
--- response_body eval
[qq{"first" "0123456789" "second" "--" "the-rest"\n}, qq{"first" "0123456789" "second" "--" "the-rest"\n}]
--- no_error_log
[error]



=== TEST 14: 64 MB, in every way of reading, fast
--- skip_eval: 5: $ENV{TEST_NGINX_USE_VALGRIND}
--- lua
local size = 64 * 1024 * 1024
local function check(name, data, err, partial)
    data = data or partial
    show(name, #data, data:sub(1, 16), data:sub(-16))
end
local start = os.clock() -- the processor's time, whatever else the machine does
do
    local sock = open("fill:" .. size)
    check("n", sock:receive(size))
    sock = open("fill:" .. size)
    check("*a", sock:receive("*a"))
    sock = open("fill:" .. size)
    check("*l", sock:receive("*l"))
    sock = open("fill:" .. size .. " say:--end hold")
    check("until", sock:receiveuntil("--end")())
    sock = open("fill:" .. size)
    local sum = 0
    while true do
        local data = sock:receiveany(65536)
        if not data then break end
        sum = sum + #data
    end
    show("any", sum)
end
local took = os.clock() - start
show(took < 4 and "fast enough" or took)
--- timeout: 30
--- response_body
"n" 67108864 "0123456789abcdef" "0123456789abcdef"
"*a" 67108864 "0123456789abcdef" "0123456789abcdef"
"*l" 67108864 "0123456789abcdef" "0123456789abcdef"
"until" 67108864 "0123456789abcdef" "0123456789abcdef"
"any" 67108864
"fast enough"



=== TEST 15: endless data: read in pieces it does not grow the worker
--- skip_eval: 5: $ENV{TEST_NGINX_USE_VALGRIND}
--- lua
local sock = open("repeat:0:" .. ("x"):rep(1000) .. "%0A")
local function rounds(n)
    for i = 1, n do
        assert(sock:receive() == ("x"):rep(1000))
    end
end
rounds(2000)
collectgarbage()
local before = t.memory()
rounds(40000)
collectgarbage()
local grown = t.memory() - before
show(grown < 4096 or grown)
show(sock:close())
--- response_body
true
1



=== TEST 16: a result that can never be complete keeps its memory to what arrived
--- lua
local sock = open("say:abc hold")
sock:settimeout(30)
local before = t.memory()
show(sock:receive(2 ^ 31))
show(sock:receive(1e300))
show(t.memory() - before < 4096)
--- response_body
nil "timeout" "abc"
nil "timeout" ""
true
--- error_log
lua tcp socket read timed out
