# What must not take the worker with it: errors that Lua raises from within our
# functions, panics, coroutines that outlive their handler. nginx runs as a single
# process here, so a crash fails the block it happens in.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

BEGIN { $ENV{NGX_COSOCKET_FAULTS} = 1 }

no_long_string();
run_tests();

__DATA__

=== TEST 1: a finalizer that raises an error, in whatever call it strikes
--- config
    location = /bad {
        content_by_lua_block {
            local mode = ngx.var.arg_mode
            for i = 1, 3000 do
                getmetatable(newproxy(true)).__gc = function() error("in a finalizer") end
                if mode == "print" then
                    pcall(ngx.print, string.rep("x", i % 50), i)
                elseif mode == "sleep" then
                    pcall(ngx.sleep, 0)
                elseif mode == "socket" then
                    pcall(ngx.socket.tcp)
                else
                    ngx.req.get_headers()
                end
            end
        }
    }
    location = /clean { content_by_lua_block { pcall(collectgarbage) ngx.say("clean") } }
--- request eval
[ ( map { ( "GET /bad?mode=$_", ( "GET /clean" ) x 3 ) } qw( print sleep socket headers ) ), ( "GET /clean" ) x 20, "GET /clean" ]
--- ignore_response
--- allow_error_log
[error]



=== TEST 2: the stack of a coroutine overflows when it is resumed
--- lua
local function deep(n)
    if n == 0 then coroutine.yield() return 0 end
    return 1 + deep(n - 1)
end
local args = {}
for i = 1, 7900 do args[i] = i end
local refused
for depth = 100, 40000, 100 do
    local co = coroutine.create(deep)
    if not coroutine.resume(co, depth) then break end
    local ok, err = coroutine.resume(co, unpack(args))
    if not ok then refused = err break end
end
show(refused)
--- response_body
"too many arguments to resume"



=== TEST 3: a panic in a call is a Lua error
--- lua
show(pcall(ngx.cosocket_fault, "call"))
show(coroutine.resume(coroutine.create(ngx.cosocket_fault), "call"))
--- response_body
false "internal error: panicked: fault in a call"
false "internal error: panicked: fault in a call"
--- error_log
fault in a call
--- allow_error_log
panicked



=== TEST 4: a panic where an operation waits costs the request
--- config
    location = /poll { content_by_lua_block { ngx.cosocket_fault("poll") ngx.say("not reached") } }
    location = /drop { content_by_lua_block { ngx.cosocket_fault("drop") ngx.say("not reached") } }
    location = /nested {
        access_by_lua_block {
            local co = coroutine.wrap(function() ngx.cosocket_fault("poll") end)
            pcall(co)
        }
        content_by_lua_block { ngx.say("not reached") }
    }
    location = /ok { content_by_lua_block { ngx.sleep(0.001) ngx.say("ok") } }
--- request eval
[ "GET /poll", "GET /ok", "GET /drop", "GET /ok", "GET /nested", "GET /ok" ]
--- error_code eval
[ 500, 200, 500, 200, 500, 200 ]
--- error_log
lua entry thread aborted: internal error: panicked: fault in a poll
lua entry thread aborted: internal error: panicked: fault in a drop
--- allow_error_log
panicked



=== TEST 5: a panic where a value is collected
--- lua
for i = 1, 100 do ngx.cosocket_fault("gc") end
collectgarbage()
collectgarbage()
show("alive")
--- response_body
"alive"
--- error_log
fault in a drop
--- allow_error_log
panicked



=== TEST 6: coroutine.yield lets events in, however often it is called
--- lua
local done
ngx.thread.spawn(function()
    show((open("wait:0.05 say:x"):receive(1)))
    done = true
end)
local rounds = 0
while not done do
    coroutine.yield()
    rounds = rounds + 1
end
show(rounds > 2)
--- response_body
"x"
true



=== TEST 7: a generator that init_by_lua made may wait in a handler
--- http_config
init_by_lua_block {
    pause = coroutine.wrap(function()
        while true do
            ngx.sleep(0.001)
            coroutine.yield("slept")
        end
    end)
}
--- lua
show(pause())
show(pause())
--- response_body
"slept"
"slept"



=== TEST 8: a coroutine whose handler ended while it waited is dead
--- http_config
lua_check_client_abort on;
--- config
    location = /exit {
        content_by_lua_block {
            package.loaded.left = coroutine.create(function() ngx.exit(204) return "went on" end)
            coroutine.resume(package.loaded.left)
        }
    }
    location = /base {
        content_by_lua_block {
            package.loaded.left = coroutine.running()
            ngx.exit(204)
        }
    }
    location = /look {
        content_by_lua_block {
            local left = package.loaded.left
            ngx.say(coroutine.status(left))
            ngx.say(coroutine.resume(left, "value"))
            left, package.loaded.left = nil, nil
            collectgarbage()
        }
    }
--- request eval
[ "GET /exit", "GET /look", "GET /base", "GET /look" ]
--- error_code eval
[ 204, 200, 204, 200 ]
--- response_body eval
[ "", "dead\nfalsecannot resume dead coroutine\n", "", "dead\nfalsecannot resume dead coroutine\n" ]



=== TEST 9: nobody resumes what waits in another handler
--- config
    location = /waits {
        content_by_lua_block {
            local co = coroutine.create(function() ngx.sleep(0.1) return "slept" end)
            package.loaded.shared = co
            package.loaded.base = coroutine.running()
            ngx.say(coroutine.resume(co))
        }
    }
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", ngx.var.server_port))
sock:send("GET /waits HTTP/1.0\r\n\r\n")
ngx.sleep(0.02)
for _, name in ipairs { "shared", "base" } do
    show(coroutine.status(package.loaded[name]))
    show(coroutine.resume(package.loaded[name]))
end
show((sock:receive("*a"):match("\r\n\r\n(.*)$")))
for _, name in ipairs { "shared", "base" } do
    show(coroutine.resume(package.loaded[name]))
end
--- response_body
"running"
false "cannot resume running coroutine"
"normal"
false "cannot resume normal coroutine"
"trueslept\n"
false "cannot resume dead coroutine"
false "cannot resume dead coroutine"



=== TEST 10: setfenv(0) of one handler is none of the next one's business
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(getfenv(0) == _G)
            setfenv(0, {})
        }
    }
--- request eval
[ ( "GET /t" ) x 5 ]
--- response_body eval
[ ( "true\n" ) x 5 ]



=== TEST 11: waiting where it cannot be done
--- http_config
lua_socket_log_errors off;
--- lua
local function all(f)
    show((pcall(table.sort, { 3, 2, 1 }, function(a, b) f() return a < b end)))
    show((pcall(string.gsub, "abc", ".", f)))
    show((pcall(function()
        package.preload.waits = function() f() return 1 end
        require "waits"
    end)))
end
local sock = open("say:abc hold")
all(function() ngx.sleep(0) end)
all(function() coroutine.yield() end)
all(function() ngx.exit(200) end)
all(function() coroutine.wrap(function() end)() end)
all(function() open("hold") end)
all(function() assert(sock:receive(1000)) end)
show(sock:close())
show("end")
--- response_body eval
"false\n" x 18 . qq{nil "closed"\n"end"\n}
