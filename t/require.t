# Search paths, Lua modules, C modules.
use Test::Nginx::Socket::Lua;

repeat_each(1);
plan tests => 14;
no_long_string();
run_tests();

__DATA__

=== TEST 1: lua_package_path with $prefix; the default stays for ;;
--- http_config
    lua_package_path "$prefix/html/lib/?.lua;$prefix/html/lib/?/init.lua;;";
--- config
    location /t {
        content_by_lua_block {
            ngx.say(require("one").name, " ", require("two").name, " ", require("dir.three").name)
            ngx.say(require("one") == require("one"))
            local prefix = ngx.config.prefix()
            ngx.say(package.path:sub(1, #prefix) == prefix, " ", package.path:find("./?.lua", 1, true) ~= nil)
        }
    }
--- user_files
>>> lib/one.lua
return { name = "one " .. ... }
>>> lib/two/init.lua
return { name = "two" }
>>> lib/dir/three.lua
module("dir.three", package.seeall)
name = "three " .. ngx.get_phase()
--- request
GET /t
--- response_body
one one two three content
true
true true



=== TEST 2: a path without ;; replaces the default
--- http_config
    lua_package_path "/nowhere/?.lua";
    lua_package_cpath "/nowhere/?.so";
--- config
    location /t {
        content_by_lua_block {
            ngx.say(package.path)
            ngx.say(package.cpath)
        }
    }
--- request
GET /t
--- response_body
/nowhere/?.lua
/nowhere/?.so



=== TEST 3: a missing module, a module with an error
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
--- config
    location /t {
        content_by_lua_block {
            local ok, err = pcall(require, "missing.module")
            ngx.say(ok, " ", err:match("^[^\n]*"), " ", err:find("no file '" .. ngx.config.prefix() .. "html/missing/module.lua'", 1, true) ~= nil
                    or err:find("/html/missing/module.lua", 1, true) ~= nil)
            local ok, err = pcall(require, "broken")
            ngx.say(ok, " ", err:find("broken.lua:2: oops", 1, true) ~= nil)
            local ok, err = pcall(require, "syntax")
            ngx.say(ok, " ", err:find("error loading module 'syntax'", 1, true) ~= nil)
        }
    }
--- user_files
>>> broken.lua
-- second line
error("oops")
>>> syntax.lua
return return
--- request
GET /t
--- response_body
false module 'missing.module' not found: true
false true
false true



=== TEST 4: require in init_by_lua; no waiting while a module loads
--- http_config
    lua_package_path "$prefix/html/?.lua;;";
    init_by_lua_block { early = require "early" }
--- config
    location /t {
        content_by_lua_block {
            ngx.say(early.phase, " ", require("early") == early)
            local ok, err = pcall(require, "sleeper")
            ngx.say(ok, " ", err:match("attempt to yield across C%-call boundary"))
        }
    }
--- user_files
>>> early.lua
return { phase = ngx.get_phase() }
>>> sleeper.lua
ngx.sleep(0.001)
--- request
GET /t
--- response_body
init true
false attempt to yield across C-call boundary



=== TEST 5: a C module: cjson
--- skip_eval: 3: !grep { -e "$_/cjson.so" } map { glob "$_/*/lua/5.1" } qw(/usr/lib)
--- http_config
    lua_package_cpath "/usr/lib/x86_64-linux-gnu/lua/5.1/?.so;/usr/lib/aarch64-linux-gnu/lua/5.1/?.so;;";
    init_by_lua_block { cjson = require "cjson" }
--- config
    location /t {
        content_by_lua_block {
            ngx.say(cjson.encode({ list = { 1, 2, "x" } }))
            ngx.say(cjson.encode({ ngx.null, cjson.null }), " ", cjson.null == ngx.null)
            local value = cjson.decode('{"a":[1,null,true],"b":"\\u00e9"}')
            ngx.say(value.a[1], " ", value.a[2] == ngx.null, " ", value.b)
            ngx.say(select(2, pcall(cjson.decode, "{bad")):match("^Expected[^,]*"))
        }
    }
--- request
GET /t
--- response_body
{"list":[1,2,"x"]}
[null,null] true
1 true é
Expected object key string but found invalid token at character 2



=== TEST 6: LuaJIT's libraries are there
--- config
    location /t {
        content_by_lua_block {
            local ffi = require "ffi"
            local bit = require "bit"
            ffi.cdef "int getpid(void);"
            ngx.say(ffi.C.getpid() == ngx.worker.pid(), " ", bit.band(6, 3), " ", type(jit.version), " ", type(require "string.buffer" or 1))
            ngx.say(type(io.open), type(os.time), type(debug.traceback), type(string.dump))
        }
    }
--- request
GET /t
--- response_body
true 2 string table
functionfunctionfunctionfunction



=== TEST 7: a relative _file is under the prefix
--- http_config
    init_by_lua_file html/init.lua;
    init_worker_by_lua_file html/worker.lua;
--- config
    location /t {
        rewrite_by_lua_file html/rewrite.lua;
        access_by_lua_file html/$arg_name.lua;
        content_by_lua_file $document_root/content.lua;
        root html;
    }
--- user_files
>>> init.lua
trail = { ngx.get_phase() }
>>> worker.lua
trail[2] = ngx.get_phase()
>>> rewrite.lua
trail[3] = ngx.get_phase()
>>> access.lua
#!/usr/bin/lua
trail[4] = ngx.get_phase()
>>> content.lua
ngx.say(table.concat(trail, " "), " ", (debug.getinfo(1, "S").source:gsub("^.*/", "")))
--- request
GET /t?name=access
--- response_body
init init_worker rewrite access content.lua
