# ngx.thread.kill, whatever the thread waits for: nothing runs on, nothing leaks,
# and a socket is left as it should be.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

blackhole();
Test::Nginx::Peer->dns( 'mute.test' => 'TIMEOUT', 'slow.test' => { answer => '127.0.0.1', delay => 0.05 } );

# What t/lib/lua/killed.lua says.
add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( 'response_body', <<'END' . $block->response_body ) if $block->kills;
false 1
"dead" nil "already waited or killed"
false 1
"dead" nil "already waited or killed"
END
        return;
    }
);

run_tests();

__DATA__

=== TEST 1: ngx.sleep
--- kills: 1
--- lua
show(require "killed" (function() ngx.sleep(0.015) end))
--- response_body
0



=== TEST 2: coroutine.yield
--- lua
local thread = ngx.thread.spawn(function() while true do coroutine.yield() end end)
ngx.sleep(0.01)
show(ngx.thread.kill(thread), coroutine.status(thread))
--- response_body
1 "dead"



=== TEST 3: connect
--- kills: 1
--- lua
show(require "killed" (function()
    local sock = ngx.socket.tcp()
    sock:settimeout(30)
    sock:connect("127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT)
end))
--- response_body
0



=== TEST 4: resolve
--- kills: 1
--- location_config
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
    resolver_timeout 50ms;
--- lua
show(require "killed" (function() ngx.socket.tcp():connect("mute.test", 80) end) <= 1)
--- response_body
true



=== TEST 5: one of two that resolve the same name
--- location_config
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
--- lua
local function connect() return ngx.socket.tcp():connect("slow.test", port) end
local a, b = ngx.thread.spawn(connect), ngx.thread.spawn(connect)
ngx.sleep(0.01)
ngx.thread.kill(a)
show(ngx.thread.wait(b))
--- response_body
true 1



=== TEST 6: a queued connect gives up its place, an active one its slot
--- lua
local opts = { pool = "p", pool_size = 1, backlog = 2 }
local function connect(name)
    return ngx.thread.spawn(function()
        local sock = ngx.socket.tcp()
        sock:settimeout(500)
        show(name, sock:connect("127.0.0.1", port, opts))
        ngx.sleep(0.02)
        sock:close()
    end)
end
local a, b, c = connect("a"), connect("b"), connect("c")
connect("d")
ngx.thread.kill(b)
connect("e")
ngx.sleep(0.005)
ngx.thread.kill(a)
a = nil
collectgarbage()
collectgarbage()
ngx.sleep(0.01)
--- response_body
"d" nil "too many waiting connect operations"
"a" 1
"c" 1
"e" 1



=== TEST 7: read
--- kills: 1
--- lua
show(require "killed" (function() open("mute"):receive() end))
--- response_body
0



=== TEST 8: a killed reader closes the socket
--- lua
local sock = open("wait:0.03 say:late%0A hold")
local thread = ngx.thread.spawn(function() sock:receive() end)
show(sock:receive())
show(sock:close())
ngx.thread.kill(thread)
show(sock:receive())
show(sock:send("x"))
show(sock:close())
show(sock:connect("127.0.0.1", port))
show(sock:send("say:again%0A hold\n"), sock:receive())
--- response_body
nil "socket busy reading"
nil "socket busy reading"
nil "closed"
nil "closed"
nil "closed"
1
18 "again"
--- error_log
attempt to receive data on a closed socket
attempt to send data on a closed socket



=== TEST 9: receiveuntil and receiveany
--- kills: 1
--- lua
local iterator
show(require "killed" (function()
    local sock = open("say:some hold")
    iterator = sock:receiveuntil("--")
    iterator()
end))
local thread = ngx.thread.spawn(function() open("mute"):receiveany(10) end)
show(ngx.thread.kill(thread))
show(iterator())
--- response_body
0
1
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 10: write
--- kills: 1
--- lua
local data = ("x"):rep(20000000)
show(require "killed" (function() open("mute"):send(data) end))
--- response_body
0



=== TEST 11: the reader goes on when the writer is killed
--- lua
local sock = open("wait:0.03 say:line%0A mute")
local writer = ngx.thread.spawn(function() sock:send(("x"):rep(20000000)) end)
local reader = ngx.thread.spawn(function() return sock:receive() end)
show(sock:send("y"))
show(ngx.thread.kill(writer))
show(ngx.thread.wait(reader))
show((sock:send("y")))
--- response_body
nil "socket busy writing"
1
true "line"
nil
--- error_log
attempt to send data on a closed socket



=== TEST 12: UDP
--- kills: 1
--- lua
show(require "killed" (function()
    local sock = ngx.socket.udp()
    sock:setpeername("127.0.0.1", port)
    sock:settimeout(50)
    sock:receive()
end))
show(t.datagrams())
--- response_body
0
0



=== TEST 13: wait for a thread, which goes on
--- lua
local outer = ngx.thread.spawn(function()
    local inner = ngx.thread.spawn(function() ngx.sleep(0.02) show("inner") end)
    ngx.thread.wait(inner)
    ngx.log(ngx.ERR, "ran on")
end)
ngx.sleep(0.001)
show(ngx.thread.kill(outer))
--- response_body
1
"inner"



=== TEST 14: one that has ended, and one that was not waited for
--- lua
local quick = ngx.thread.spawn(function() return "x" end)
show(ngx.thread.kill(quick))
show(ngx.thread.kill(quick))
show(ngx.thread.wait(quick))
--- response_body
nil "already terminated"
nil "already waited or killed"
nil "already waited or killed"



=== TEST 15: reading the request body
--- config
    location = /body {
        content_by_lua_block {
            local thread = ngx.thread.spawn(function()
                ngx.req.read_body()
                ngx.log(ngx.ERR, "ran on")
            end)
            ngx.sleep(0.01)
            ngx.say(ngx.thread.kill(thread))
        }
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", ngx.var.server_port)
            sock:send("POST /body HTTP/1.0\r\nContent-Length: 10\r\n\r\nabc")
            ngx.say((sock:receive("*a"):match("\r\n\r\n(.*)\n")))
        }
    }
--- request
GET /t
--- response_body
1
--- no_error_log
[error]
[alert]



=== TEST 16: reading the body in one thread, a socket in another
--- config
    location = /body {
        content_by_lua_block {
            local t = require "puppet"
            local sock = t.open("wait:0.01 say:line%0A hold")
            local reader = ngx.thread.spawn(function()
                ngx.req.read_body()
                return ngx.req.get_body_data()
            end)
            local connecter = ngx.thread.spawn(function() return sock:receive() end)
            ngx.say(select(2, ngx.thread.wait(connecter)), " ", select(2, ngx.thread.wait(reader)))
        }
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", ngx.var.server_port)
            sock:send("POST /body HTTP/1.0\r\nContent-Length: 6\r\n\r\nabc")
            ngx.sleep(0.02)
            sock:send("def")
            ngx.say((sock:receive("*a"):match("\r\n\r\n(.*)\n")))
        }
    }
--- request
GET /t
--- response_body
line abcdef
--- no_error_log
[error]



=== TEST 17: flush
--- config
    location = /flush {
        content_by_lua_block {
            local thread = ngx.thread.spawn(function()
                local chunk = ("x"):rep(100000)
                for i = 1, 200 do ngx.print(chunk) ngx.flush(true) end
                ngx.log(ngx.ERR, "ran on")
            end)
            ngx.sleep(0.02)
            package.loaded.killed = ngx.thread.kill(thread)
            ngx.say("end")
        }
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", ngx.var.server_port)
            sock:send("GET /flush HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            ngx.sleep(0.05)
            ngx.say(package.loaded.killed, " ", sock:receive("*a"):match("(end)\n\r\n0\r\n"))
        }
    }
--- request
GET /t
--- response_body
1 end

--- no_error_log
[error]



=== TEST 18: a request ends while its threads wait in every way
--- config
    location = /end {
        resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
        content_by_lua_block {
            local t = require "puppet"
            local sem = require("ngx.semaphore").new()
            local waits = {
                function() ngx.sleep(5) end,
                function() ngx.socket.tcp():connect("127.0.0.1", $TEST_NGINX_BLACKHOLE_PORT) end,
                function() ngx.socket.tcp():connect("mute.test", 80) end,
                function() t.open("mute"):receive() end,
                function() t.open("mute"):send(("x"):rep(20000000)) end,
                function() sem:wait(5) end,
                function() while true do coroutine.yield() end end,
                function() ngx.thread.wait(ngx.thread.spawn(ngx.sleep, 5)) end,
                function()
                    local opts = { pool = "end", pool_size = 1, backlog = 5 }
                    local holder = t.open("hold", opts)
                    ngx.socket.tcp():connect("127.0.0.1", t.port, opts)
                end,
            }
            for _, wait in ipairs(waits) do
                ngx.thread.spawn(wait)
                ngx.thread.spawn(function() coroutine.wrap(wait)() end)
            end
            ngx.sleep(0.02)
            if ngx.var.arg_how == "exit" then ngx.exit(200) end
            if ngx.var.arg_how == "error" then error("x") end
            ngx.sleep(5)
        }
        lua_check_client_abort on;
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local function get(how)
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", ngx.var.server_port)
                sock:send("GET /end?how=" .. how .. " HTTP/1.0\r\n\r\n")
                if how == "abort" then
                    ngx.sleep(0.04)
                else
                    sock:receive("*a")
                end
                sock:close()
                ngx.sleep(0.02)
            end
            get("exit")
            local before = t.fds()
            for i = 1, 3 do get("exit") get("error") get("abort") end
            ngx.say(t.fds() - before)
        }
    }
--- request
GET /t
--- response_body
0
--- timeout: 60
--- error_log
lua entry thread aborted: runtime error
--- no_error_log
[alert]
