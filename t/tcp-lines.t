# Many lines, one after the other: they are cut ahead of the calls, which nobody is to notice.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: all lines, as they are, then the end
--- lua
local lines = require "lines"
local sent, kinds = {}, { "", "a", "\r", "b\rc", "\0", ("long"):rep(300), "d\r\r", "1 2" }
for i = 1, 1000 do
    sent[i] = (i .. kinds[i % #kinds + 1])
end
local sock = t.open(lines.say(table.concat(sent, "\n") .. "\r\nrest\r"))
local function is_own(receive) return receive ~= nil end
show(is_own(rawget(sock, "receive")))
for i = 1, 1000 do
    local line, err, partial = sock:receive()
    if line ~= sent[i]:gsub("\r", "") or err or partial then
        show(i, sent[i], line, err, partial)
    end
end
-- As documented in docs/architecture.md.
show(is_own(rawget(sock, "receive")))
show(sock:receive())
show(sock:receive())
--- response_body
false
true
nil "closed" "rest"
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 2: between reads of all kinds, whether compiled or not
--- lua
local lines = require "lines"
local seed = 1
local function random(n)
    seed = (seed * 16807) % 2147483647
    return seed % n
end
local function text()
    local parts = {}
    for i = 1, 3000 do
        local line = ("x"):rep(random(12) * random(12))
        parts[i] = line .. (random(9) == 0 and "\r" or "") .. (random(7) == 0 and "\r\n" or "\n")
    end
    return table.concat(parts)
end
local function run()
    local sent = text()
    local sock = open(lines.say(sent) .. " hold")
    local at = 1
    local function expect(got, expected, used)
        if got ~= expected then
            error(("at %d: got %q instead of %q"):format(at, tostring(got), expected))
        end
        at = at + used
    end
    local function line(...)
        local till = sent:find("\n", at, true)
        local expected = sent:sub(at, till - 1):gsub("\r", "")
        expect(sock:receive(...), expected, till - at + 1)
    end
    local until_x = sock:receiveuntil("x\n")
    while at < #sent - 20000 do
        for _ = 1, random(100) do
            line()
        end
        local kind = random(6)
        if kind == 0 then
            local n = random(300)
            expect(sock:receive(n), sent:sub(at, at + n - 1), n)
        elseif kind == 1 then
            local from, till = sent:find("x\n", at, true)
            expect(until_x(), sent:sub(at, from - 1), till - at + 1)
        elseif kind == 2 then
            local got = sock:receiveany(40)
            expect(got, sent:sub(at, at + #got - 1), #got)
        elseif kind == 3 then
            line("*l")
            line(nil)
        elseif kind == 4 then
            ngx.sleep(0)
        else
            collectgarbage("step")
        end
    end
    sock:close()
end
for _ = 1, 5 do run() end
jit.off(run, true)
for _ = 1, 5 do run() end
show("same")
--- response_body
"same"



=== TEST 3: what was not read yet is unread data; close drops it
--- lua
local lines = require "lines"
local sock = lines.open(100, 30)
show(sock:close())
show(sock:receive())
sock = lines.open(100, 30)
show(sock:setkeepalive())
show(sock:receive())
for i = 31, 99 do sock:receive() end
show(sock:setkeepalive())
show(sock:receive())
show(sock:setkeepalive())
show(sock:receive())
--- response_body
1
nil "closed"
nil "unread data in buffer"
"30"
nil "unread data in buffer"
"100"
1
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 4: coroutines and light threads take turns
--- lua
local lines = require "lines"
local sock = lines.open(200, 30)
local got = {}
local function read(n)
    for _ = 1, n do got[#got + 1] = sock:receive() end
end
local wrapped = coroutine.wrap(function()
    while true do
        read(3)
        coroutine.yield()
    end
end)
for _ = 1, 5 do
    wrapped()
    read(2)
end
local function reader()
    for _ = 1, 10 do
        read(5)
        ngx.sleep(0)
    end
end
local one, two = ngx.thread.spawn(reader), ngx.thread.spawn(reader)
ngx.thread.wait(one)
ngx.thread.wait(two)
show(#got, got[1])
for i, line in ipairs(got) do
    assert(line == tostring(29 + i))
end
show(sock:receive())
--- response_body
125 "30"
"155"



=== TEST 5: code that nginx runs in between does not get them
--- location_config
body_filter_by_lua_block {
    local shared = package.loaded.shared
    if shared.sock and not shared.tried then
        shared.tried = { pcall(shared.sock.receive, shared.sock) }
    end
}
--- lua
local lines = require "lines"
local shared = {}
package.loaded.shared = shared
local sock = lines.open(100, 30)
shared.sock = sock
ngx.print("flushed\n")
ngx.flush()
show(sock:receive())
show(unpack(shared.tried))
--- response_body
flushed
"30"
false "bad request"



=== TEST 6: nor does another request, while the owner lives and after
--- config
    location = /own {
        content_by_lua_block {
            local sock = require "lines".open(100, 30)
            package.loaded.shared_lines = sock
            ngx.sleep(0.3)
            ngx.say(sock:receive())
        }
    }
    location = /other {
        content_by_lua_block {
            local t = require "puppet"
            local sock = package.loaded.shared_lines
            t.fails(sock.receive, sock)
            t.fails(sock.receive, sock, 3)
        }
    }
--- lua
local function get(uri)
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET " .. uri .. " HTTP/1.0\r\n\r\n")
    return function() return (sock:receive("*a"):match("\r\n\r\n(.*)")) end
end
package.loaded.shared_lines = nil
local own = get("/own")
t.eventually(true, function() return package.loaded.shared_lines ~= nil end)
ngx.print(get("/other")())
ngx.print(own())
ngx.print(get("/other")())
--- response_body
bad request
bad request
30
bad request
bad request



=== TEST 7: a receive of the user's goes first, in the object as in the methods
--- lua
local lines = require "lines"
local sock = lines.open(200, 10)
local function mine(self, ...)
    return "mine", ...
end
sock.receive = mine
for _ = 1, 50 do assert(sock:receive() == "mine") end
show(sock:receive(1))
sock.receive = nil
for i = 10, 60 do assert(sock:receive() == tostring(i)) end
sock.receive = mine
show(sock:receive())
sock.receive = nil
show(sock:receive())

local methods = getmetatable(sock).__index
local original, calls = methods.receive, 0
methods.receive = function(self, ...)
    calls = calls + 1
    return original(self, ...)
end
lines.open(100, 51):close()
methods.receive = original
show(calls)
--- response_body
"mine" 1
"mine"
"61"
50



=== TEST 8: the function without its object
--- lua
local lines = require "lines"
local sock, other = lines.open(200, 1), lines.open(200, 1)
local before = sock.receive
for i = 1, 50 do assert(before(sock) == tostring(i)) end
local after = sock.receive
show(before == after)
for i = 1, 50 do
    assert(after(other) == tostring(i))
    assert(after(sock) == tostring(2 * i + 49))
    assert(before(sock) == tostring(2 * i + 50))
end
local copy = {}
for key, value in pairs(sock) do copy[key] = value end
setmetatable(copy, getmetatable(sock))
show(copy:receive(4), sock:receive(), copy:receive(), sock:receive())
local function call(receive)
    sock.receive = receive
    show(pcall(function() sock:receive("x") end))
    show(pcall(function() sock:receive(1, 2) end))
    show(pcall(function() receive() end))
    show(pcall(function() receive({}) end))
    sock.receive = nil
end
call(before)
call(after)
show(sock:receive())
--- response_body
false
"151\n" "152" "153" "154"
false "content_by_lua(nginx.conf:41):19: bad argument #1 to 'receive' (bad pattern argument: x)"
false "content_by_lua(nginx.conf:41):20: expecting 1 or 2 arguments (including the object), but got 3"
false "content_by_lua(nginx.conf:41):21: expecting 1 or 2 arguments (including the object), but got 0"
false "content_by_lua(nginx.conf:41):22: bad argument #1 to 'receive' (socket object expected, got table)"
false "content_by_lua(nginx.conf:41):19: bad argument #1 to 'receive' (bad pattern argument: x)"
false "content_by_lua(nginx.conf:41):20: expecting 1 or 2 arguments (including the object), but got 3"
false "content_by_lua(nginx.conf:41):21: expecting 1 or 2 arguments (including the object), but got 0"
false "content_by_lua(nginx.conf:41):22: bad argument #1 to 'receive' (socket object expected, got table)"
"155"



=== TEST 9: lines that depend on each other: two sockets in turn, and copied to a third
--- lua
local lines = require "lines"
local one, two, copy = lines.open(300, 1), lines.open(300, 1), open("count")
for i = 1, 100 do
    assert(one:receive() == tostring(i))
    assert(two:receive() == tostring(i))
end
for i = 101, 200 do
    local line = one:receive()
    assert(line == tostring(i))
    assert(copy:send(line))
    if i % 30 == 0 then assert(one:send("x")) end
end
show(one:receive(), two:receive())
--- response_body
"201" "101"



=== TEST 10: finalizers that read, in the middle of it
--- lua
local lines = require "lines"
-- All of it is received with the first line: a finalizer cannot wait.
local one, two = lines.open(900, 2), lines.open(900, 2)
local sums, reads = { [one] = 1, [two] = 1 }, { [one] = 1, [two] = 1 }
local function read(sock)
    if reads[sock] == 800 then return end
    local line, err = sock:receive()
    if line then
        -- One that another call is about to return may come before it.
        sums[sock], reads[sock] = sums[sock] + tonumber(line), reads[sock] + 1
    elseif err ~= "socket busy reading" then
        sums[sock] = err
    end
end
local function garbage()
    for _, sock in ipairs { one, two } do
        local proxy = newproxy(true)
        getmetatable(proxy).__gc = function()
            for _ = 1, 20 do read(sock) end
        end
    end
end
for i = 1, 400 do
    read(one)
    if i > 20 and i % 3 == 0 then garbage() end
    if i % 20 == 0 then collectgarbage("step", 10) end
end
for _ = 1, 100 do read(two) end
for _, sock in ipairs { one, two } do
    local n = reads[sock]
    show(n >= 100, sums[sock] == n * (n + 1) / 2, tonumber((sock:receive())) == n + 1)
end
--- response_body
true true true
true true true



=== TEST 11: a handler that ends with lines ahead leaves nothing behind
--- config
    location = /exit {
        content_by_lua_block { require "lines".open(100, 30) ngx.exit(204) }
    }
    location = /fail {
        content_by_lua_block { require "lines".open(100, 30) error("failed") }
    }
    location = /fresh {
        lua_code_cache off;
        content_by_lua_block { require "lines".open(100, 30) }
    }
    location = /kill {
        content_by_lua_block {
            local thread = ngx.thread.spawn(function()
                local sock = require "lines".open(100, 30)
                ngx.sleep(5)
            end)
            ngx.thread.kill(thread)
        }
    }
--- lua
local before = t.fds()
for _, uri in ipairs { "/exit", "/fail", "/fresh", "/kill" } do
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", ngx.var.server_port)
    sock:send("GET " .. uri .. " HTTP/1.0\r\n\r\n")
    show(sock:receive("*a"):match("^HTTP/1.1 (%d+)"))
    sock:close()
end
t.eventually(before, t.fds)
show(t.fds() - before)
--- response_body
"204"
"500"
"200"
"200"
0
--- error_log
failed



=== TEST 12: request sockets
--- config
    location = /body {
        content_by_lua_block {
            local sock = ngx.req.socket()
            local sum = 0
            for _ = 1, 150 do sum = sum + tonumber(sock:receive()) end
            ngx.say(sum, " ", sock:receive(4), sock:receive())
        }
    }
    location = /raw {
        content_by_lua_block {
            local sock = ngx.req.socket(true)
            local sum = 0
            for _ = 1, 150 do sum = sum + tonumber(sock:receive()) end
            sock:send("HTTP/1.0 200 OK\r\n\r\n" .. sum .. " " .. sock:receive(4) .. sock:receive() .. "\n")
        }
    }
--- lua
local numbers = require "lines".numbers(200)
for _, uri in ipairs { "/body", "/raw" } do
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", ngx.var.server_port)
    sock:send("POST " .. uri .. " HTTP/1.0\r\nContent-Length: " .. #numbers .. "\r\n\r\n" .. numbers)
    ngx.print((sock:receive("*a"):match("\r\n\r\n(.*)")))
end
--- response_body
11325 151
152
11325 151
152
