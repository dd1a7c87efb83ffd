# nginx runs out of connections: idle ones of the pools are given up, then connect fails.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

worker_connections(24);
run_tests();

__DATA__

=== TEST 1: idle connections are closed for new ones, the oldest first
--- lua
local before = t.fds()
local idle, used = {}, {}
for i = 1, 10 do idle[i] = open("hold", { pool = "idle" }) end
for i = 1, 10 do assert(idle[i]:setkeepalive(0, 10)) end
show(t.fds() - before)
for i = 1, 12 do used[i] = open("say:x hold", { pool = "used" }) end
local good = 0
for i = 1, 12 do
    if used[i]:receive(1) == "x" then good = good + 1 end
end
show(good)
show(t.fds() - before < 22)
-- What is left of the idle ones is as good as before.
local sock = open("say:x hold", { pool = "idle" })
show(sock:getreusedtimes())
--- response_body
10
12
true
1
--- error_log
worker_connections are not enough, reusing connections
--- no_error_log
[error]
[alert]



=== TEST 2: no connection is left
--- lua
local before = t.fds()
local socks, err = {}, nil
for i = 1, 40 do
    local sock = ngx.socket.tcp()
    local ok
    ok, err = sock:connect("127.0.0.1", port)
    if not ok then break end
    socks[i] = sock
end
show(#socks > 15, err)
for i = 1, 3 do
    show(ngx.socket.tcp():connect("127.0.0.1", port, { pool = "p", pool_size = 1, backlog = 0 }))
end
show(ngx.socket.connect("unix:/none"))
for _, sock in ipairs(socks) do sock:close() end
show(ngx.socket.tcp():connect("127.0.0.1", port, { pool = "p", pool_size = 1, backlog = 0 }))
show(t.fds() - before)
--- response_body
true "no live connection"
nil "no live connection"
nil "no live connection"
nil "no live connection"
nil "no live connection"
1
1
--- allow_error_log
worker_connections are not enough
--- no_error_log
[error]



=== TEST 3: timers, which cost no connection themselves, share what there is
--- lua
-- The first timer has one connection opened, by which the worker learns that it is to leave.
ngx.timer.at(0, function() end)
ngx.sleep(0.01)
local before, good, bad = t.fds(), 0, {}
for i = 1, 100 do
    assert(ngx.timer.at(0, function()
        local sock = ngx.socket.tcp()
        local ok, err = sock:connect("127.0.0.1", port)
        if ok then
            sock:send("wait:0.1 say:x hold\n")
            local byte = sock:receive(1)
            good = good + (byte == "x" and 1 or 0)
        else
            bad[err] = (bad[err] or 0) + 1
            ngx.sleep(0.1)
        end
    end))
end
t.eventually(100, function() return good + (bad["no live connection"] or 0) end)
show(good > 10 and good < 24, bad["no live connection"] + good)
t.eventually(0, ngx.timer.running_count)
show(t.fds() - before)
-- All as before: as many again.
local socks = {}
for i = 1, good do socks[i] = open("say:y hold") end
for i = 1, good do assert(socks[i]:receive(1) == "y") end
--- response_body
true 100
0
--- allow_error_log
worker_connections are not enough
--- no_error_log
[error]



=== TEST 4: under load: what fails fails at once, who waits in a queue gets the next
--- lua
local opts = { pool = "load", pool_size = 10, backlog = 100 }
local done, refused, before = 0, 0, t.fds()
local function work(opts)
    for i = 1, 20 do
        local sock = ngx.socket.tcp()
        sock:settimeout(8000)
        local ok, err = sock:connect("127.0.0.1", port, opts)
        if ok then
            if sock:getreusedtimes() == 0 then sock:send("echo\n") end
            assert(sock:send("x") and sock:receive(1) == "x")
            if opts then sock:setkeepalive() else sock:close() end
            done = done + 1
        else
            assert(err == "no live connection", err)
            refused = refused + 1
            ngx.sleep(0.001)
        end
    end
end
local threads = {}
for i = 1, 20 do threads[i] = ngx.thread.spawn(work, opts) end
for i = 1, 20 do assert(ngx.thread.wait(threads[i])) end
show(done, refused)
done = 0
for i = 1, 40 do threads[i] = ngx.thread.spawn(work) end
for i = 1, 40 do assert(ngx.thread.wait(threads[i])) end
show(done > 0, refused > 0, done + refused)
local sock = open("echo", opts)
show(sock:send("z"), sock:receive(1))
sock:close()
--- response_body
400 0
true true 800
1 "z"
--- allow_error_log
worker_connections are not enough
--- no_error_log
[error]
--- timeout: 30



=== TEST 5: datagrams, host names and handshakes have their errors, too
--- location_config
    resolver 127.0.0.1:1;
    resolver_timeout 100ms;
--- lua
local before, socks = t.fds(), {}
for i = 1, 30 do
    socks[i] = ngx.socket.udp()
    local ok, err = socks[i]:setpeername("127.0.0.1", port)
    if not ok then
        show(err)
        break
    end
end
show(ngx.socket.udp():setpeername("127.0.0.1", port))
show(ngx.socket.tcp():connect("a.test", port))
show(ngx.socket.udp():setpeername("a.test", port))
for _, sock in ipairs(socks) do sock:close() end
show(ngx.socket.udp():setpeername("127.0.0.1", port))
collectgarbage()
collectgarbage()
show(t.fds() - before)
--- response_body
"no live connection"
nil "no live connection"
nil "a.test could not be resolved (110: Operation timed out)"
nil "a.test could not be resolved (110: Operation timed out)"
1
0
--- allow_error_log
worker_connections are not enough
--- error_log
worker_connections



=== TEST 6: the kernel does not take one more socket to watch
--- lua
local ffi = require "ffi"
ffi.cdef [[
    int epoll_ctl(int epoll, int what, int fd, void *event);
    ptrdiff_t readlink(const char *path, char *text, size_t size);
]]
local text = ffi.new("char[64]")
local function link(fd)
    return ffi.string(text, math.max(0, tonumber(ffi.C.readlink("/proc/self/fd/" .. fd, text, 64))))
end
local epoll
for fd = 0, 63 do
    if link(fd):find("eventpoll", 1, true) then epoll = fd end
end
local sock = ngx.socket.udp()
assert(sock:setpeername("127.0.0.1", port))
sock:settimeout(1000)
-- What is watched already is refused: nginx has not asked for datagram sockets yet.
for fd = 0, 63 do
    local kind, size = ffi.new("int[1]"), ffi.new("unsigned[1]", 4)
    if ffi.C.getsockopt(fd, 1, 3, kind, size) == 0 and kind[0] == 2 then -- SO_TYPE, SOCK_DGRAM
        ffi.C.epoll_ctl(epoll, 1, fd, ffi.new("char[16]"))
    end
end
local took, data, err = t.timed(sock.receive, sock)
show(data, err, took < 0.5)
show(sock:receive())
show(sock:close())
--- response_body
nil "file exists" true
nil "file exists"
1
--- error_log
epoll_ctl(1
--- allow_error_log
[alert]
