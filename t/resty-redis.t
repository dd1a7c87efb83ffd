# Debian's lua-nginx-redis, as it is, against a real redis-server.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

plan skip_all => 'lua-nginx-redis was not unpacked' if !lua_library('resty/redis.lua');
plan skip_all => 'redis-server is not installed' if !Test::Nginx::Peer->has('redis-server');
plan 'no_plan';

Test::Nginx::Peer->redis;

run_tests();

__DATA__

=== TEST 1: strings, over TCP and a unix socket
--- lua
local redis = require "resty.redis"
for _, where in ipairs { { "127.0.0.1", $TEST_NGINX_REDIS_PORT }, { "unix:$TEST_NGINX_REDIS_SOCK" } } do
    local red = redis:new()
    red:set_timeout(1000)
    show(red:connect(unpack(where)))
    show(red:flushall())
    show(red:set("dog", "an animal"))
    show(red:get("dog"))
    local none = red:get("cat")
    show(none == ngx.null)
    show(red:incr("n"), red:incr("n"), red:decr("n"))
    show(red:append("dog", "\r\n\0 bytes"), red:get("dog"))
    show(red:del("dog", "n", "x"))
    show(red:close())
    show(red:get("dog"))
end
--- response_body
1
"OK"
"OK"
"an animal"
true
1 2 1
18 "an animal\r\n\0 bytes"
2
1
nil "closed"
1
"OK"
"OK"
"an animal"
true
1 2 1
18 "an animal\r\n\0 bytes"
2
1
nil "closed"
--- error_log
attempt to send data on a closed socket



=== TEST 2: pooled, over TCP and a unix socket
--- lua
local redis = require "resty.redis"
local function round(...)
    local red = redis:new()
    assert(red:connect(...))
    show(red:get_reused_times(), red:ping())
    show(red:set_keepalive(10000, 10))
    show(red:set_keepalive(10000, 10))
end
for i = 1, 3 do round("127.0.0.1", $TEST_NGINX_REDIS_PORT) end
for i = 1, 3 do round("unix:$TEST_NGINX_REDIS_SOCK") end
for i = 1, 2 do round("127.0.0.1", $TEST_NGINX_REDIS_PORT, { pool = "mine", pool_size = 2, backlog = 1 }) end
--- response_body
0 "PONG"
1
nil "closed"
1 "PONG"
1
nil "closed"
2 "PONG"
1
nil "closed"
0 "PONG"
1
nil "closed"
1 "PONG"
1
nil "closed"
2 "PONG"
1
nil "closed"
0 "PONG"
1
nil "closed"
1 "PONG"
1
nil "closed"



=== TEST 3: hashes, lists, sets, sorted sets, scripts
--- lua
local redis = require "resty.redis"
local red = redis:new()
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
red:flushall()
show(red:hmset("h", { name = "Ada", year = 1815 }))
local hash = red:array_to_hash(red:hgetall("h"))
show(hash.name, hash.year)
show(red:rpush("l", 1, 2, 3), table.concat(red:lrange("l", 0, -1), " "))
show(red:sadd("s", "a"), red:sismember("s", "a"), red:sismember("s", "b"))
red:zadd("z", 2, "two", 1, "one")
show(table.concat(red:zrange("z", 0, -1), " "))
show(red:eval("return { KEYS[1], ARGV[1], 7, { 'in' } }", 1, "k", "a")[4][1])
show(red:mget("none", "h")[1] == ngx.null)
--- response_body
"OK"
"Ada" "1815"
3 "1 2 3"
1 1 0
"one two"
"in"
true



=== TEST 4: errors of the server keep the connection
--- lua
local redis = require "resty.redis"
local red = redis:new()
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
local res, err = red:foo()
show(res, (err:gsub(",.*", "")))
red:set("text", "x")
show(red:incr("text"))
show(red:hget("text", "f"))
show(red:get("text"))
--- response_body_like
^false "ERR unknown command.*"
false "ERR value is not an integer or out of range"
false "WRONGTYPE Operation against a key holding the wrong kind of value"
"x"
$



=== TEST 5: pipelines, also long ones
--- lua
local redis = require "resty.redis"
local red = redis:new()
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
red:init_pipeline()
red:set("cat", "Marry")
red:get("cat")
red:incr("cat")
red:lrange("nolist", 0, -1)
local results = assert(red:commit_pipeline())
show(#results, results[1], results[2], results[3][1], results[3][2], #results[4])
for _, n in ipairs { 1, 100, 5000 } do
    red:init_pipeline(n)
    for i = 1, n do
        red:echo(i)
    end
    results = assert(red:commit_pipeline())
    local good = #results == n
    for i = 1, n do
        good = good and results[i] == tostring(i)
    end
    show(n, good)
end
red:init_pipeline()
red:get("x")
red:cancel_pipeline()
show(red:get("cat"))
--- response_body
4 "OK" "Marry" false "ERR value is not an integer or out of range" 0
1 true
100 true
5000 true
"Marry"



=== TEST 6: values of 1 MB and more
--- lua
local redis = require "resty.redis"
local red = redis:new()
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
for _, size in ipairs { 4095, 4096, 4097, 65536, 1048576, 20000000 } do
    local value = ("\r\n0123456789\0abc"):rep(math.ceil(size / 16)):sub(1, size)
    local ok = red:set("big", value)
    show(ok, red:get("big") == value)
end
red:del("big")
--- timeout: 10
--- response_body
"OK" true
"OK" true
"OK" true
"OK" true
"OK" true
"OK" true



=== TEST 7: transactions
--- lua
local redis = require "resty.redis"
local red = redis:new()
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
show(red:multi())
show(red:set("a", "abc"))
show(red:lpop("a"))
local ans = red:exec()
show(#ans, ans[1], ans[2][1], ans[2][2])
red:multi()
red:incr("b")
show(red:discard())
show(red:exec())
--- response_body
"OK"
"QUEUED"
"QUEUED"
2 "OK" false "WRONGTYPE Operation against a key holding the wrong kind of value"
"OK"
false "ERR EXEC without MULTI"



=== TEST 8: subscribe, publish from another connection, timeout in between, unsubscribe
--- lua
local redis = require "resty.redis"
local red, red2 = redis:new(), redis:new()
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
assert(red2:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
show(unpack(red:subscribe("dog")))
red:set_timeout(30)
show(red:read_reply())
show(red2:publish("dog", "Hello"))
show(unpack(red:read_reply()))
show(red:set_keepalive())
show(unpack(red:psubscribe("c*")))
red2:publish("cat", "meow")
show(unpack(red:read_reply()))
show(unpack(red:unsubscribe("dog")))
show(unpack(red:punsubscribe("c*")))
show(red:set_keepalive())
--- response_body
"subscribe" "dog" 1
nil "timeout"
1
"message" "dog" "Hello"
nil "subscribed state"
"psubscribe" "c*" 2
"pmessage" "c*" "cat" "meow"
"unsubscribe" "dog" 1
"punsubscribe" "c*" 0
1
--- error_log
lua tcp socket read timed out



=== TEST 9: no server
--- lua
local redis = require "resty.redis"
local red = redis:new()
show(red:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
show(red:connect("unix:$TEST_NGINX_HTML_DIR/none.sock"))
show(red:get("x"))
show(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
show(red:ping())
--- response_body
nil "connection refused"
nil "no such file or directory"
nil "closed"
1
"PONG"
--- error_log
connect() failed (111: Connection refused)



=== TEST 10: the server closes the connection, in use and idle
--- lua
local redis = require "resty.redis"
local red, admin = redis:new(), redis:new()
assert(admin:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT, { pool = "admin" }))
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT, { pool = "killed" }))
show(red:ping())
admin:client("kill", "type", "normal", "skipme", "yes")
show(red:ping())
red = redis:new()
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT, { pool = "killed" }))
show(red:get_reused_times(), red:ping(), red:set_keepalive())
admin:client("kill", "type", "normal", "skipme", "yes")
ngx.sleep(0.03)
assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT, { pool = "killed" }))
show(red:get_reused_times(), red:ping())
--- response_body_like
^"PONG"
nil "(?:closed|connection reset by peer|broken pipe)"
0 "PONG" 1
0 "PONG"
$
--- no_error_log
[alert]



=== TEST 11: in coroutines of the handler
--- lua
local redis = require "resty.redis"
local function worker(name)
    local red = redis:new()
    assert(red:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
    for i = 1, 3 do
        red:set(name, i)
        coroutine.yield(name .. red:get(name))
    end
    red:set_keepalive()
    return "done"
end
local one, two = coroutine.wrap(worker), coroutine.wrap(worker)
for i = 1, 4 do
    show(one("a"), two("b"))
end
--- response_body
"a1" "b1"
"a2" "b2"
"a3" "b3"
"done" "done"
