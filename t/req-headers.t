# ngx.req.get_headers
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * (blocks() * 2 + 7);

no_long_string();
run_tests();

__DATA__

=== TEST 1: names are in lower case; values as they came
--- config
    location /t {
        content_by_lua_block {
            local headers, err = ngx.req.get_headers()
            local names = {}
            for name in pairs(headers) do names[#names + 1] = name end
            table.sort(names)
            for _, name in ipairs(names) do ngx.say(name, ": ", headers[name]) end
            ngx.say(err)
        }
    }
--- raw_request eval
"GET /t HTTP/1.1\r\nHOST: localhost\r\nX-Foo-Bar:  a  b \r\nEmpty:\r\nConnection: close\r\n\r\n"
--- response_body
connection: close
empty: 
host: localhost
x-foo-bar: a  b
nil



=== TEST 2: a header is found under any spelling
--- config
    location /t {
        content_by_lua_block {
            local h = ngx.req.get_headers()
            ngx.say(h["X-Foo-Bar"], h.x_foo_bar, h.X_FOO_BAR, h["x-foo-bar"], h["X_foo-bAR"])
            ngx.say(h.none, " ", h[1], " ", h[true], " ", h.x_foo)
            ngx.say(rawget(h, "X-Foo-Bar"), " ", rawget(h, "x-foo-bar"))
        }
    }
--- request
GET /t
--- more_headers
X-Foo-Bar: 1
--- response_body
11111
nil nil nil nil
nil 1



=== TEST 3: several lines of a name are an array, whatever their case
--- config
    location /t {
        content_by_lua_block {
            local h = ngx.req.get_headers()
            ngx.say(type(h.foo), " ", #h.foo, " ", table.concat(h.foo, ","))
            ngx.say(type(h.bar), " ", h.bar)
        }
    }
--- request
GET /t
--- more_headers
Foo: a
foo: b
Bar: x
FOO: c, d
Foo:
--- response_body
table 4 a,b,c, d,
string x



=== TEST 4: raw: the client's spelling, and no metatable
--- config
    location /t {
        content_by_lua_block {
            local h = ngx.req.get_headers(nil, true)
            ngx.say(h["X-Foo"], " ", h["x-FOO"], " ", h["x-foo"], " ", h.x_foo)
            ngx.say(getmetatable(h))
        }
    }
--- request
GET /t
--- more_headers
X-Foo: 1
x-FOO: 2
--- response_body
1 2 nil nil
nil



=== TEST 5: no more than 100 lines unless asked for
--- config
    location /t {
        content_by_lua_block {
            local function count(...)
                local h, err = ngx.req.get_headers(...)
                local n = 0
                for _, value in pairs(h) do n = n + (type(value) == "table" and #value or 1) end
                return n .. " " .. tostring(err) .. "\n"
            end
            ngx.print(count(), count(100), count(101), count(102), count(103), count(1), count(0),
                count("2"), count(-1), count(nil, true), count(0, true))
        }
    }
--- request
GET /t
--- more_headers eval
CORE::join "", map { "X$_: $_\n" } 1 .. 100
--- response_body
100 truncated
100 truncated
101 truncated
102 nil
102 nil
1 truncated
102 nil
2 truncated
100 truncated
100 truncated
102 nil



=== TEST 6: exactly 100 lines are not too many
--- config
    location /t {
        content_by_lua_block {
            local h, err = ngx.req.get_headers()
            ngx.say(h.x97, " ", err)
        }
    }
--- request
GET /t
--- more_headers eval
CORE::join "", map { "X: $_\n" } 1 .. 98
--- response_body
nil nil



=== TEST 7: a name longer than usual
--- config
    location /t {
        content_by_lua_block {
            local name = string.rep("Long-Name-", 30) .. "X"
            local h = ngx.req.get_headers()
            ngx.say(h[name], h[name:gsub("-", "_"):upper()])
        }
    }
--- request
GET /t
--- more_headers eval
("Long-Name-" x 30) . "X: here"
--- response_body
herehere



=== TEST 8: each call returns a table of its own
--- config
    location /t {
        content_by_lua_block {
            local a, b = ngx.req.get_headers(), ngx.req.get_headers()
            a.host = "changed"
            a.new_one = "new"
            ngx.say(a.host, " ", b.host, " ", a.new_one, " ", b.new_one)
        }
    }
--- request
GET /t
--- response_body
changed localhost new nil



=== TEST 9: a maximum of a wrong type
--- config
    location /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.req.get_headers, {})))
            ngx.say(select(2, pcall(ngx.req.get_headers, "many")))
        }
    }
--- request
GET /t
--- response_body
bad argument #1 to '?' (number expected, got table)
bad argument #1 to '?' (number expected, got string)



=== TEST 10: in rewrite and access, HTTP/1.0 and HEAD
--- config
    location /t {
        set $seen '';
        rewrite_by_lua_block { ngx.var.seen = ngx.req.get_headers().foo }
        access_by_lua_block { ngx.var.seen = ngx.var.seen .. ngx.req.get_headers().foo }
        content_by_lua_block {
            ngx.header.seen = ngx.var.seen .. ngx.req.get_headers().foo
            ngx.say("ok")
        }
    }
--- request eval
["GET /t HTTP/1.0", "HEAD /t", "POST /t\nhello"]
--- more_headers
Foo: x
--- response_headers eval
["seen: xxx", "seen: xxx", "seen: xxx"]
--- response_body eval
["ok\n", "", "ok\n"]



=== TEST 11: a proxied request, and a subrequest, which has the main request's
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        proxy_set_header X-Added yes;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/backend;
    }
    location /backend {
        content_by_lua_block {
            local h = ngx.req.get_headers()
            ngx.say(h.x_added, " ", h.foo, " ", '<!--#include virtual="/sub" -->')
        }
    }
    location /sub {
        content_by_lua_block {
            local h = ngx.req.get_headers()
            ngx.print(h.x_added, " ", h.foo)
        }
    }
--- request
GET /t
--- more_headers
Foo: x
--- response_body
yes x nil x



=== TEST 12: no request
--- http_config
    init_by_lua_block {
        in_init = select(2, pcall(function() return (ngx.req.get_headers()) end))
    }
--- config
    location /t { content_by_lua_block { ngx.say(in_init) } }
--- request
GET /t
--- response_body_like eval
qr{\Ainit_by_lua\S+:2: no request found\n\z}
