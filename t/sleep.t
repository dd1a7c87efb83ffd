# Many that sleep at a time: in which order they go on, and what one that goes on
# may do to the others.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: as long as each other, in the order in which they began
--- lua
local order, threads = {}, {}
for i = 1, 20 do
    threads[i] = ngx.thread.spawn(function() ngx.sleep(0.02) order[#order + 1] = i end)
end
local seconds = t.timed(ngx.thread.wait, threads[1])
show(t.about(seconds, 0.02))
for i = 2, 20 do ngx.thread.wait(threads[i]) end
show(table.concat(order, " "))
--- response_body
"about 0.02"
"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"



=== TEST 2: each as long as another, by time
--- lua
local order, threads = {}, {}
-- 1 to 199 ms, in no order, and each twice.
for i = 1, 398 do
    local msec = 1 + i * 83 % 199
    threads[i] = ngx.thread.spawn(function() ngx.sleep(msec / 1000) order[#order + 1] = msec end)
end
for i = 1, 398 do ngx.thread.wait(threads[i]) end
local sorted = true
for i = 2, 398 do sorted = sorted and order[i - 1] <= order[i] end
show(#order, order[1], order[2], order[397], order[398], sorted)
--- response_body
398 1 1 199 199 true



=== TEST 3: the first kills some of those after it
--- lua
local sem = require("ngx.semaphore").new()
local order, threads = {}, {}
for i = 1, 8 do
    threads[i] = ngx.thread.spawn(function()
        sem:wait(1)
        ngx.sleep(0.01)
        order[#order + 1] = i
    end)
end
-- They begin to sleep right after this thread.
sem:post(8)
ngx.sleep(0.01)
show(#order)
for _, i in ipairs { 2, 3, 5, 8 } do assert(ngx.thread.kill(threads[i])) end
ngx.sleep(0.05)
show(unpack(order))
--- response_body
0
1 4 6 7



=== TEST 4: the first kills all others, and sleeps as long again
--- lua
local sem = require("ngx.semaphore").new()
local order, threads = {}, {}
for i = 1, 4 do
    threads[i] = ngx.thread.spawn(function()
        sem:wait(1)
        ngx.sleep(0.02)
        order[#order + 1] = i
    end)
end
sem:post(4)
ngx.sleep(0.02)
for i = 1, 4 do assert(ngx.thread.kill(threads[i])) end
local another = ngx.thread.spawn(function() ngx.sleep(0.02) order[#order + 1] = "another" end)
local seconds = t.timed(ngx.sleep, 0.02)
show(t.about(seconds, 0.02))
show(unpack(order))
--- response_body
"about 0.02"
"another"



=== TEST 5: those that go on sleep as long again, and so do new ones
--- lua
local order = {}
local function sleeper(name, times)
    return function()
        for _ = 1, times do
            ngx.sleep(0.01)
            order[#order + 1] = name
            if name == "a" then ngx.thread.spawn(sleeper("n", 1)) end
        end
    end
end
local a = ngx.thread.spawn(sleeper("a", 2))
local b = ngx.thread.spawn(sleeper("b", 3))
ngx.thread.wait(a)
ngx.thread.wait(b)
show(table.concat(order, " "))
--- response_body_like
\A"a b (?:n a|a n) b (?:n b|b n)"
\z



=== TEST 6: one that fails does not keep the others
--- lua
local threads = {}
for i = 1, 3 do
    threads[i] = ngx.thread.spawn(function()
        ngx.sleep(0.01)
        if i == 1 then error("on purpose") end
        return i
    end)
end
for i = 1, 3 do
    local ok, result = ngx.thread.wait(threads[i])
    show(ok, i > 1 and result)
end
--- response_body
false false
true 2
true 3
--- error_log
on purpose



=== TEST 7: a request that ends leaves those of others
--- config
    location = /ends {
        content_by_lua_block {
            for i = 1, 3 do
                ngx.thread.spawn(function() ngx.sleep(0.2) ngx.exit(204) end)
            end
            ngx.sleep(0.2)
        }
    }
    location = /t {
        content_by_lua_block {
            local function request()
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", ngx.var.server_port))
                sock:send("GET /ends HTTP/1.0\r\n\r\n")
                return sock:receive()
            end
            local others, mine = {}, {}
            for i = 1, 3 do others[i] = ngx.thread.spawn(request) end
            ngx.sleep(0.05)
            for i = 1, 3 do mine[i] = ngx.thread.spawn(function() ngx.sleep(0.2) return i end) end
            for i = 1, 3 do ngx.say(select(2, ngx.thread.wait(others[i]))) end
            for i = 1, 3 do ngx.say(select(2, ngx.thread.wait(mine[i]))) end
        }
    }
--- request
GET /t
--- response_body
HTTP/1.1 204 No Content
HTTP/1.1 204 No Content
HTTP/1.1 204 No Content
1
2
3



=== TEST 8: none at all: by turns, and others are not kept waiting
--- lua
local sem = require("ngx.semaphore").new()
local order, threads = {}, {}
for i = 1, 3 do
    threads[i] = ngx.thread.spawn(function()
        sem:wait(1)
        for _ = 1, 3 do
            ngx.sleep(0)
            order[#order + 1] = i
        end
    end)
end
sem:post(3)
ngx.sleep(0)
order[#order + 1] = 0
ngx.sleep(0)
order[#order + 1] = 0
ngx.thread.kill(threads[2])
ngx.thread.wait(threads[1])
ngx.thread.wait(threads[3])
show(table.concat(order, " "))
local busy = true
local other = ngx.thread.spawn(function() while busy do ngx.sleep(0) end end)
local seconds = t.timed(ngx.sleep, 0.02)
busy = false
show(t.about(seconds, 0.02), (ngx.thread.wait(other)))
--- response_body
"0 1 2 3 0 1 3 1 3"
"about 0.02" true



=== TEST 9: beside timers and semaphores of the same time
--- lua
local order = {}
local sem = require("ngx.semaphore").new()
local function note(what) order[#order + 1] = what end
local a = ngx.thread.spawn(function() ngx.sleep(0.05) note("sleep") end)
local b = ngx.thread.spawn(function() sem:wait(0.05) note("semaphore") end)
ngx.timer.at(0.05, function(_, what) note(what) end, "timer")
local c = ngx.thread.spawn(function() ngx.sleep(0.05) note("sleep") end)
local d = ngx.thread.spawn(function() sem:wait(0.05) note("posted") end)
ngx.sleep(0.01)
ngx.thread.kill(b)
sem:post()
ngx.thread.wait(a)
ngx.thread.wait(c)
ngx.thread.wait(d)
ngx.sleep(0.01)
show(unpack(order))
--- response_body
"posted" "sleep" "timer" "sleep"
