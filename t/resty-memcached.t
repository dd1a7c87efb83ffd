# Debian's lua-nginx-memcached, as it is, against a real memcached.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

plan skip_all => 'lua-nginx-memcached was not unpacked' if !lua_library('resty/memcached.lua');
plan skip_all => 'memcached is not installed' if !Test::Nginx::Peer->has('memcached');
plan 'no_plan';

Test::Nginx::Peer->memcached;

run_tests();

__DATA__

=== TEST 1: set, get, add, replace, append, delete, over TCP and a unix socket
--- lua
local memcached = require "resty.memcached"
for _, where in ipairs { { "127.0.0.1", $TEST_NGINX_MEMCACHED_PORT }, { "unix:$TEST_NGINX_MEMCACHED_SOCK" } } do
    local memc = memcached:new()
    memc:set_timeout(1000)
    show(memc:connect(unpack(where)))
    show(memc:flush_all())
    show(memc:set("dog", 32))
    show(memc:get("dog"))
    show(memc:get("cat"))
    show(memc:add("dog", "x"))
    show(memc:add("a key\n", "a value\r\n\0", 0, 1234))
    show(memc:get("a key\n"))
    show(memc:replace("cat", "x"))
    show(memc:append("dog", "!"), memc:prepend("dog", "!"))
    show(memc:get("dog"))
    show(memc:incr("dog", 1))
    show(memc:set("n", 5), memc:incr("n", 3), memc:decr("n", 1))
    show(memc:delete("dog"), memc:delete("dog"))
    show(memc:touch("n", 100), memc:touch("none", 100))
    show(memc:close())
end
--- response_body
1
1
1
"32" "0"
nil nil nil
nil "NOT_STORED"
1
"a value\r\n\0" "1234"
nil "NOT_STORED"
1 1
"!32!" "0"
nil "CLIENT_ERROR cannot increment or decrement non-numeric value"
1 "8" "7"
1 nil "NOT_FOUND"
1 nil "NOT_FOUND"
1
1
1
1
"32" "0"
nil nil nil
nil "NOT_STORED"
1
"a value\r\n\0" "1234"
nil "NOT_STORED"
1 1
"!32!" "0"
nil "CLIENT_ERROR cannot increment or decrement non-numeric value"
1 "8" "7"
1 nil "NOT_FOUND"
1 nil "NOT_FOUND"
1



=== TEST 2: several keys, gets and cas
--- lua
local memcached = require "resty.memcached"
local memc = memcached:new()
assert(memc:connect("127.0.0.1", $TEST_NGINX_MEMCACHED_PORT))
memc:set("one", 1)
memc:set("two", 2)
local all = memc:get({ "one", "two", "none" })
show(all.one[1], all.two[1], all.none)
local value, flags, cas = memc:gets("one")
show(value, memc:cas("one", "uno", cas))
show(memc:cas("one", "eins", cas))
show((memc:get("one")))
show(memc:version() ~= nil, #memc:stats() > 10)
--- response_body
"1" "2" nil
"1" 1
nil "EXISTS"
"uno"
true true



=== TEST 3: pooled
--- lua
local memcached = require "resty.memcached"
for _, where in ipairs { { "127.0.0.1", $TEST_NGINX_MEMCACHED_PORT }, { "unix:$TEST_NGINX_MEMCACHED_SOCK" } } do
    for i = 1, 3 do
        local memc = memcached:new()
        assert(memc:connect(unpack(where)))
        show(memc:get_reused_times(), memc:set("i", i), memc:set_keepalive(0, 5), memc:set_keepalive())
    end
end
--- response_body
0 1 1 nil "closed"
1 1 1 nil "closed"
2 1 1 nil "closed"
0 1 1 nil "closed"
1 1 1 nil "closed"
2 1 1 nil "closed"



=== TEST 4: large values, and one that is too large
--- lua
local memcached = require "resty.memcached"
local memc = memcached:new()
assert(memc:connect("127.0.0.1", $TEST_NGINX_MEMCACHED_PORT))
for _, size in ipairs { 4096, 100000, 1000000 } do
    local value = ("\r\n0123456789\0END"):rep(math.ceil(size / 16)):sub(1, size)
    show(memc:set("big", value), (memc:get("big")) == value)
end
local ok, err = memc:set("big", ("x"):rep(3000000))
show(ok, err)
--- response_body
1 true
1 true
1 true
nil "SERVER_ERROR object too large for cache"



=== TEST 5: no server; and quit
--- lua
local memcached = require "resty.memcached"
local memc = memcached:new()
show(memc:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
show(memc:get("x"))
show(memc:connect("127.0.0.1", $TEST_NGINX_MEMCACHED_PORT))
show(memc:quit())
ngx.sleep(0.03)
show(memc:get("x"))
--- response_body
nil "connection refused"
nil nil "closed"
1
1
nil nil "closed"
--- error_log
connect() failed (111: Connection refused)
