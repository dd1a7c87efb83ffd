# lua_code_cache: one VM for all requests, or a fresh one for each.
use Test::Nginx::Socket::Lua;

repeat_each(1);
plan tests => 203;
no_long_string();
workers(1);
run_tests();

__DATA__

=== TEST 1: on: a VM for all requests, modules and upvalues are kept
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- config
    location /t {
        content_by_lua_block {
            local counter = require "counter"
            ngx.print(counter.next())
        }
    }
--- user_files
>>> counter.lua
local n = 0
return { next = function () n = n + 1 return n end }
--- request eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
["1", "2", "3"]



=== TEST 2: off: each request has its own, and init_by_lua runs in it
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
    lua_code_cache off;
    init_by_lua_block { init = (init or 0) + 1 }
--- config
    location /t {
        rewrite_by_lua_block { require("counter").next() ngx.sleep(0.001) ngx.ctx.seen = init }
        content_by_lua_block {
            ngx.print(require("counter").next(), " ", init, " ", ngx.ctx.seen)
        }
    }
--- user_files
>>> counter.lua
local n = 0
return { next = function () n = n + 1 return n end }
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
["2 1 1", "2 1 1", "2 1 1"]



=== TEST 3: off: a changed file is seen at once; on: it is not
--- config
    location /write {
        content_by_lua_block {
            local file = io.open(ngx.config.prefix() .. "html/changing.lua", "w")
            file:write("ngx.print('" .. ngx.req.get_uri_args().text .. "')")
            file:close()
        }
    }
    location /off { lua_code_cache off; content_by_lua_file html/changing.lua; }
    location /on { content_by_lua_file html/changing.lua; }
--- request eval
["GET /write?text=one", "GET /off", "GET /on", "GET /write?text=two", "GET /off", "GET /on"]
--- response_body eval
["", "one", "one", "", "two", "one"]



=== TEST 4: off: everything that waits works, and its VM goes with the request
--- config
    location /t {
        lua_code_cache off;
        content_by_lua_block {
            ngx.req.read_body()
            local co = coroutine.wrap(function () ngx.sleep(0.001) coroutine.yield(1) end)
            co()
            ngx.print(ngx.req.get_body_data())
            ngx.flush(true)
            ngx.ctx.x = ("x"):rep(100000)
        }
    }
    location /memory {
        content_by_lua_block {
            for line in io.lines("/proc/self/status") do
                local kb = line:match("^VmRSS:%s+(%d+)")
                if kb then
                    before = before or tonumber(kb)
                    ngx.print(tonumber(kb) - before < 2000 and "steady" or tonumber(kb) - before)
                end
            end
        }
    }
--- skip_eval: 82: $ENV{TEST_NGINX_USE_VALGRIND}
--- pipelined_requests eval
[("POST /t\nabc") x 20, "GET /memory", ("POST /t\nabc") x 60, "GET /memory"]
--- response_body eval
[("abc") x 20, "steady", ("abc") x 60, "steady"]



=== TEST 5: off: an error in init_by_lua fails the request
--- config
    location /t {
        lua_code_cache off;
        content_by_lua_block { ngx.say("fine") }
    }
    location /arm {
        content_by_lua_block { io.open(ngx.config.prefix() .. "html/armed", "w"):close() }
    }
--- http_config
    init_by_lua_block {
        if io.open(ngx.config.prefix() .. "html/armed") then error("armed") end
    }
--- request eval
["GET /t", "GET /arm", "GET /t", "GET /t"]
--- error_code eval
[200, 200, 500, 500]
--- response_body_like eval
['\Afine\n\z', '\A\z', "500", "500"]
--- error_log eval
qr/init_by_lua error: init_by_lua\(nginx\.conf:\d+\):2: armed/



=== TEST 6: off: errors, exits and clients that go away
--- config
    lua_code_cache off;
    location /e { content_by_lua_block { ngx.sleep(0.001) error("x") } }
    location /x { access_by_lua_block { ngx.sleep(0.001) ngx.exit(403) } }
    location /k { content_by_lua_block { local co = coroutine.wrap(function () ngx.exit(201) end) co() } }
--- request eval
["GET /e", "GET /x", "GET /k"]
--- error_code eval
[500, 403, 201]
--- response_body_like eval
["500", "403", '\A\z']
