# Timers: ngx.timer.at and every.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

Test::Nginx::Peer->dns( 'a.test' => '127.0.0.1' );

run_tests();

__DATA__

=== TEST 1: a timer runs later, with its arguments, apart from the request
--- config
    location = /t {
        content_by_lua_block {
            ngx.ctx.who = "request"
            local ok, err = ngx.timer.at(0.02, function(...)
                ngx.log(ngx.WARN, "phase: ", ngx.get_phase(), ", ctx: ", tostring(ngx.ctx.who),
                    ", n: ", select("#", ...))
                ngx.log(ngx.WARN, "args: ", ...)
                ngx.ctx.who = "timer"
            end, 1, "two", nil, true)
            ngx.say(ok, " ", err)
        }
    }
--- request
GET /t
--- response_body
1 nil
--- wait: 0.05
--- error_log
phase: timer, ctx: nil, n: 5, context: ngx.timer
args: false1twoniltrue, context: ngx.timer
--- no_error_log
[error]



=== TEST 2: delay 0 runs when the handler waits or has ended
--- lua
local order = {}
ngx.timer.at(0, function() order[#order + 1] = "timer" end)
order[1] = "handler"
ngx.sleep(0.01)
show(unpack(order))
--- response_body
"handler" "timer"



=== TEST 3: timers in the order of their time
--- lua
local order = {}
for _, delay in ipairs { 0.03, 0.01, 0.02, 0 } do
    ngx.timer.at(delay, function() order[#order + 1] = delay end)
end
ngx.sleep(0.06)
show(unpack(order))
--- response_body
0 0.01 0.02 0.03



=== TEST 4: every
--- lua
local n = 0
local start = ngx.now()
show(ngx.timer.every(0.01, function(premature, step) n = n + step end, 2))
repeat ngx.sleep(0.001) until n >= 8
show(ngx.now() - start >= 0.035, ngx.timer.pending_count(), ngx.timer.running_count())
fails(ngx.timer.every, 0, show)
--- response_body
1
true 1 0
delay cannot be zero



=== TEST 5: a call of every that waits does not hold up the next
--- lua
local running = 0
ngx.timer.every(0.01, function()
    running = running + 1
    ngx.sleep(0.05)
    running = running - 1
end)
repeat ngx.sleep(0.001) until running >= 2
show(running == ngx.timer.running_count())
--- response_body
true



=== TEST 6: cosockets, threads, sleep and timers in timers
--- lua
local result
ngx.timer.at(0, function()
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", port))
    assert(sock:send("line say:answer%0A\n"))
    local reader = ngx.thread.spawn(function() return sock:receive() end)
    ngx.sleep(0.01)
    sock:send("now\n")
    local _, line = ngx.thread.wait(reader)
    ngx.timer.at(0.001, function(_, line) result = line end, line)
end)
ngx.sleep(0.1)
show(result)
--- response_body
"answer"



=== TEST 7: a socket that the timer leaves open is closed
--- lua
local before = t.fds()
local sock
ngx.timer.at(0, function() sock = open("hold") ngx.sleep(0.01) end)
ngx.sleep(0.005)
ngx.sleep(0.05)
show(t.fds() - before)
fails(sock.receive, sock)
--- response_body
1
bad request



=== TEST 8: a socket of the request is not the timer's
--- lua
local sock = open("hold")
local message
ngx.timer.at(0, function() message = select(2, pcall(sock.send, sock, "x")) end)
ngx.sleep(0.02)
show((message:gsub("^.-:%d+: ", "")))
--- response_body
"bad request"



=== TEST 9: settings of the location that created it
--- http_config
    resolver 127.0.0.1:1;
--- config
    location = /t {
        resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
        lua_socket_read_timeout 30ms;
        lua_socket_log_errors off;
        content_by_lua_block {
            local t = require "puppet"
            local shared = {}
            ngx.timer.at(0, function()
                ngx.timer.at(0, function()
                    local sock = ngx.socket.tcp()
                    shared[1], shared[2] = sock:connect("a.test", t.port)
                    sock:send("mute\n")
                    shared[3], shared[4] = sock:receive()
                end)
            end)
            ngx.sleep(0.15)
            t.show(shared[1], shared[2], shared[3], shared[4])
        }
    }
--- request
GET /t
--- response_body
1 nil nil "timeout"
--- no_error_log
[error]



=== TEST 10: from init_worker_by_lua
--- http_config
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
    lua_socket_read_timeout 20ms;
    init_worker_by_lua_block {
        local t = require "puppet"
        result = {}
        ngx.timer.at(0, function(premature, ...)
            local sock = ngx.socket.tcp()
            result[1] = sock:connect("a.test", t.port)
            sock:send("mute\n")
            result[2] = select(2, sock:receive())
            result[3] = ...
        end, "argument")
    }
--- config
    location = /t {
        content_by_lua_block {
            ngx.sleep(0.05)
            ngx.say(result[1], " ", result[2], " ", result[3])
        }
    }
--- request
GET /t
--- response_body
1 timeout argument
--- error_log
lua tcp socket read timed out, context: ngx.timer



=== TEST 11: errors
--- config
    location = /t {
        content_by_lua_block {
            ngx.timer.at(0, function() error("at once") end)
            ngx.timer.at(0, function() ngx.sleep(0.001) error("later") end)
            ngx.timer.at(0, function()
                ngx.thread.spawn(function() ngx.sleep(0.005) error("in a thread") end)
            end)
            ngx.sleep(0.03)
            ngx.say(ngx.timer.running_count())
        }
    }
--- request
GET /t
--- response_body
0
--- error_log eval
[ qr/lua entry thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):2: at once/,
  qr/lua entry thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):3: later/,
  qr/lua user thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):5: in a thread/,
  "in function 'error'",
  ', context: ngx.timer' ]
--- no_error_log
, context: ngx.timer, client



=== TEST 12: what needs a request is not there
--- config
    location = /t {
        content_by_lua_block {
            ngx.timer.at(0, function()
                for name, f in pairs {
                    say = function() ngx.say("x") end,
                    print = function() ngx.print("x") end,
                    flush = ngx.flush,
                    eof = ngx.eof,
                    send_headers = ngx.send_headers,
                    get_headers = ngx.req.get_headers,
                    read_body = ngx.req.read_body,
                    var = function() return ngx.var.uri end,
                    status = function() return ngx.status end,
                    headers_sent = function() return ngx.headers_sent end,
                    header = function() ngx.header.x = "y" end,
                    req_socket = ngx.req.socket,
                } do
                    local ok, err = pcall(f)
                    if ok or not err:find("API disabled in the context of ngx.timer", 1, true) then
                        ngx.log(ngx.ERR, name, ": ", err)
                    end
                end
                ngx.log(ngx.WARN, "now ", type(ngx.now()), " ", ngx.escape_uri("a b"))
            end)
            ngx.sleep(0.01)
            ngx.say("done")
        }
    }
--- request
GET /t
--- response_body
done
--- error_log
now number a%20b
--- no_error_log
[error]



=== TEST 13: ngx.exit ends the timer
--- lua
local steps = {}
ngx.timer.at(0, function()
    ngx.thread.spawn(function() ngx.sleep(0.01) steps[#steps + 1] = "thread" end)
    steps[#steps + 1] = "before"
    ngx.exit(500)
    steps[#steps + 1] = "after"
end)
ngx.sleep(0.03)
show(unpack(steps))
show(ngx.timer.running_count())
--- response_body
"before"
0



=== TEST 14: lua_max_pending_timers
--- http_config
    lua_max_pending_timers 2;
--- lua
local f = function() end
show(ngx.timer.at(0.01, f), ngx.timer.every(0.5, f), ngx.timer.pending_count())
show(ngx.timer.at(0, f))
ngx.sleep(0.03)
show(ngx.timer.at(0, f))
--- response_body
1 1 2
nil "too many pending timers"
1



=== TEST 15: lua_max_running_timers
--- http_config
    lua_max_running_timers 2;
--- config
    location = /t {
        content_by_lua_block {
            local n = 0
            local function f() n = n + 1 ngx.sleep(0.02) end
            for i = 1, 4 do ngx.timer.at(0, f) end
            ngx.say(ngx.timer.pending_count(), ngx.timer.running_count())
            ngx.sleep(0.005)
            ngx.say(ngx.timer.pending_count(), ngx.timer.running_count(), n)
            ngx.sleep(0.03)
            ngx.timer.at(0, f)
            ngx.sleep(0.005)
            ngx.say(ngx.timer.running_count(), n)
        }
    }
--- request
GET /t
--- response_body
40
022
13
--- error_log eval
qr/\[alert\] .*lua failed to run timer with function defined at =content_by_lua\(nginx\.conf:\d+\):3: 2 lua_max_running_timers are not enough/



=== TEST 16: arguments that do not fit
--- lua
fails(ngx.timer.at)
fails(ngx.timer.at, 1)
fails(ngx.timer.at, "x", show)
fails(ngx.timer.every, -1, print)
local ran = 0
for _, late in ipairs { -1, -1e300, 0 / 0 } do
    ngx.timer.at(late, function() ran = ran + 1 end)
end
ngx.sleep(0.01)
show(ran)
fails(ngx.timer.at, 1, "show")
--- response_body
expecting at least 2 arguments but got 0
expecting at least 2 arguments but got 1
bad argument #1 to '?' (number expected, got string)
bad argument #1 to '?' (delay must not be negative)
3
bad argument #2 to '?' (Lua function expected, got string)



=== TEST 17: a running timer takes none of worker_connections
--- lua
local n = 0
for i = 1, 200 do
    ngx.timer.at(0, function() ngx.sleep(0.02) n = n + 1 end)
end
ngx.sleep(0.01)
show(ngx.timer.running_count())
ngx.sleep(0.03)
show(n)
--- response_body
200
200



=== TEST 18: a timer that creates the next one, over and over, lets others run
--- lua
local n = 0
local function again() n = n + 1 if n < 20000 then ngx.timer.at(0, again) end end
ngx.timer.at(0, again)
local seconds = t.timed(ngx.sleep, 0.05)
show(seconds < 0.3, n > 0)
n = 20000
--- response_body
true true



=== TEST 19: loops of timers do not grow
--- lua
local function rounds(n)
    for i = 1, n do
        ngx.timer.at(0, function(_, text) ngx.ctx.text = text ngx.sleep(0) end, ("x"):rep(1000) .. i)
        if i % 100 == 0 then ngx.sleep(0) ngx.sleep(0) collectgarbage() end
    end
end
rounds(3000)
local before = t.memory()
rounds(20000)
show(t.memory() - before < 3000, ngx.timer.pending_count())
--- response_body
true 0
--- timeout: 60



=== TEST 20: lua_code_cache off
--- config
    location = /t {
        lua_code_cache off;
        content_by_lua_block {
            ngx.timer.at(0.01, function(_, text)
                ngx.sleep(0.01)
                collectgarbage()
                ngx.log(ngx.WARN, "still there: ", text)
            end, "text")
            ngx.say("done")
        }
    }
--- request
GET /t
--- response_body
done
--- wait: 0.05
--- error_log
still there: text, context: ngx.timer



=== TEST 21: contexts
--- http_config
    init_by_lua_block { init = { pcall(ngx.timer.at, 0, print) } }
--- config
    location = /t { content_by_lua_block { ngx.say(init[2]) } }
--- request
GET /t
--- response_body_like
no request found



=== TEST 22: error_log of the location
--- config
    location = /t {
        error_log logs/timer.log;
        content_by_lua_block {
            ngx.timer.at(0, function() ngx.log(ngx.ERR, "to timer.log") end)
            ngx.sleep(0.01)
            for line in io.lines(ngx.config.prefix() .. "logs/timer.log") do
                if line:find("to timer.log") then ngx.say("found") end
            end
        }
    }
--- request
GET /t
--- response_body
found
--- no_error_log
to timer.log
