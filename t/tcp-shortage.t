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
