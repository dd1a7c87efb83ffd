# What a light thread leaves behind for the one who asks later.
use Test::Nginx::Socket::Lua 'no_plan';

run_tests();

__DATA__

=== TEST 1: any number of results, asked for at once and later
--- config
    location /t {
        content_by_lua_block {
            local function many(n)
                return function(wait)
                    if wait then ngx.sleep(0.001) end
                    local t = {}
                    for i = 1, n do t[i] = i end
                    return unpack(t, 1, n)
                end
            end
            for _, n in ipairs { 0, 1, 8, 9, 10, 11, 36, 37, 38, 39, 40, 41, 200, 5000 } do
                for _, wait in ipairs { false, true } do
                    local t = ngx.thread.spawn(many(n), wait)
                    collectgarbage()
                    local r = { ngx.thread.wait(t) }
                    assert(r[1] == true and #r == n + 1 and r[n + 1] == (n > 0 and n or true), n)
                    assert(coroutine.status(t) == "dead")
                    assert(select(2, ngx.thread.wait(t)) == "already waited or killed")
                end
            end
            ngx.say("ok")
        }
    }
--- request
GET /t
--- response_body
ok



=== TEST 2: an error, also one of a stack that is full
--- config
    location /t {
        content_by_lua_block {
            local function fails() error({ code = 7 }) end
            local function deep() return 1 + deep() end
            local t = ngx.thread.spawn(fails)
            local u = ngx.thread.spawn(deep)
            ngx.say(coroutine.status(t), " ", coroutine.status(u))
            collectgarbage()
            local ok, err = ngx.thread.wait(t)
            ngx.say(ok, " ", err.code)
            ok, err = ngx.thread.wait(u)
            ngx.say(ok, " ", (err:gsub("^.*:%d+: ", "")))
            for _, thread in ipairs { t, u } do
                ngx.say(coroutine.status(thread), " ", coroutine.resume(thread))
                ngx.say(ngx.thread.kill(thread))
            end
        }
    }
--- request
GET /t
--- response_body
zombie zombie
false 7
false stack overflow
dead falsecannot resume dead coroutine
nilalready waited or killed
dead falsecannot resume dead coroutine
nilalready waited or killed
--- error_log
stack overflow
--- no_error_log
[alert]



=== TEST 3: one that was killed cannot be resumed, whatever stands on its stack
--- config
    location /t {
        content_by_lua_block {
            local inner
            local t = ngx.thread.spawn(function(...)
                inner = coroutine.create(function() ngx.sleep(10) return 1 end)
                return coroutine.resume(inner)
            end, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
            ngx.say(coroutine.status(t), " ", coroutine.status(inner))
            ngx.say(ngx.thread.kill(t))
            collectgarbage()
            for _, co in ipairs { t, inner } do
                ngx.say(coroutine.status(co), " ", coroutine.resume(co))
            end
            ngx.say(ngx.thread.wait(t))
            ngx.say(pcall(ngx.thread.wait, inner))
        }
    }
--- request
GET /t
--- response_body_like
^normal running
1
dead falsecannot resume dead coroutine
dead falsecannot resume dead coroutine
nilalready waited or killed
false.*attempt to wait on a coroutine that is not a user thread
$
--- no_error_log
[error]



=== TEST 4: a coroutine that stands where another one stood is not its threads' parent
--- config
    location /t {
        content_by_lua_block {
            -- A thread, and where its parent stood, which the collector has taken.
            local function orphan()
                local thread
                local function parent()
                    thread = ngx.thread.spawn(ngx.sleep, 0.01)
                    coroutine.yield()
                end
                local co = coroutine.create(parent)
                coroutine.resume(co)
                return thread, tostring(co)
            end
            local stranger
            for round = 1, 5000 do
                local thread, place = orphan()
                collectgarbage()
                collectgarbage()
                local all = {}
                for i = 1, 200 do
                    all[i] = coroutine.create(function() return pcall(ngx.thread.wait, thread) end)
                    if tostring(all[i]) == place then
                        stranger = all[i]
                        break
                    end
                end
                if stranger then break end
            end
            if not stranger then
                return ngx.say("no coroutine came to stand there")
            end
            ngx.say(coroutine.resume(stranger))
        }
    }
--- request
GET /t
--- response_body_like
^truefalse.*only the parent coroutine can wait on the thread$
--- no_error_log
[error]



=== TEST 5: the same list, until nobody is left in it
--- config
    location /t {
        content_by_lua_block {
            local spawn, wait = ngx.thread.spawn, ngx.thread.wait
            local function f(delay)
                if delay then ngx.sleep(delay) end
                return delay or "at once"
            end
            local a, b, c = spawn(f, 0.02), spawn(f), spawn(f, 0.1)
            for _ = 1, 4 do ngx.say(wait(a, b, c)) end
            ngx.say(wait(a, spawn(f), b, c))
            ngx.say(wait(spawn(f, 0.01), a, b))
            local killed = spawn(f, 10)
            ngx.thread.kill(killed)
            ngx.say(wait(killed, a))
        }
    }
--- request
GET /t
--- response_body
trueat once
true0.02
true0.1
nilalready waited or killed
trueat once
true0.01
nilalready waited or killed
--- no_error_log
[error]
