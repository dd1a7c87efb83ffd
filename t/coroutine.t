# coroutine.* in handlers.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 30;
no_long_string();
run_tests();

__DATA__

=== TEST 1: values go in and out
--- config
    location /t {
        content_by_lua_block {
            local co = coroutine.create(function (...)
                ngx.say("in: ", ...)
                ngx.say("in: ", coroutine.yield(1, nil, 3))
                ngx.say("in: ", coroutine.yield())
                return "done", nil
            end)
            ngx.say("out: ", coroutine.resume(co, "a", "b"))
            ngx.say("out: ", coroutine.resume(co, "c"))
            ngx.say("out: ", coroutine.resume(co))
            ngx.say("out: ", coroutine.resume(co))
            ngx.say(select("#", coroutine.resume(coroutine.create(function () return nil, nil end))))
        }
    }
--- request
GET /t
--- response_body
in: ab
out: true1nil3
in: c
out: true
in: 
out: truedonenil
out: falsecannot resume dead coroutine
3



=== TEST 2: waits inside do not go to the resumer
--- config
    location /t {
        content_by_lua_block {
            local co = coroutine.wrap(function ()
                for i = 1, 3 do
                    ngx.sleep(0.001)
                    ngx.flush(true)
                    coroutine.yield(i)
                end
                ngx.sleep(0.001)
                return "end"
            end)
            for i = 1, 4 do ngx.say(co()) end
        }
    }
--- request
GET /t
--- response_body
1
2
3
end



=== TEST 3: deep nesting, each level waits
--- config
    location /t {
        content_by_lua_block {
            local function nest(depth)
                if depth == 0 then
                    ngx.sleep(0.001)
                    coroutine.yield("y")
                    return 1
                end
                local co = coroutine.create(nest)
                assert(coroutine.resume(co, depth - 1))
                coroutine.yield("y")
                ngx.sleep(0)
                local ok, sum = coroutine.resume(co)
                return sum + 1
            end
            local co = coroutine.create(nest)
            ngx.say(coroutine.resume(co, 100))
            ngx.say(coroutine.resume(co))
            ngx.say(coroutine.status(co))
        }
    }
--- request
GET /t
--- response_body
truey
true101
dead



=== TEST 4: status and running
--- config
    location /t {
        content_by_lua_block {
            local main = coroutine.running()
            local outer, inner
            outer = coroutine.create(function ()
                inner = coroutine.create(function ()
                    ngx.say("in inner: ", coroutine.status(main), " ", coroutine.status(outer), " ",
                            coroutine.status(inner), " ", coroutine.running() == inner)
                    coroutine.yield()
                end)
                ngx.say("not started: ", coroutine.status(inner))
                coroutine.resume(inner)
                ngx.say("in outer: ", coroutine.status(inner), " ", coroutine.running() == outer)
            end)
            coroutine.resume(outer)
            ngx.say("main: ", coroutine.status(main), " ", coroutine.status(outer), " ", coroutine.status(inner))
            ngx.say(type(main), " ", select(2, coroutine.resume(main)))
        }
    }
--- request
GET /t
--- response_body
not started: suspended
in inner: normal normal running true
in outer: suspended true
main: running dead suspended
thread cannot resume running coroutine



=== TEST 5: a coroutine cannot resume those that resume it
--- config
    location /t {
        content_by_lua_block {
            local outer
            outer = coroutine.create(function ()
                local inner = coroutine.create(function ()
                    return coroutine.resume(outer)
                end)
                ngx.say(coroutine.resume(inner))
            end)
            coroutine.resume(outer)
        }
    }
--- request
GET /t
--- response_body
truefalsecannot resume normal coroutine



=== TEST 6: errors come back to resume; wrap raises them
--- config
    location /t {
        content_by_lua_block {
            local co = coroutine.create(function () ngx.sleep(0.001) error("oops") end)
            local ok, err = coroutine.resume(co)
            ngx.say(ok, " ", err)
            ngx.say(coroutine.status(co), " ", select(2, coroutine.resume(co)))
            local ok, err = coroutine.resume(coroutine.create(function () error({ code = 7 }) end))
            ngx.say(ok, " ", err.code)
            ngx.say(pcall(coroutine.wrap(function () ngx.sleep(0.001) error("wrapped", 0) end)))
            ngx.say(select(2, pcall(coroutine.wrap(function () error({ code = 8 }) end))).code)
            local dead = coroutine.wrap(function () end)
            dead()
            ngx.say(pcall(dead))
        }
    }
--- request
GET /t
--- response_body_like
\Afalse content_by_lua\(nginx\.conf:\d+\):2: oops
dead cannot resume dead coroutine
false 7
falsewrapped
8
falsecannot resume dead coroutine
\z



=== TEST 7: yield in the handler's own coroutine gives others a turn
--- config
    location /t {
        content_by_lua_block {
            for i = 1, 3 do
                ngx.say(i, select("#", coroutine.yield("ignored")))
            end
        }
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["10\n20\n30\n", "10\n20\n30\n"]



=== TEST 8: pcall around waits; not across C functions
--- config
    location /t {
        content_by_lua_block {
            ngx.say(pcall(function () ngx.sleep(0.001) coroutine.yield() return "fine" end))
            ngx.say(select(2, pcall(table.sort, { 1, 2 }, function () coroutine.yield() end)))
            ngx.say(select(2, pcall(table.sort, { 1, 2 }, function () ngx.sleep(0.001) end)))
            ngx.say(select(2, pcall(table.sort, { 1, 2 }, function () (coroutine.wrap(function () end))() end)))
            for v in coroutine.wrap(function () for i = 1, 2 do ngx.sleep(0) coroutine.yield(i) end end) do
                ngx.say(v)
            end
            local t = setmetatable({}, { __index = function (_, k) ngx.sleep(0.001) return k end })
            ngx.say(t.key)
        }
    }
--- request
GET /t
--- response_body_like
\Atruefine
content_by_lua\(nginx\.conf:\d+\):3: attempt to yield across C-call boundary
content_by_lua\(nginx\.conf:\d+\):4: attempt to yield across C-call boundary
attempt to yield across C-call boundary
1
2
key
\z



=== TEST 9: bad arguments
--- config
    location /t {
        content_by_lua_block {
            for _, name in ipairs({ "create", "resume", "status", "wrap" }) do
                local ok, err = pcall(coroutine[name], 1)
                ngx.say(name, ": ", ok, " ", err)
            end
        }
    }
--- request
GET /t
--- response_body_like
\Acreate: false bad argument #1 to '\S+' \(.*function expected.*\)
resume: false bad argument #1 to '\S+' \(coroutine expected\)
status: false bad argument #1 to '\S+' \(coroutine expected\)
wrap: false bad argument #1 to 'wrap' \(function expected, got number\)
\z



=== TEST 10: many coroutines, collected afterwards
--- config
    location /t {
        content_by_lua_block {
            local function run()
                for i = 1, 2000 do
                    local co = coroutine.wrap(function () coroutine.yield(1) if i % 100 == 0 then ngx.sleep(0) end return 2 end)
                    co()
                    if i % 2 == 0 then co() end
                end
                collectgarbage() collectgarbage()
                return collectgarbage("count")
            end
            local first = run()
            run()
            local last = run()
            ngx.say(last - first < 50 and "steady" or last - first)
        }
    }
--- request
GET /t
--- response_body
steady



=== TEST 11: LuaJIT's own functions in init_by_lua and init_worker_by_lua
--- http_config
    init_by_lua_block {
        local co = coroutine.wrap(function (a) local b = coroutine.yield(a + 1) return b * 2 end)
        values = { co(1), co(5), coroutine.status(coroutine.create(print)), tostring(coroutine.running()) }
        kept = coroutine.create(function () coroutine.yield("from init") end)
    }
    init_worker_by_lua_block {
        values[4] = select(2, coroutine.resume(coroutine.create(function () coroutine.yield("worker") end)))
    }
--- config
    location /t {
        content_by_lua_block {
            ngx.say(table.concat(values, " "))
            ngx.say(coroutine.resume(kept))
            kept = coroutine.create(function () coroutine.yield("from init") end)
        }
    }
--- request
GET /t
--- response_body
2 10 suspended worker
truefrom init



=== TEST 12: a coroutine of one request is not resumed by another while it waits
--- config
    location /t {
        content_by_lua_block {
            shared = shared or {}
            if ngx.req.get_uri_args().first then
                shared.co = coroutine.create(function () ngx.sleep(1) end)
                coroutine.resume(shared.co)
            else
                ngx.say(coroutine.resume(shared.co))
                ngx.say(coroutine.status(shared.co))
            end
        }
    }
    location /both {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
            assert(sock:send("GET /t?first HTTP/1.0\r\n\r\n"))
            ngx.sleep(0.05)
            ngx.exit(ngx.OK)
        }
    }
--- workers: 1
--- pipelined_requests eval
["GET /both", "GET /t"]
--- response_body eval
["", "falsecannot resume running coroutine\nrunning\n"]



=== TEST 13: nor by code that cannot wait; and what has ended is not started anew
--- config
    location /t {
        content_by_lua_block {
            shared = {}
            local function f() ngx.sleep(0.2) return "slept" end
            local function g() return ngx.say, "not to be called" end
            local waits, ended = ngx.thread.spawn(f), ngx.thread.spawn(g)
            local killed = ngx.thread.spawn(f)
            ngx.thread.kill(killed)
            shared = { waits, ended, killed }
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
            assert(sock:send("GET /set HTTP/1.0\r\n\r\n"))
            sock:receiveuntil("\r\n\r\n")()
            ngx.print(sock:receive("*a"))
            ngx.say(ngx.thread.wait(waits))
        }
    }
    location /set {
        set_by_lua_block $seen {
            local seen = {}
            for i, co in ipairs(shared) do
                seen[i] = coroutine.status(co) .. ": " .. select(2, coroutine.resume(co))
            end
            return table.concat(seen, "\n")
        }
        content_by_lua_block { ngx.say(ngx.var.seen) }
    }
--- workers: 1
--- request
GET /t
--- response_body
running: cannot resume running coroutine
dead: cannot resume dead coroutine
dead: cannot resume dead coroutine
trueslept
