# Light threads: ngx.thread.spawn and wait.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

worker_connections(256);
run_tests();

__DATA__

=== TEST 1: a thread runs at once until it first waits
--- lua
local function f(...)
    show("f", ...)
    ngx.sleep(0.01)
    show("f again", ...)
end
show("before")
local thread = ngx.thread.spawn(f, 1, "two", nil)
show("after", type(thread))
--- response_body
"before"
"f" 1 "two" nil
"after" "thread"
"f again" 1 "two" nil



=== TEST 2: the parent goes on before those whose threads spawn others
--- lua
local function g() show("g") end
local function f()
    show("before g")
    ngx.thread.spawn(g)
    show("after g")
end
show("before f")
ngx.thread.spawn(f)
show("after f")
--- response_body
"before f"
"before g"
"g"
"after f"
"after g"



=== TEST 3: coroutine.yield gives the turn to others
--- lua
local yield = coroutine.yield
local function f()
    local self = coroutine.running()
    ngx.say("f 1")
    yield(self)
    ngx.say("f 2")
    yield(self)
    ngx.say("f 3")
end
local self = coroutine.running()
ngx.say("0")
yield(self)
ngx.say("1")
ngx.thread.spawn(f)
ngx.say("2")
yield(self)
ngx.say("3")
yield(self)
ngx.say("4")
--- response_body
0
1
f 1
2
f 2
3
f 3
4



=== TEST 4: wait for one, that waits and that has ended
--- lua
local slow = ngx.thread.spawn(function(...) ngx.sleep(0.01) return ... end, 1, nil, "x")
show(ngx.thread.wait(slow))
local quick = ngx.thread.spawn(function(...) return ... end, "a", nil, nil)
show(ngx.thread.wait(quick))
show(ngx.thread.wait(ngx.thread.spawn(function() end)))
--- response_body
true 1 nil "x"
true "a" nil nil
true



=== TEST 5: wait for the first of several
--- lua
local function f(delay) ngx.sleep(delay) return delay end
local a, b, c = ngx.thread.spawn(f, 0.06), ngx.thread.spawn(f, 0.02), ngx.thread.spawn(f, 0.04)
show(ngx.thread.wait(a, b, c))
show(ngx.thread.wait(a, c))
show(ngx.thread.wait(a))
--- response_body
true 0.02
true 0.04
true 0.06



=== TEST 6: several that ended: the first in the list
--- lua
local function f(x) return x end
local a, b = ngx.thread.spawn(f, "a"), ngx.thread.spawn(f, "b")
show(ngx.thread.wait(b, a))
show(ngx.thread.wait(a, b))
show(ngx.thread.wait(a, b))
--- response_body
true "b"
true "a"
nil "already waited or killed"



=== TEST 7: errors in a thread are results of wait
--- lua
local function f(value) ngx.sleep(0.001) error(value) end
show(ngx.thread.wait(ngx.thread.spawn(f, "oops")))
local ok, value = ngx.thread.wait(ngx.thread.spawn(f, { code = 7 }))
show(ok, type(value), value.code)
show(ngx.thread.wait(ngx.thread.spawn(function() return nil .. "x" end)))
--- response_body_like
^false "content_by_lua\(nginx\.conf:\d+\):\d+: oops"
false "table" 7
false "content_by_lua\(nginx\.conf:\d+\):\d+: attempt to concatenate a nil value"
$
--- error_log
lua user thread aborted: runtime error: content_by_lua(nginx.conf:
: oops
stack traceback:
coroutine 0:
[C]: in function 'error'



=== TEST 8: an error in a thread that nobody waits for ends only this one
--- lua
ngx.thread.spawn(function() error("at once") end)
ngx.thread.spawn(function() ngx.sleep(0.01) error("later") end)
ngx.thread.spawn(function() ngx.sleep(0.03) show("the other") end)
show("entry")
--- response_body
"entry"
"the other"
--- error_log eval
[ qr/lua user thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):\d+: at once/,
  qr/lua user thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):\d+: later/ ]
--- no_error_log
entry thread aborted



=== TEST 9: an error in the entry thread ends them all
--- config
    location = /t {
        content_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.01) ngx.log(ngx.ERR, "still there") end)
            error("entry")
        }
    }
--- request
GET /t
--- error_code: 500
--- wait: 0.05
--- error_log eval
qr/lua entry thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):\d+: entry/
--- no_error_log
still there



=== TEST 10: the handler ends with the last of its threads
--- lua
ngx.thread.spawn(function()
    ngx.thread.spawn(function() ngx.sleep(0.03) show("inner") end)
    ngx.sleep(0.01)
    show("outer")
end)
show("entry")
--- response_body
"entry"
"outer"
"inner"



=== TEST 11: threads that end at once, and nothing else
--- config
    location = /t {
        access_by_lua_block {
            for i = 1, 3 do ngx.thread.spawn(function() ngx.ctx.n = (ngx.ctx.n or 0) + i end) end
        }
        content_by_lua_block { ngx.say(ngx.ctx.n) }
    }
--- request
GET /t
--- response_body
6
--- no_error_log
[error]



=== TEST 12: rewrite and access wait for their threads
--- config
    location = /t {
        rewrite_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.01) ngx.ctx.rewrite = ngx.get_phase() end)
        }
        access_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.01) ngx.ctx.access = ngx.get_phase() end)
        }
        content_by_lua_block { ngx.say(ngx.ctx.rewrite, " ", ngx.ctx.access) }
    }
--- request
GET /t
--- response_body
rewrite access
--- no_error_log
[error]



=== TEST 13: ngx.exit in a thread ends the handler
--- config
    location = /t {
        access_by_lua_block {
            ngx.thread.spawn(function() ngx.sleep(0.01) ngx.exit(403) end)
            ngx.thread.spawn(function() ngx.sleep(0.03) ngx.log(ngx.ERR, "not ended") end)
            ngx.sleep(0.03)
            ngx.log(ngx.ERR, "not ended")
        }
        content_by_lua_block { ngx.say("content") }
    }
--- request
GET /t
--- error_code: 403
--- response_body_like: 403 Forbidden
--- wait: 0.1
--- no_error_log
[error]



=== TEST 14: ngx.exit at once in a thread
--- config
    location = /t {
        content_by_lua_block {
            ngx.say("before")
            ngx.thread.spawn(function() ngx.exit(0) end)
            ngx.say("after")
        }
    }
--- request
GET /t
--- response_body
before
--- no_error_log
[error]



=== TEST 15: ngx.exit in the entry thread ends the others
--- lua
ngx.thread.spawn(function() ngx.sleep(0.01) ngx.log(ngx.ERR, "not ended") end)
show("exit")
ngx.exit(0)
--- response_body
"exit"
--- wait: 0.05



=== TEST 16: what wait and kill refuse
--- lua
fails(ngx.thread.wait)
fails(ngx.thread.wait, 3)
fails(ngx.thread.wait, coroutine.create(show))
fails(ngx.thread.wait, (coroutine.running()))
fails(ngx.thread.kill, "x")
show(ngx.thread.kill(coroutine.create(show)))
fails(ngx.thread.spawn)
fails(ngx.thread.spawn, "f")
--- response_body
at least one coroutine should be specified
bad argument #1 to '?' (lua thread expected, got number)
attempt to wait on a coroutine that is not a user thread
attempt to wait on a coroutine that is not a user thread
bad argument #1 to '?' (lua thread expected, got string)
nil "not user thread"
bad argument #1 to '?' (function expected, got no value)
bad argument #1 to '?' (function expected, got string)



=== TEST 17: only the parent waits and kills
--- lua
local thread = ngx.thread.spawn(ngx.sleep, 0.05)
ngx.thread.spawn(function()
    fails(ngx.thread.wait, thread)
    show(ngx.thread.kill(thread))
end)
coroutine.wrap(function()
    fails(ngx.thread.wait, thread)
    show(ngx.thread.kill(thread))
end)()
show(ngx.thread.kill(thread))
--- response_body
only the parent coroutine can wait on the thread
nil "killer not parent"
only the parent coroutine can wait on the thread
nil "killer not parent"
1



=== TEST 18: a coroutine is the parent of what it spawns
--- lua
local thread
local co = coroutine.create(function()
    thread = ngx.thread.spawn(function() ngx.sleep(0.01) return "result" end)
    coroutine.yield("yielded")
    return ngx.thread.wait(thread)
end)
show(coroutine.resume(co))
fails(ngx.thread.wait, thread)
show(coroutine.resume(co))
show(coroutine.status(thread))
--- response_body
true "yielded"
only the parent coroutine can wait on the thread
true true "result"
"dead"



=== TEST 19: a thread outlives the coroutine that spawned it
--- lua
local thread
coroutine.wrap(function()
    thread = ngx.thread.spawn(function() ngx.sleep(0.01) show("thread") end)
end)()
show(coroutine.status(thread))
ngx.sleep(0.03)
show(coroutine.status(thread))
--- response_body
"running"
"thread"
"dead"



=== TEST 20: coroutine.status: running, normal, zombie, dead
--- lua
local status = coroutine.status
local entry = coroutine.running()
local quick = ngx.thread.spawn(function() end)
local failed = ngx.thread.spawn(function() error("x") end)
local slow = ngx.thread.spawn(function() ngx.sleep(0.01) show("entry", status(entry)) end)
local nested
local deep = ngx.thread.spawn(function()
    nested = coroutine.create(function() ngx.sleep(0.01) end)
    coroutine.resume(nested)
end)
show(status(entry), status(quick), status(failed), status(slow), status(deep), status(nested))
ngx.thread.wait(quick)
ngx.thread.wait(slow)
show(status(quick), status(failed), status(slow))
--- response_body
"running" "zombie" "zombie" "running" "normal" "running"
"entry" "running"
"dead" "zombie" "dead"
--- error_log
lua user thread aborted: runtime error



=== TEST 21: a thread cannot be resumed, whether it waits or has ended
--- lua
local resume = coroutine.resume
local slow = ngx.thread.spawn(ngx.sleep, 0.01)
local quick = ngx.thread.spawn(function() return show, "called" end)
show(resume(slow))
show(resume(quick))
show(ngx.thread.wait(slow))
show(resume(slow))
show((ngx.thread.wait(quick)))
show(resume(quick))
--- response_body
false "cannot resume running coroutine"
false "cannot resume dead coroutine"
true
false "cannot resume dead coroutine"
true
false "cannot resume dead coroutine"



=== TEST 22: coroutine.running in a thread is what spawn returned
--- lua
local inside
local thread = ngx.thread.spawn(function() inside = coroutine.running() end)
show(inside == thread, coroutine.running() == thread)
--- response_body
true false



=== TEST 23: many arguments and results
--- lua
local function f(...) ngx.sleep(0.001) return ... end
local many = {}
for i = 1, 5000 do many[i] = i end
local results = { ngx.thread.wait(ngx.thread.spawn(f, unpack(many))) }
show(#results, results[1], results[2], results[5001])
--- response_body
5001 true 1 5000



=== TEST 24: threads spawn threads, deeply
--- skip_eval: 4: $ENV{NGX_COSOCKET_GC_STRESS}
--- lua
local function f(n)
    if n == 0 then return "bottom" end
    local _, result = ngx.thread.wait(ngx.thread.spawn(f, n - 1))
    return result
end
show(f(3000))
local function g(n)
    if n > 0 then ngx.thread.spawn(g, n - 1) end
end
g(20000)
show("done")
--- response_body
"bottom"
"done"



=== TEST 25: a loop of threads does not grow, whether it waits for them or not
--- lua
local function rounds(n)
    for i = 1, n do
        ngx.thread.spawn(function() return ("x"):rep(1000) .. i end)
        local thread = ngx.thread.spawn(function() coroutine.yield() return i end)
        assert(select(2, ngx.thread.wait(thread)) == i)
        if i % 1000 == 0 then collectgarbage() end
    end
end
rounds(5000)
local before = t.memory()
rounds(20000)
show(t.memory() - before < 3000)
--- response_body
true
--- timeout: 60



=== TEST 26: wait and yield below a C function
--- lua
local thread = ngx.thread.spawn(ngx.sleep, 0.001)
show((pcall(table.sort, { 1, 2, 3 }, function() ngx.thread.wait(thread) end)))
show((pcall(table.sort, { 1, 2, 3 }, function() ngx.thread.spawn(show) end)))
show(pcall(ngx.thread.wait, thread))
--- response_body
false
false
true true



=== TEST 27: contexts without threads
--- http_config
    init_by_lua_block {
        init = { pcall(ngx.thread.spawn, print) }
    }
--- config
    location = /t {
        set_by_lua_block $result { return (select(2, pcall(ngx.thread.spawn, print))) }
        content_by_lua_block {
            ngx.say(init[2])
            ngx.say(ngx.var.result)
        }
    }
--- request
GET /t
--- response_body_like
no request found
.*API disabled in the context of set_by_lua\*, use rewrite_by_lua\* instead



=== TEST 28: threads of another handler
--- config
    location = /a {
        content_by_lua_block {
            package.loaded.shared = { ngx.thread.spawn(function() ngx.sleep(0.05) return "a" end) }
            package.loaded.shared.co = coroutine.running()
        }
    }
    location = /b {
        content_by_lua_block {
            local thread = package.loaded.shared[1]
            ngx.say(pcall(ngx.thread.wait, thread))
            ngx.say(ngx.thread.kill(thread))
            ngx.say(coroutine.resume(thread))
        }
    }
    location = /t {
        content_by_lua_block {
            local function get(path)
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", ngx.var.server_port)
                sock:send("GET " .. path .. " HTTP/1.0\r\n\r\n")
                return sock
            end
            local a, b = get("/a")
            ngx.sleep(0.01)
            ngx.say(get("/b"):receive("*a"):match("\r\n\r\n(.*)"))
            a:receive("*a")
            ngx.say(get("/b"):receive("*a"):match("\r\n\r\n(.*)"))
        }
    }
--- request
GET /t
--- response_body_like
falseonly the parent coroutine can wait on the thread|false.*: only the parent coroutine can wait on the thread
nilkiller not parent
falsecannot resume running coroutine

false.*only the parent coroutine can wait on the thread
nilkiller not parent
falsecannot resume dead coroutine



=== TEST 29: a hundred threads with a socket each
--- lua
local threads = {}
for i = 1, 100 do
    threads[i] = ngx.thread.spawn(function()
        local sock = open("wait:0.3 say:" .. i .. "%0A")
        return tonumber(sock:receive())
    end)
end
local seconds = t.timed(function()
    local sum = 0
    for i = 1, 100 do sum = sum + select(2, ngx.thread.wait(threads[i])) end
    show(sum)
end)
-- One after the other they would take 30 seconds.
show(seconds < 15 or seconds)
--- response_body
5050
true
--- timeout: 30



=== TEST 30: a thread that its own coroutine's parent kills
--- lua
local co, thread
co = coroutine.create(function()
    thread = ngx.thread.spawn(function()
        show("thread")
        ngx.sleep(0.001)
        coroutine.resume(co)
        show("not reached")
    end)
    coroutine.yield()
    show(ngx.thread.kill(thread))
    ngx.sleep(0.001)
    show("not reached either")
end)
coroutine.resume(co)
ngx.sleep(0.02)
show(coroutine.status(thread), coroutine.status(co))
--- response_body
"thread"
1
"dead" "dead"
