# Debian's lua-resty-lrucache, as it is: a cache that handlers and timers of a worker share.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;

plan skip_all => 'lua-resty-lrucache was not unpacked' if !lua_library('resty/lrucache.lua');
plan 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: set, get, delete, least recently used
--- lua
for _, name in ipairs { "resty.lrucache", "resty.lrucache.pureffi" } do
    local c = assert(require(name).new(2))
    c:set("dog", 32)
    c:set("cat", { name = "Tom" })
    show(c:get("dog"), c:get("cat").name)
    c:set("bird", 1)
    show(c:get("dog"), c:get("bird"), c:get("cat").name)
    c:delete("bird")
    show(c:get("bird"))
end
--- response_body
32 "Tom"
nil 1 "Tom"
nil
32 "Tom"
nil 1 "Tom"
nil



=== TEST 2: values that expire
--- lua
local c = assert(require("resty.lrucache").new(10))
c:set("dog", 1, 0.02)
c:set("cat", 2, 10)
show((c:get("dog")), (c:get("cat")))
ngx.sleep(0.03)
show(c:get("dog"))
show(c:get("cat"))
--- response_body
1 2
nil 1 0
2 nil 0



=== TEST 3: shared by the handlers of a worker, and filled by a timer
--- http_config
    init_by_lua_block {
        local cache = assert(require("resty.lrucache").new(100))
        package.loaded.cache = cache
    }
    init_worker_by_lua_block {
        local t = require "puppet"
        ngx.timer.every(0.01, function()
            local cache = package.loaded.cache
            local sock = t.open("say:fresh%0A")
            cache:set("value", sock:receive(), 5)
            cache:set("n", (cache:get("n") or 0) + 1)
        end)
    }
--- config
    location = /t {
        content_by_lua_block {
            local cache = package.loaded.cache
            for _ = 1, 500 do
                if (cache:get("n") or 0) >= 3 then break end
                ngx.sleep(0.01)
            end
            ngx.say(cache:get("value"), " ", cache:get("n") >= 3)
        }
    }
--- request
GET /t
--- response_body
fresh true
--- no_error_log
[error]



=== TEST 4: one of several threads fills it, the others wait
--- lua
local c = assert(require("resty.lrucache").new(10))
local sem, fills = require("ngx.semaphore").new(1), 0
local function get(key)
    local value = c:get(key)
    if value then return value end
    assert(sem:wait(1))
    value = c:get(key)
    if not value then
        fills = fills + 1
        value = open("wait:0.01 say:filled%0A"):receive()
        c:set(key, value)
    end
    sem:post()
    return value
end
local threads = {}
for i = 1, 10 do threads[i] = ngx.thread.spawn(get, "key") end
for i = 1, 10 do
    local ok, value = ngx.thread.wait(threads[i])
    assert(ok and value == "filled")
end
show(fills)
--- response_body
1
