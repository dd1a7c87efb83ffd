# set_by_lua: Lua among nginx's own rewrite directives.
use Test::Nginx::Socket::Lua;

plan tests => 43;
no_long_string();
run_tests();

__DATA__

=== TEST 1: the result is the variable's value
--- config
    location /t {
        set_by_lua_block $v { return "phase " .. ngx.get_phase() }
        return 200 "$v\n";
    }
--- request
GET /t
--- response_body
phase set



=== TEST 2: runs in its place among set, if and rewrite
--- config
    location /t {
        set $a 1;
        set_by_lua $b 'return ngx.var.a + 1';
        set $a 10;
        set_by_lua $c 'return ngx.var.a + ngx.var.b';
        if ($arg_x) {
            set_by_lua_block $c { return "x" }
        }
        return 200 "$a $b $c\n";
    }
--- request eval
["GET /t", "GET /t?x=1"]
--- response_body eval
["10 2 12\n", "10 2 x\n"]



=== TEST 3: arguments with variables are in ngx.arg
--- config
    location /t {
        set $a 2;
        set_by_lua $v 'return ngx.arg[1] + ngx.arg[2], "not used"' $a "${a}1";
        set_by_lua $w 'return type(ngx.arg[1]) .. " " .. tostring(ngx.arg[2]) .. tostring(ngx.arg[0])' $arg_none;
        return 200 "$v $w\n";
    }
--- request
GET /t
--- response_body
23 string nilnil



=== TEST 4: a file, with a variable in its name
--- config
    location /t {
        set_by_lua_file $v html/$arg_f.lua $uri;
        return 200 "$v\n";
    }
--- user_files
>>> one.lua
return "one " .. ngx.arg[1]
--- request
GET /t?f=one
--- response_body
one /t



=== TEST 5: nil, nothing and a boolean are no text, a number is
--- config
    location /t {
        set_by_lua_block $a { return nil }
        set_by_lua_block $b { }
        set_by_lua_block $c { return true }
        set_by_lua_block $d { return 3.5 }
        return 200 "[$a][$b][$c][$d]\n";
    }
--- request
GET /t
--- response_body
[][][][3.5]



=== TEST 6: in server and in an if of it, before the location is chosen
--- config
    set_by_lua_block $v { return ngx.var.uri == "/t" and "/hit" or "/miss" }
    if ($arg_x) {
        set_by_lua_block $v { return "/x" }
    }
    rewrite ^ $v;
    location /hit { return 200 "hit\n"; }
    location /miss { return 200 "miss\n"; }
    location /x { return 200 "x\n"; }
--- request eval
["GET /t", "GET /u", "GET /t?x=1"]
--- response_body eval
["hit\n", "miss\n", "x\n"]



=== TEST 7: ngx.ctx is that of the request
--- config
    location /t {
        set_by_lua_block $v { ngx.ctx.seen = "set" return "" }
        content_by_lua_block { ngx.say(ngx.ctx.seen) }
    }
--- request
GET /t
--- response_body
set



=== TEST 8: a variable of nginx's own
--- config
    location /t {
        set_by_lua_block $args { return "b=2" }
        content_by_lua_block { ngx.say(ngx.var.arg_b, " ", ngx.req.get_uri_args().b) }
    }
--- request
GET /t?a=1
--- response_body
2 2



=== TEST 9: an error ends the request with 500
--- config
    location /t {
        set_by_lua_block $v {
            local function inner() error("no") end
            inner()
        }
        return 200 "not reached\n";
    }
--- request
GET /t
--- error_code: 500
--- error_log eval
[qr/\[error\] .*failed to run set_by_lua\*: set_by_lua\(nginx\.conf:\d+\):2: no/, "stack traceback:", "in function 'inner'"]



=== TEST 10: what waits or answers is disabled, and the error says what to use
--- config
    location /t {
        set_by_lua_block $v {
            local text = {}
            for _, f in ipairs { ngx.socket.tcp, ngx.socket.udp, function() ngx.sleep(0) end, function() ngx.say("x") end,
                    function() ngx.exit(200) end, ngx.req.read_body, function() ngx.redirect("/") end,
                    function() ngx.thread.spawn(function() end) end } do
                local ok, err = pcall(f)
                text[#text + 1] = err:match("API.*")
            end
            return table.concat(text, "\n")
        }
        return 200 "$v\n";
    }
--- request
GET /t
--- response_body eval
"API disabled in the context of set_by_lua*, use rewrite_by_lua* instead\n" x 8



=== TEST 11: coroutines work, a timer can be started
--- config
    location /t {
        set_by_lua_block $v {
            local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)
            assert(ngx.timer.at(0, function() ngx.log(ngx.WARN, "the timer ran") end))
            return co(1) .. " " .. co(5)
        }
        return 200 "$v\n";
    }
--- request
GET /t
--- response_body
2 10
--- wait: 0.1
--- error_log
the timer ran



=== TEST 12: a yield outside of a coroutine is an error
--- config
    location /t {
        set_by_lua_block $v { coroutine.yield() }
        return 200 "not reached\n";
    }
--- request
GET /t
--- error_code: 500
--- error_log
attempt to yield



=== TEST 13: without lua_code_cache each request has a VM of its own
--- config
    lua_code_cache off;
    location /t {
        set_by_lua_block $v { counter = (counter or 0) + 1 return counter }
        content_by_lua_block { ngx.say(ngx.var.v, " ", counter) }
    }
--- request eval
["GET /t", "GET /t"]
--- response_body eval
["1 1\n", "1 1\n"]



=== TEST 14: a name without dollar
--- config
    location /t {
        set_by_lua_block v { return 1 }
    }
--- must_die
--- error_log eval
qr/\[emerg\] .*invalid variable name "v" in .*nginx\.conf:\d+/



=== TEST 15: a variable that cannot be set
--- config
    location /t {
        set_by_lua_block $uri { return 1 }
    }
--- must_die
--- error_log eval
qr/\[emerg\] .*the duplicate "uri" variable in .*nginx\.conf:\d+/



=== TEST 16: ngx.arg elsewhere
--- config
    location /t {
        content_by_lua_block {
            local ok, err = pcall(function() return ngx.arg[1] end)
            ngx.say(err:match("API.*"))
        }
    }
--- request
GET /t
--- response_body
API disabled in the context of content_by_lua*
