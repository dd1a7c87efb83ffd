# ngx.ctx: a table for each request.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 30;
no_long_string();
run_tests();

__DATA__

=== TEST 1: made on first use, shared by all phases
--- config
    location /t {
        rewrite_by_lua_block {
            ngx.ctx.list = { ngx.get_phase() }
            ngx.sleep(0.001)
            table.insert(ngx.ctx.list, "after a wait")
        }
        access_by_lua_block { table.insert(ngx.ctx.list, ngx.get_phase()) }
        content_by_lua_block {
            ngx.say(type(ngx.ctx), " ", table.concat(ngx.ctx.list, ", "))
            ngx.say(rawget(ngx, "ctx") == nil, " ", ngx.ctx == ngx.ctx)
        }
    }
--- request
GET /t
--- response_body
table rewrite, after a wait, access
true true



=== TEST 2: assignment replaces the table
--- config
    location /t {
        rewrite_by_lua_block { ngx.ctx.old = 1 }
        content_by_lua_block {
            local mine = { foo = "bar" }
            ngx.ctx = mine
            ngx.say(ngx.ctx == mine, " ", ngx.ctx.foo, " ", ngx.ctx.old)
            ngx.ctx = setmetatable({}, { __index = { deep = 42 } })
            ngx.say(ngx.ctx.deep, " ", ngx.ctx.foo)
        }
    }
--- request
GET /t
--- response_body
true bar nil
42 nil



=== TEST 3: only a table can be assigned
--- config
    location /t {
        content_by_lua_block {
            for _, bad in ipairs({ 1, "x", true, ngx.null, print }) do
                ngx.say(select(2, pcall(function () ngx.ctx = bad end)))
            end
            ngx.say(select(2, pcall(function () ngx.ctx = nil end)))
            ngx.say(next(ngx.ctx))
        }
    }
--- request
GET /t
--- response_body_like
\Acontent_by_lua\(nginx\.conf:\d+\):3: ctx should be a table while getting a number
content_by_lua\(nginx\.conf:\d+\):3: ctx should be a table while getting a string
content_by_lua\(nginx\.conf:\d+\):3: ctx should be a table while getting a boolean
content_by_lua\(nginx\.conf:\d+\):3: ctx should be a table while getting a userdata
content_by_lua\(nginx\.conf:\d+\):3: ctx should be a table while getting a function
content_by_lua\(nginx\.conf:\d+\):5: ctx should be a table while getting a nil
nil
\z



=== TEST 4: the next request on the connection has a new one
--- config
    location /t {
        content_by_lua_block {
            ngx.say(tostring(ngx.ctx.seen))
            ngx.ctx.seen = true
        }
    }
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t"]
--- response_body eval
["nil\n", "nil\n", "nil\n"]



=== TEST 5: subrequests have their own
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        default_type text/plain;
        content_by_lua_block {
            ngx.ctx.name = "main"
            ngx.say('<!--#include virtual="/sub" wait="yes" -->')
            ngx.say(ngx.ctx.name, " ", ngx.is_subrequest)
        }
    }
    location /sub {
        content_by_lua_block {
            ngx.say(tostring(ngx.ctx.name), " ", ngx.is_subrequest)
            ngx.ctx.name = "sub"
        }
    }
--- request
GET /t
--- response_body
nil true

main false



=== TEST 6: an internal redirect makes a new one
--- config
    location /t {
        rewrite_by_lua_block { ngx.ctx.name = "old" }
        try_files /nothing /new;
    }
    location /new {
        internal;
        content_by_lua_block { ngx.say(tostring(ngx.ctx.name)) }
    }
--- request
GET /t
--- response_body
nil






=== TEST 8: an error page has a new one
--- config
    error_page 404 /new;
    location /t {
        content_by_lua_block {
            ngx.ctx.name = "old"
            ngx.sleep(0.001)
            ngx.exit(404)
        }
    }
    location /new {
        internal;
        content_by_lua_block { ngx.say(tostring(ngx.ctx.name), " ", ngx.status) }
    }
--- request
GET /t
--- error_code: 404
--- response_body
nil 404



=== TEST 9: works in init_worker_by_lua, not in init_by_lua
--- http_config
    init_by_lua_block {
        local ok, err = pcall(function () return ngx.ctx end)
        in_init = err
    }
    init_worker_by_lua_block {
        ngx.ctx.name = "worker"
        in_worker = ngx.ctx.name
    }
--- config
    location /t {
        content_by_lua_block {
            ngx.say(in_init)
            ngx.say(in_worker)
            ngx.say(tostring(ngx.ctx.name))
        }
    }
--- request
GET /t
--- response_body_like
\Ainit_by_lua\(nginx\.conf:\d+\):2: no request found
worker
nil
\z
--- no_error_log
[error]



=== TEST 10: freed with the request
--- config
    location /t {
        content_by_lua_block {
            collectgarbage() collectgarbage()
            local before = collectgarbage("count")
            ngx.ctx.big = string.rep("x", 1000000)
            ngx.print(before > (kept or before) + 900 and "leak" or "fine")
            rawset(_G, "kept", kept or before)
        }
    }
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- response_body eval
["fine", "fine", "fine", "fine"]
--- no_error_log
[error]
