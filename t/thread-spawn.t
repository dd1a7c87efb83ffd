# Light threads run for the first time inside of the call that spawns them: what they may do there.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: a thread that spawns one at once, is waited for, and ends the handler
--- lua
local function inner() show("inner") ngx.sleep(0.001) show("inner again") return "result" end
local function outer()
    local ok, result = ngx.thread.wait(ngx.thread.spawn(inner))
    show("outer", ok, result)
    ngx.thread.spawn(function() ngx.thread.spawn(ngx.exit, 200) show("not reached") end)
    show("nor this")
end
local thread = ngx.thread.spawn(outer)
show("parent", coroutine.status(thread))
ngx.thread.wait(thread)
show("neither this")
--- response_body
"inner"
"parent" "running"
"inner again"
"outer" true "result"



=== TEST 2: in its first run a thread is what spawn will return
--- lua
local seen
local function f(...)
    seen = coroutine.running()
    show(coroutine.status(seen), coroutine.resume(seen))
    local co = coroutine.create(function() return coroutine.status(seen), coroutine.resume(seen) end)
    show(coroutine.resume(co))
    collectgarbage()
    return ...
end
local thread = ngx.thread.spawn(f, 1, 2)
show(thread == seen, coroutine.status(thread), ngx.thread.wait(thread))
show(ngx.thread.wait(thread))
show(coroutine.status(thread), coroutine.resume(thread))
local function g() seen = coroutine.running() ngx.sleep(0.001) return "slept" end
thread = ngx.thread.spawn(g)
collectgarbage()
show(thread == seen, coroutine.status(thread), ngx.thread.wait(seen))
show(coroutine.status(thread), ngx.thread.kill(thread))
--- response_body
"running" false "cannot resume running coroutine"
true "normal" false "cannot resume normal coroutine"
true "zombie" true 1 2
nil "already waited or killed"
"dead" false "cannot resume dead coroutine"
true "running" true "slept"
"dead" nil "already waited or killed"



=== TEST 3: a wait that could not be is over
--- lua
local thread = ngx.thread.spawn(function() ngx.sleep(0.002) return "result" end)
local ok, err = pcall(table.sort, { 1, 2 }, function() ngx.thread.wait(thread) end)
show(ok, err:match("attempt.*"))
local before = ngx.now()
ngx.sleep(0.03)
ngx.update_time()
show(ngx.now() - before > 0.02, ngx.thread.wait(thread))
--- response_body
false "attempt to yield across C-call boundary"
true true "result"



=== TEST 4: an error at once, in coroutines of a thread, too
--- lua
local thread = ngx.thread.spawn(function() error("at once", 0) end)
show(ngx.thread.wait(thread))
show(ngx.thread.wait(ngx.thread.spawn(coroutine.wrap(function() error("in a coroutine", 0) end))))
local function yields() for i = 1, 3 do coroutine.yield(i) end return "end" end
local function f()
    local next = coroutine.wrap(yields)
    local sum = next() + next()
    ngx.sleep(0.001)
    return sum + next(), next()
end
show(ngx.thread.wait(ngx.thread.spawn(f)))
--- response_body
false "at once"
false "in a coroutine"
true 6 "end"
--- error_log
lua user thread aborted: runtime error: at once
lua user thread aborted: runtime error: in a coroutine
