# require "ngx.semaphore".

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: what is there is taken at once
--- lua
local sem = require("ngx.semaphore").new(2)
show(sem:count(), sem:wait(), sem:wait(1), sem:count())
show(sem:wait(0))
show(sem:wait())
show(sem:post(3), sem:count(), sem:wait(0), sem:count())
--- response_body
2 true true 0
nil "timeout"
nil "timeout"
true 3 true 2



=== TEST 2: wait for a post, and for the timeout
--- lua
local sem = require("ngx.semaphore").new()
ngx.thread.spawn(function() ngx.sleep(0.02) sem:post() end)
local seconds, ok, err = t.timed(sem.wait, sem, 5)
show(t.about(seconds, 0.02), ok, err)
seconds, ok, err = t.timed(sem.wait, sem, 0.03)
show(t.about(seconds, 0.03), ok, err)
show(sem:count())
--- response_body
"about 0.02" true nil
"about 0.03" nil "timeout"
0



=== TEST 3: in the order of waiting
--- lua
local sem = require("ngx.semaphore").new()
local threads, order = {}, {}
for i = 1, 5 do
    threads[i] = ngx.thread.spawn(function() sem:wait(1) order[#order + 1] = i end)
end
show(sem:count())
sem:post(2)
show(sem:count(), sem:wait(0))
ngx.sleep(0.001)
show(unpack(order))
sem:post(3)
ngx.sleep(0.001)
show(unpack(order))
--- response_body
-5
-3 nil "timeout"
1 2
1 2 3 4 5



=== TEST 4: those that were killed or timed out are skipped
--- lua
local sem = require("ngx.semaphore").new()
local function waiter(name, timeout)
    return ngx.thread.spawn(function() show(name, sem:wait(timeout)) end)
end
local a, b, c = waiter("a", 1), waiter("b", 0.01), waiter("c", 1)
ngx.thread.kill(a)
show(sem:count())
ngx.sleep(0.02)
show(sem:count())
sem:post()
ngx.sleep(0.001)
show(sem:count())
--- response_body
-2
"b" nil "timeout"
-1
"c" true
0



=== TEST 5: killed after the post, before it ran
--- lua
local sem = require("ngx.semaphore").new()
local function waiter(name)
    return ngx.thread.spawn(function() show(name, sem:wait(1)) end)
end
local a, b = waiter("a"), waiter("b")
sem:post()
ngx.thread.kill(a)
ngx.sleep(0.001)
show(sem:count())
local c = waiter("c")
sem:post()
ngx.thread.kill(c)
show(sem:count())
--- response_body
"b" true
0
1



=== TEST 6: between handlers and timers
--- config
    location = /wait {
        content_by_lua_block {
            local sem = package.loaded.shared_semaphore
            ngx.say(sem:wait(1))
        }
    }
    location = /t {
        content_by_lua_block {
            local sem = require("ngx.semaphore").new()
            package.loaded.shared_semaphore = sem
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", ngx.var.server_port)
            sock:send("GET /wait HTTP/1.0\r\n\r\n")
            ngx.sleep(0.01)
            ngx.say(sem:count())
            ngx.timer.at(0, function() sem:post() end)
            ngx.say(sock:receive("*a"):match("\r\n\r\n(.*)\n"))
            ngx.timer.at(0, function() ngx.ctx.ok = sem:wait(1) sem:post(ngx.ctx.ok and 10 or 1) end)
            ngx.sleep(0.001)
            sem:post()
            ngx.sleep(0.001)
            ngx.say(sem:count())
        }
    }
--- request
GET /t
--- response_body
-1
true
10
--- no_error_log
[error]



=== TEST 7: a client that goes leaves the queue
--- config
    location = /wait {
        lua_check_client_abort on;
        content_by_lua_block { package.loaded.shared_semaphore:wait(10) }
    }
    location = /t {
        content_by_lua_block {
            local sem = require("ngx.semaphore").new()
            package.loaded.shared_semaphore = sem
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", ngx.var.server_port)
            sock:send("GET /wait HTTP/1.0\r\n\r\n")
            ngx.sleep(0.01)
            ngx.print(sem:count(), " ")
            sock:close()
            ngx.sleep(0.01)
            ngx.say(sem:count())
        }
    }
--- request
GET /t
--- response_body
-1 0
--- no_error_log
[error]



=== TEST 8: post and wait in init_worker_by_lua
--- http_config
    init_worker_by_lua_block {
        local sem = require("ngx.semaphore").new(1)
        sem:post(2)
        package.loaded.sem = sem
        package.loaded.ok = sem:wait(1)
    }
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(package.loaded.sem:count())
            ngx.say(package.loaded.ok)
        }
    }
--- request
GET /t
--- response_body
2
true



=== TEST 9: arguments that do not fit
--- lua
local semaphore = require "ngx.semaphore"
local sem = semaphore.new()
fails(semaphore.new, -1)
fails(semaphore.new, "x")
fails(sem.post, sem, 0)
fails(sem.post, {})
fails(sem.wait, "x", 1)
fails(sem.wait, sem, -1)
fails(sem.wait, sem, {})
show(semaphore.new("3"):count(), type(sem))
--- response_body
no negative number
bad argument #1 to '?' (number expected, got string)
positive number required
not a semaphore object
not a semaphore object
no negative number
bad argument #2 to '?' (number expected, got table)
3 "table"



=== TEST 10: the object may be collected while somebody waits
--- lua
local function wait() return require("ngx.semaphore").new():wait(0.02) end
local thread = ngx.thread.spawn(wait)
collectgarbage()
collectgarbage()
show(ngx.thread.wait(thread))
--- response_body
true nil "timeout"



=== TEST 11: a loop does not grow
--- lua
local sem = require("ngx.semaphore").new()
local function rounds(n)
    local thread = ngx.thread.spawn(function() for i = 1, n do sem:wait(5) end end)
    for i = 1, n do sem:post() if i % 10 == 0 then ngx.sleep(0) end end
    ngx.thread.wait(thread)
end
rounds(5000)
local before = t.memory()
rounds(30000)
show(t.memory() - before < 2000, sem:count())
--- response_body
true 0
--- timeout: 20
