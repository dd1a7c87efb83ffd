# sock:receiveuntil.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: what stands before the pattern, again and again
--- lua
local sock = open("say:one--end-two--end-a--end---end-three")
local reader = sock:receiveuntil("--end-")
show(type(reader))
for i = 1, 6 do show(reader()) end
--- response_body
"function"
"one"
"two"
"a"
""
nil "closed" "three"
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 2: inclusive
--- lua
local sock = open("say:oneEND%0AtwoENDEND")
local reader = sock:receiveuntil("END", { inclusive = true })
show(reader())
show(reader(2))
show(reader(2))
show(reader(2))
show(reader(2))
show(reader(5))
show(reader(5))
show(reader())
sock = open("say:aENDbEND hold")
show(sock:receiveuntil("END", { inclusive = false })())
show(sock:receiveuntil("END", {})())
--- response_body
"oneEND"
"\nt"
"wo"
"END"
nil nil nil
"END"
nil nil nil
nil "closed" ""
"a"
"b"



=== TEST 3: arguments
--- lua
local sock = open("say:a1b hold")
show(sock:receiveuntil(""))
show(sock:receiveuntil("", { inclusive = true }))
fails(function() sock:receiveuntil("x", { inclusive = 1 }) end)
fails(function() sock:receiveuntil("x", { inclusive = "true" }) end)
fails(function() sock:receiveuntil("x", true) end)
fails(function() sock:receiveuntil({}) end)
fails(function() sock:receiveuntil(nil) end)
fails(sock.receiveuntil, sock)
fails(sock.receiveuntil, sock, "x", {}, 1)
local reader = sock:receiveuntil(1)
fails(reader, "x")
fails(reader, {})
fails(reader, -1)
fails(reader, 1, 2)
show(reader())
--- response_body
nil "pattern is empty"
nil "pattern is empty"
bad "inclusive" option value type: number
bad "inclusive" option value type: string
bad argument #2 to 'receiveuntil' (table expected, got boolean)
bad argument #1 to 'receiveuntil' (string expected, got table)
bad argument #1 to 'receiveuntil' (string expected, got nil)
expecting 2 or 3 arguments (including the object), but got 1
expecting 2 or 3 arguments (including the object), but got 4
bad argument #1 to '?' (number expected, got string)
bad argument #1 to '?' (number expected, got table)
bad argument #1 to '?' (bad size argument)
expecting 0 or 1 arguments, but seen 2
"a"



=== TEST 4: overlapping beginnings, in one packet and byte by byte
--- lua
for _, case in ipairs {
    { "--abcdabcd", "hello--abcdabc--abcdabcdrest" },
    { "aab", "aaaaab-aab" },
    { "ababc", "abababc." },
    { "--==--", "x--==--==--y" },
    { "\r\n\r\n", "a\r\n\r\r\n\r\nb" },
    { "aa", "aaa" },
    { "ab", "aab" },
} do
    local pattern, text = unpack(case)
    local script = text:gsub("[\r\n]", function(c) return ("%%%02X"):format(c:byte()) end)
    for _, how in ipairs { "say:", "drip:0.001:" } do
        local sock = open(how .. script)
        show(sock:receiveuntil(pattern)(), sock:receive("*a"))
    end
end
--- response_body
"hello--abcdabc" "rest"
"hello--abcdabc" "rest"
"aaa" "-aab"
"aaa" "-aab"
"ab" "."
"ab" "."
"x" "==--y"
"x" "==--y"
"a\r\n\r" "b"
"a\r\n\r" "b"
"" "a"
"" "a"
"a" ""
"a" ""



=== TEST 5: pieces of a size, then nil, nil, nil, then afresh
--- lua
for _, how in ipairs { "say:", "drip:0.001:" } do
    local sock = open(how .. "hello,%20world!%20-agentzh%0D%0A--abcedhb%20blah%0D%0A--abcedhb")
    local reader = sock:receiveuntil("\r\n--abcedhb")
    local count = 0
    repeat
        local data, err, partial = reader(4)
        count = count + 1
        show(data, err, partial)
    until err or count > 20
end
--- response_body
"hell" nil nil
"o, w" nil nil
"orld" nil nil
"! -a" nil nil
"gent" nil nil
"zh" nil nil
nil nil nil
" bla" nil nil
"h" nil nil
nil nil nil
nil "closed" ""
"hell" nil nil
"o, w" nil nil
"orld" nil nil
"! -a" nil nil
"gent" nil nil
"zh" nil nil
nil nil nil
" bla" nil nil
"h" nil nil
nil nil nil
nil "closed" ""



=== TEST 6: a piece that ends where the pattern begins
--- lua
local sock = open("say:abENDcd half hold")
local reader = sock:receiveuntil("END")
show(reader(2))
show(reader(2))
show(reader(2))
show(reader(2))
show(select("#", reader(2)))
sock = open("say:xEND hold")
reader = sock:receiveuntil("END")
show(select("#", reader(10)), select("#", reader(10)))
--- response_body
"ab"
""
nil nil nil
"cd"
3
1 3



=== TEST 7: a held-back beginning that was none makes a piece longer
--- lua
for _, how in ipairs { "say:", "drip:0.001:" } do
    local sock = open(how .. "ab--ENxyz--END")
    local reader = sock:receiveuntil("--END")
    show(reader(3))
    show(reader(3))
    show(reader(3))
    show(reader(3))
end
--- response_body
"ab--EN"
"xyz"
""
nil nil nil
"ab--EN"
"xyz"
""
nil nil nil



=== TEST 8: size 0 is no size
--- lua
local sock = open("say:abcENDde hold")
local reader = sock:receiveuntil("END")
show(reader(0))
sock:settimeout(20)
show(reader("1"))
show(reader("1"))
--- response_body
"abc"
"d"
"e"



=== TEST 9: the end comes first
--- lua
local sock = open("say:abcEN")
local reader = sock:receiveuntil("END")
show(reader())
show(reader())
sock = open("say:abcEN")
reader = sock:receiveuntil("END")
show(reader(2))
show(reader(2))
show(reader(2))
--- response_body
nil "closed" "abcEN"
nil "closed"
"ab"
nil "closed" "cEN"
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 10: after a timeout the search goes on, also within the pattern
--- lua
local sock = open("say:abc%0D%0A- line say:-bound%0D%0Adef%0D%0A--boundX hold")
local reader = sock:receiveuntil("\r\n--bound")
sock:settimeout(150)
show(reader())
show(reader())
sock:send("go\n")
show(reader())
show(reader())
show(sock:receive(1))
--- response_body
nil "timeout" "abc"
nil "timeout" ""
""
"\r\ndef"
"X"
--- error_log
lua tcp socket read timed out



=== TEST 11: a partly matched pattern is given back to other ways of reading
--- lua
local sock = open("say:abcEN line say:De%0AxyEN line say:D... hold")
local reader = sock:receiveuntil("END")
sock:settimeout(150)
show(reader())
show(sock:receive(1))
sock:send("\n")
show(sock:receive())
show(reader())
sock:send("\n")
show(sock:receive(4))
--- response_body
nil "timeout" "abc"
"E"
"NDe"
nil "timeout" "xy"
"END."
--- error_log
lua tcp socket read timed out



=== TEST 12: two iterators on one socket
--- lua
local sock = open("say:a;b,c;d,e")
local semicolon, comma = sock:receiveuntil(";"), sock:receiveuntil(",")
show(semicolon(), comma(), semicolon(), comma())
show(comma())
--- response_body
"a" "b" "c" "d"
nil "closed" "e"



=== TEST 13: an iterator outlives the connection and serves the next one
--- lua
local sock = open("say:a;b")
local reader = sock:receiveuntil(";")
show(reader())
sock:close()
show(reader())
assert(sock:connect("127.0.0.1", port))
sock:send("say:c;d hold\n")
show(reader())
--- response_body
"a"
nil "closed"
"c"
--- error_log
attempt to receive data on a closed socket



=== TEST 14: packet boundaries at every place of the pattern
--- config
    location /t {
        content_by_lua_block {
            local t = require "puppet"
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1)
            sock:send("go")
            local reader = sock:receiveuntil("--abcd")
            for i = 1, 4 do t.show(reader()) end
        }
    }
--- request
GET /t
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
["one-", "-abcdtwo--", "abcd", "three--a", "--ab", "cdfour--abc", "--abc", "e-"]
--- tcp_reply_delay: 10ms
--- response_body
"one"
"two"
"three--a"
nil "closed" "four--abc--abce-"
--- no_error_log
[error]



=== TEST 15: a multipart body, as upload libraries read it
--- lua
local body = "--B%0D%0AContent-Disposition:%20a%0D%0A%0D%0Avalue%20one%0D%0A--B%0D%0A%0D%0A%0D%0A--B--%0D%0A"
local sock = open("drip:0.0005:" .. body)
local to_boundary = sock:receiveuntil("--B")
local to_end = sock:receiveuntil("\r\n--B")
show(to_boundary())
show(sock:receive())
repeat
    local line = sock:receive()
    show(line)
until line == ""
repeat
    local data = to_end(4)
    show(data)
until not data
show(sock:receive())
show(sock:receive())
show(to_end(4))
show(to_end(4))
show(sock:receive(2))
--- response_body
""
""
"Content-Disposition: a"
""
"valu"
"e on"
"e"
nil
""
""
""
nil nil nil
"--"



=== TEST 16: the pattern may hold any bytes and be long
--- lua
local sock = open("say:a%00b%00%00c hold")
show(sock:receiveuntil("\0\0")())
sock = open("fill:1000 say:xyz hold")
local long = ("0123456789abcdef"):rep(60)
show(#sock:receiveuntil(long)(), #sock:receiveuntil("z")())
--- response_body
"a\0b"
0 42
