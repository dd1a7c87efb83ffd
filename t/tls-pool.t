# TLS connections in keepalive pools.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: put back, taken out, still TLS
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
--- lua
local script = "tls:good line say:one%0A line say:two%0A hold"
for _, line in ipairs { "one", "two" } do
    local sock = open(script, { pool = "p" })
    shook(sock:sslhandshake(nil, "a.test", true))
    show(sock:getreusedtimes(), sock:send("go\n"))
    show(sock:receive() == line, sock:setkeepalive())
end
--- response_body
session
0 3
true 1
session
1 3
true 1



=== TEST 2: at once after the handshake: tickets that are still to come are no data
--- lua
for _, version in ipairs { "1.2", "1.3" } do
    local script = "tls:good:" .. version .. " line say:x hold"
    for i = 0, 3 do
        local sock = open(script, { pool = version })
        assert(sock:sslhandshake(false))
        show(sock:getreusedtimes(), sock:setkeepalive())
        ngx.sleep(i % 2 * 0.1)
    end
    local sock = open(script, { pool = version })
    sock:send("go\n")
    show(sock:getreusedtimes(), sock:receive(1))
end
--- response_body
0 1
1 1
2 1
3 1
4 "x"
0 1
1 1
2 1
3 1
4 "x"



=== TEST 3: unread data, whether TLS or the kernel has it, or it comes while idle
--- lua
local script = "tls:good say:0123456789 hold"
local sock = open(script, { pool = "p" })
assert(sock:sslhandshake(false))
show(sock:receive(4))
show(sock:setkeepalive())
show(sock:receive(6), sock:setkeepalive())
-- All that was received is read, but TLS has the rest of the record.
sock = open("tls:good fill:16000 hold", { pool = "q" })
assert(sock:sslhandshake(false))
ngx.sleep(0.1)
show(#sock:receiveany(4096), #sock:receiveany(4096), sock:setkeepalive())
sock:connect("127.0.0.1", port, { pool = "q" })
show(sock:getreusedtimes())
sock = open("tls:good say:x hold")
assert(sock:sslhandshake(false))
ngx.sleep(0.1)
show("one byte", sock:setkeepalive())
sock = open("tls:good wait:0.1 say:late hold", { pool = "r" })
assert(sock:sslhandshake(false))
show(sock:setkeepalive())
ngx.sleep(0.3)
sock:connect("127.0.0.1", port, { pool = "r" })
show(sock:getreusedtimes())
--- response_body
"0123"
nil "unread data in buffer"
"456789" 1
4096 4096 nil "connection in dubious state"
0
"one byte" nil "connection in dubious state"
1
0
--- location_config
lua_socket_buffer_size 4096;



=== TEST 4: the peer goes while idle, with and without a farewell
--- lua
for _, last in ipairs { "wait:0.1", "wait:0.1 cut", "wait:0.1 reset cut", "wait:0.1 half hold" } do
    local sock = open("tls:good " .. last, { pool = last })
    assert(sock:sslhandshake(false))
    show(sock:setkeepalive())
    ngx.sleep(0.3)
    sock:connect("127.0.0.1", port, { pool = last })
    show(sock:getreusedtimes())
end
--- response_body
1
0
1
0
1
0
1
0



=== TEST 5: a connection of a stricter or laxer handler: what its own settings say
--- config
lua_socket_log_errors off;
location = /lax {
    content_by_lua_block { use(false) }
}
location = /strict {
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
    content_by_lua_block { use(true) }
}
location = /strict-too {
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
    lua_ssl_verify_depth 3;
    content_by_lua_block { use(true) }
}
location = /other {
    lua_ssl_trusted_certificate $TEST_NGINX_CA/other.pem;
    content_by_lua_block { use(true) }
}
location = /nobody {
    content_by_lua_block { use(true) }
}
--- http_config
init_by_lua_block {
    function use(verify)
        local t = require "puppet"
        local sock = t.open("tls:good hold", { pool = "shared" })
        local times = sock:getreusedtimes()
        local ok, err = sock:sslhandshake(false, "a.test", verify)
        if ok then
            sock:setkeepalive()
        end
        t.show(times, ok, err)
    end
}
--- request eval
[ map {"GET /$_"} qw( lax strict strict-too lax other strict other nobody ) ]
--- response_body eval
[
    "0 true nil\n", "1 true nil\n", "2 true nil\n", "3 true nil\n",
    qq{4 nil "20: unable to get local issuer certificate"\n}, "0 true nil\n",
    qq{1 nil "20: unable to get local issuer certificate"\n},
    qq{0 nil "20: unable to get local issuer certificate"\n},
]



=== TEST 6: many idle TLS connections when the worker goes
--- lua
local socks = {}
for i = 1, 10 do
    socks[i] = open("tls:good:1." .. 2 + i % 2 .. " hold", { pool = "p" })
    assert(socks[i]:sslhandshake(false))
end
for i = 1, 10 do
    assert(socks[i]:setkeepalive())
end
show("ok")
--- response_body
"ok"



=== TEST 7: the log of a handler that is over is not used any more
--- config
location = /put {
    content_by_lua_block {
        local sock = require("puppet").open("tls:good wait:0.3 say:x hold", { pool = "p" })
        assert(sock:sslhandshake(nil, "a.test"))
        ngx.say(sock:setkeepalive())
    }
}
location = /wait {
    content_by_lua_block {
        local list = {}
        for i = 1, 50 do
            list[i] = ("x"):rep(5000)
        end
        ngx.sleep(0.6)
        ngx.say(#list)
    }
}
--- request eval
[ 'GET /put', 'GET /wait' ]
--- response_body eval
[ "1\n", "50\n" ]



=== TEST 8: setkeepalive or close while a handshake is under way
--- config
location = /hold { content_by_lua_block { package.loaded.sock = nil } }
--- lua
local sock = open("wait:0.2 tls:good hold")
local co = coroutine.create(function() return sock:sslhandshake(false) end)
show(coroutine.resume(co))
show(sock:setkeepalive())
--- response_body
true true
1



=== TEST 9: the name is checked on a connection that is used again, whichever was good before
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
--- lua
for _, name in ipairs { "a.test", "a.test", "A.TEST", "b.wild.test", "", "a.test", "b.test", "b.test" } do
    local sock = open("tls:good hold", { pool = "p" })
    local ok, err = sock:sslhandshake(false, name, true)
    show(sock:getreusedtimes(), name, ok, err)
    if ok then
        show(sock:sslhandshake(false, name, true))
        sock:setkeepalive()
    end
end
local sock = open("tls:good hold", { pool = "p" })
show(sock:sslhandshake(false, "b.test", false))
show(sock:sslhandshake(false, "b.test", true))
--- response_body
0 "a.test" true nil
true
1 "a.test" true nil
true
2 "A.TEST" true nil
true
3 "b.wild.test" true nil
true
4 "" true nil
true
5 "a.test" true nil
true
nil "b.test" nil "certificate host mismatch"
nil "b.test" nil "certificate host mismatch"
true
nil "certificate host mismatch"
