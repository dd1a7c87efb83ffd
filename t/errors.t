# Lua errors: what the client gets, what error.log says.
use Test::Nginx::Socket::Lua;

repeat_each(1);
plan tests => repeat_each() * 77;
no_long_string();
run_tests();

__DATA__

=== TEST 1: a runtime error: 500, position and traceback in error.log
--- config
    location /t {
        content_by_lua_block {
            local function inner(t)
                return t.a.b .. "x"
            end
            local function outer()
                local s = inner({})
                return s
            end
            outer()
        }
    }
--- request
GET /t
--- error_code: 500
--- response_body_like: 500 Internal Server Error
--- error_log eval
[
    qr/lua entry thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):3: attempt to index field 'a' \(a nil value\)$/,
    "stack traceback:", qr/^coroutine 0:$/,
    qr/\tcontent_by_lua\(nginx\.conf:\d+\):6: in function 'outer'/,
    qr/\tcontent_by_lua\(nginx\.conf:\d+\):9: in main chunk, client: 127\.0\.0\.1/,
]



=== TEST 2: error values that are not strings
--- config
    location /table { content_by_lua_block { error({ code = 1 }) } }
    location /nil { content_by_lua_block { error() } }
    location /number { content_by_lua_block { error(42, 0) } }
    location /named { content_by_lua_block { error(setmetatable({}, { __tostring = function () return "my error" end })) } }
    location /bad { content_by_lua_block { error(setmetatable({}, { __tostring = function () error("deeper") end })) } }
    location /none { content_by_lua_block { error("no position", 0) } }
--- request eval
["GET /table", "GET /nil", "GET /number", "GET /named", "GET /bad", "GET /none"]
--- error_code eval
[500, 500, 500, 500, 500, 500]
--- grep_error_log eval: qr/aborted: runtime error: .*/
--- grep_error_log_out eval
"aborted: runtime error: unknown reason
aborted: runtime error: unknown reason
aborted: runtime error: 42
aborted: runtime error: my error
aborted: runtime error: unknown reason
aborted: runtime error: no position
"



=== TEST 3: in every phase, before and after a wait
--- config
    location /r { rewrite_by_lua_block { error("x") } content_by_lua_block { ngx.say("not reached") } }
    location /rw { rewrite_by_lua_block { ngx.sleep(0.001) error("x") } content_by_lua_block { ngx.say("not reached") } }
    location /a { access_by_lua_block { error("x") } content_by_lua_block { ngx.say("not reached") } }
    location /aw { access_by_lua_block { ngx.sleep(0.001) error("x") } content_by_lua_block { ngx.say("not reached") } }
    location /c { content_by_lua_block { error("x") } }
    location /cw { content_by_lua_block { ngx.sleep(0.001) error("x") } }
--- request eval
["GET /r", "GET /rw", "GET /a", "GET /aw", "GET /c", "GET /cw"]
--- error_code eval
[500, 500, 500, 500, 500, 500]
--- grep_error_log eval: qr/runtime error: \w+_by_lua/
--- grep_error_log_out eval
"runtime error: rewrite_by_lua
runtime error: rewrite_by_lua
runtime error: access_by_lua
runtime error: access_by_lua
runtime error: content_by_lua
runtime error: content_by_lua
"



=== TEST 5: in nested coroutines
--- config
    location /t {
        content_by_lua_block {
            local co = coroutine.wrap(function ()
                local inner = coroutine.wrap(function ()
                    ngx.sleep(0.001)
                    error("deep")
                end)
                inner()
            end)
            co()
        }
    }
--- request
GET /t
--- error_code: 500
--- error_log eval
[qr/lua entry thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):5: deep$/, "stack traceback:", qr/^coroutine 0:$/]



=== TEST 6: a syntax error stops the request only
--- config
    location /t {
        content_by_lua_block {
            local x = = 1
        }
    }
--- request
GET /t
--- error_code: 500
--- error_log eval
qr/failed to load inlined Lua code: content_by_lua\(nginx\.conf:\d+\):2: unexpected symbol near '='/



=== TEST 7: a file with a syntax error, a file that is missing or none, a name with variables
--- config
    location /syntax { content_by_lua_file html/bad.lua; }
    location /missing { content_by_lua_file html/missing.lua; }
    location /var/ { content_by_lua_file html/$arg_name.lua; }
    location /rewrite { rewrite_by_lua_file html/missing.lua; }
    location /directory { content_by_lua_file html; }
--- user_files
>>> bad.lua
local x = 
= 1
>>> good.lua
#!/usr/bin/env lua
ngx.say("good ", ...)
>>> broken.lua

error("broken")
--- request eval
["GET /syntax", "GET /missing", "GET /var/?name=good", "GET /var/?name=broken", "GET /var/?name=no", "GET /rewrite", "GET /directory", "GET /var/?name=good"]
--- error_code eval
[500, 404, 200, 500, 404, 404, 503, 200]
--- response_body_like eval
["500", "404", '\Agood \n\z', "500", "404", "404", "503", '\Agood \n\z']
--- error_log eval
[
    qr{failed to load external Lua file ".*/html/bad\.lua": .*bad\.lua:2: unexpected symbol near '='},
    qr{failed to load external Lua file ".*/html/missing\.lua": cannot open .*/html/missing\.lua: No such file or directory},
    qr{failed to load external Lua file ".*/html/no\.lua": cannot open},
    qr{runtime error: .*broken\.lua:2: broken},
]



=== TEST 8: memory errors and deep recursion
--- config
    location /stack { content_by_lua_block { local function f() return 1 + f() end f() } }
    location /handled {
        content_by_lua_block {
            local function f() return 1 + f() end
            ngx.say((select(2, pcall(f)):gsub("^.-:.-: ", "")))
        }
    }
--- request eval
["GET /stack", "GET /handled"]
--- error_code eval
[500, 200]
--- response_body_like eval
["500", '\A(?:\d+: )?stack overflow']



=== TEST 9: in init_worker_by_lua: logged, the worker goes on
--- http_config
    init_worker_by_lua_block {
        local function f() error("early") end
        f()
    }
--- config
    location /t { content_by_lua_block { ngx.say("fine") } }
--- request
GET /t
--- response_body
fine
--- error_log eval
[qr/init_worker_by_lua error: init_worker_by_lua\(nginx\.conf:\d+\):2: early/, "stack traceback:"]



=== TEST 10: in init_by_lua: nginx does not start
--- http_config
    init_by_lua_block { error("no way") }
--- config
    location /t { return 200; }
--- must_die
--- error_log eval
qr/\[emerg\] .*init_by_lua error: init_by_lua\(nginx\.conf:\d+\):1: no way/



=== TEST 11: a write to a global is warned about, once for a name
--- config
    location /t {
        content_by_lua_block {
            foo = 1
            foo = 2
            ngx.say(foo)
        }
    }
--- request
GET /t
--- response_body
2
--- error_log eval
[qr/\[warn\] .*writing a global Lua variable \('foo'\) which may lead to race conditions/, qr/content_by_lua\(nginx\.conf:\d+\):2: in main chunk/]



=== TEST 12: no warning in init_by_lua, init_worker_by_lua, or for rawset
--- http_config
    init_by_lua_block { foo = 1 }
    init_worker_by_lua_block { worker = 5 }
--- config
    location /t {
        content_by_lua_block {
            foo = 2
            rawset(_G, "bar", 3)
            local env = setmetatable({}, { __index = _G })
            setfenv(1, env)
            baz = 4
            ngx.say(foo, bar, baz, tostring(_G.baz), worker)
        }
    }
--- request
GET /t
--- response_body
234nil5
--- no_error_log
writing a global
--- no_check_leak



=== TEST 13: an error leaves the next request alone
--- config
    location /e { content_by_lua_block { ngx.ctx.x = 1 local t = nil; t.x = 1 } }
    location /t { content_by_lua_block { ngx.say(tostring(ngx.ctx.x), " ", ngx.status) } }
--- request eval
["GET /e", "GET /t", "GET /e", "GET /t"]
--- error_code eval
[500, 200, 500, 200]
--- response_body_like eval
["500", '\Anil 0\n\z', "500", '\Anil 0\n\z']



=== TEST 14: ngx.log and print
--- config
    location /t {
        content_by_lua_block {
            local function named() ngx.log(ngx.ERR, "a", 1, nil, true, ngx.null, 1.5) end
            named()
            print("printed ", "b")
            ngx.log(ngx.WARN, setmetatable({}, { __tostring = function () return "tabled" end }))
            ngx.say(select(2, pcall(ngx.log, ngx.ERR, {})))
            ngx.say(select(2, pcall(ngx.log, ngx.ERR, print)))
            ngx.say(select(2, pcall(ngx.log, 99, "x")))
            ngx.say(select(2, pcall(ngx.log, "x", "x")))
            ngx.log(ngx.ERR)
        }
    }
--- request
GET /t
--- response_body
bad argument #2 to '?' (expected table to have __tostring metamethod)
bad argument #2 to '?' (string, number, boolean, or nil expected, got function)
bad argument #1 to '?' (bad log level: 99)
bad argument #1 to '?' (number expected, got string)
--- error_log eval
[
    qr/\[error\] \S+ \S+ \[lua\] content_by_lua\(nginx\.conf:\d+\):2: named\(\): a1niltruenull1\.5, client: 127\.0\.0\.1/,
    qr/\[notice\] \S+ \S+ \[lua\] content_by_lua\(nginx\.conf:\d+\):4: printed b, client/,
    qr/\[warn\] \S+ \S+ \[lua\] content_by_lua\(nginx\.conf:\d+\):5: tabled, client/,
]
