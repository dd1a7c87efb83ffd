# ngx.req.get_uri_args, ngx.req.get_method.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 45;
no_long_string();

# Prints a table with its keys in order.
our $dump = <<'_EOC_';
    init_by_lua_block {
        function dump(args, err)
            local keys = {}
            for key in pairs(args) do keys[#keys + 1] = key end
            table.sort(keys)
            for _, key in ipairs(keys) do
                local value = args[key]
                if type(value) == "table" then
                    for i, v in ipairs(value) do value[i] = tostring(v) end
                    value = "{" .. table.concat(value, ",") .. "}"
                elseif type(value) == "string" then
                    value = '"' .. value .. '"'
                end
                ngx.say(key, "=", tostring(value))
            end
            ngx.say("err: ", tostring(err))
        end
    }
_EOC_

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( http_config => $main::dump );
    }
);
run_tests();

__DATA__

=== TEST 1: plain, duplicate, valueless and empty arguments
--- config
    location /t { content_by_lua_block { dump(ngx.req.get_uri_args()) } }
--- request
GET /t?foo=bar&bar=baz&bar=blah&bar=&flag&empty=&flag&n=1
--- response_body
bar={baz,blah,}
empty=""
flag={true,true}
foo="bar"
n="1"
err: nil



=== TEST 2: keys and values are decoded
--- config
    location /t { content_by_lua_block { dump(ngx.req.get_uri_args()) } }
--- request
GET /t?a%20b=1%61+2&%3d=%26&x+y&bad=%zz%&e=f=g
--- response_body
=="&"
a b="1a 2"
bad="%zz%"
e="f=g"
x y=true
err: nil



=== TEST 3: arguments without a key are skipped
--- config
    location /t { content_by_lua_block { dump(ngx.req.get_uri_args()) } }
--- request
GET /t?=hello&=world&&&a&=
--- response_body
a=true
err: nil



=== TEST 4: no arguments
--- config
    location /t { content_by_lua_block { dump(ngx.req.get_uri_args()) } }
--- request eval
["GET /t", "GET /t?"]
--- response_body eval
["err: nil\n", "err: nil\n"]



=== TEST 5: a key once true, once a value
--- config
    location /t { content_by_lua_block { dump(ngx.req.get_uri_args()) } }
--- request
GET /t?a&a=1&a=2&a
--- response_body
a={true,1,2,true}
err: nil



=== TEST 6: a limit
--- config
    location /t {
        content_by_lua_block {
            dump(ngx.req.get_uri_args(2))
            dump(ngx.req.get_uri_args(3))
            dump(ngx.req.get_uri_args("1"))
        }
    }
--- request
GET /t?a=1&b=2&a=3
--- response_body
a="1"
b="2"
err: truncated
a={1,3}
b="2"
err: nil
a="1"
err: truncated



=== TEST 7: 100 by default, 0 is no limit
--- config
    location /t {
        content_by_lua_block {
            local function count(max)
                local args, err = ngx.req.get_uri_args(max)
                local n = 0
                for _ in pairs(args) do n = n + 1 end
                return n, " ", tostring(err), "\n"
            end
            ngx.print(count())
            ngx.print(count(-1))
            ngx.print(count(0))
            ngx.print(count(150))
        }
    }
--- request eval
["GET /t?" . CORE::join("&", map { "a$_=$_" } 1..100), "GET /t?" . CORE::join("&", map { "a$_" } 1..150)]
--- response_body eval
["100 nil\n" x 4, "100 truncated\n" x 2 . "150 nil\n" x 2]



=== TEST 8: a table to fill is emptied first
--- config
    location /t {
        content_by_lua_block {
            local mine = { old = 1, 2, 3, deep = {} }
            local args, err = ngx.req.get_uri_args(10, mine)
            ngx.say(args == mine)
            dump(args, err)
            local args, err = ngx.req.get_uri_args(1, mine)
            ngx.say(args == mine)
            dump(args, err)
        }
    }
--- request
GET /t?a=1&b=2
--- response_body
true
a="1"
b="2"
err: nil
true
a="1"
err: truncated



=== TEST 9: bad arguments
--- config
    location /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.req.get_uri_args, {})))
            ngx.say(select(2, pcall(ngx.req.get_uri_args, 1, 2)))
        }
    }
--- request
GET /t
--- response_body
bad argument #1 to '?' (number expected, got table)
bad argument #2 to '?' (table expected, got number)



=== TEST 10: in rewrite and access, after a change by nginx
--- config
    location /t {
        rewrite ^ /u?b=2 last;
    }
    location /u {
        rewrite_by_lua_block { dump(ngx.req.get_uri_args()) ngx.ctx.said = true }
    }
--- request
GET /t?a=1
--- response_body
a="1"
b="2"
err: nil



=== TEST 11: in a coroutine
--- config
    location /t {
        content_by_lua_block {
            local co = coroutine.wrap(function () dump(ngx.req.get_uri_args()) end)
            co()
        }
    }
--- request
GET /t?in=coroutine
--- response_body
in="coroutine"
err: nil



=== TEST 12: get_method
--- config
    location /t { content_by_lua_block { ngx.say(ngx.req.get_method()) } }
--- request eval
["GET /t", "POST /t\r\n", "PUT /t", "DELETE /t", "OPTIONS /t", "FOOBAR /t", "PATCH /t"]
--- response_body eval
["GET\n", "POST\n", "PUT\n", "DELETE\n", "OPTIONS\n", "FOOBAR\n", "PATCH\n"]



=== TEST 13: get_method of HEAD
--- config
    location /t {
        content_by_lua_block {
            ngx.log(ngx.WARN, "method: ", ngx.req.get_method())
        }
    }
--- request
HEAD /t
--- response_body
--- error_log
method: HEAD



=== TEST 14: get_method of a subrequest
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        default_type text/plain;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print('<!--#include virtual="/sub" -->')
        }
    }
    location /sub {
        content_by_lua_block { ngx.print(ngx.req.get_method()) }
    }
--- request
POST /t
abc
--- response_body chop
GET
