# ngx.escape_uri, ngx.unescape_uri, in and out of requests.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * ( blocks() * 2 );
no_long_string();
run_tests();

__DATA__

=== TEST 1: a component is escaped by default
--- config
    location /t {
        content_by_lua_block {
            ngx.say(ngx.escape_uri("a 你/b?c=d&e+f%-._~!*'()"))
            ngx.say(ngx.escape_uri("a b", 2))
            ngx.say(ngx.escape_uri("plain"))
            ngx.say(ngx.escape_uri("\0\127\255"))
            ngx.say("[", ngx.escape_uri(""), "]")
        }
    }
--- request
GET /t
--- response_body
a%20%E4%BD%A0%2Fb%3Fc%3Dd%26e%2Bf%25-._~!*'()
a%20b
plain
%00%7F%FF
[]



=== TEST 2: a whole URI
--- config
    location /t {
        content_by_lua_block {
            ngx.say(ngx.escape_uri("http://h:80/a b?c=d&e#f%你\1", 0))
            ngx.say(ngx.escape_uri("a=b c&d", 1))
        }
    }
--- request
GET /t
--- response_body
http://h:80/a%20b%3Fc=d&e%23f%25%E4%BD%A0%01
a=b%20c%26d



=== TEST 3: a bad type
--- config
    location /t {
        content_by_lua_block {
            ngx.say(select(2, pcall(ngx.escape_uri, "a", -1)))
            ngx.say(select(2, pcall(ngx.escape_uri, "a", 7)))
            ngx.say(select(2, pcall(ngx.escape_uri, "a", "2")))
            ngx.say(ngx.escape_uri("a b", nil))
        }
    }
--- request
GET /t
--- response_body
"type" -1 out of range
"type" 7 out of range
"type" is not a number
a%20b



=== TEST 4: values that are not strings
--- config
    location /t {
        content_by_lua_block {
            local named = setmetatable({}, { __tostring = function () return "a b" end })
            for _, f in ipairs({ ngx.escape_uri, ngx.unescape_uri }) do
                ngx.say("[", f(nil), "] [", f(), "] [", f(false), "] ", f(true), " ", f(1.5),
                        " ", f(named))
            end
            local bad = setmetatable({}, { __tostring = function () error("no name") end })
            ngx.say(pcall(ngx.escape_uri, bad))
        }
    }
--- request
GET /t
--- response_body_like
\A\[\] \[\] \[\] true 1\.5 a%20b
\[\] \[\] \[\] true 1\.5 a b
falsecontent_by_lua\(nginx\.conf:\d+\):7: no name
\z



=== TEST 5: unescape
--- config
    location /t {
        content_by_lua_block {
            ngx.say(ngx.unescape_uri("b%20r56+7"))
            ngx.say(ngx.unescape_uri("try %search%%20%again%"))
            ngx.say(ngx.unescape_uri("%e4%BD%a0%"))
            ngx.say(ngx.unescape_uri("%4"), ngx.unescape_uri("%4g%g4"), ngx.unescape_uri("%%41"))
            ngx.say(#ngx.unescape_uri("%00%00"), " ", ngx.unescape_uri("plain"))
        }
    }
--- request
GET /t
--- response_body
b r56 7
try %search% %again%
你%
%4%4g%g4%A
2 plain



=== TEST 6: every byte comes back
--- config
    location /t {
        content_by_lua_block {
            local all = {}
            for byte = 0, 255 do all[#all + 1] = string.char(byte) end
            all = table.concat(all):rep(1000)
            ngx.say(ngx.unescape_uri(ngx.escape_uri(all)) == all)
            ngx.say(#ngx.escape_uri(all))
        }
    }
--- request
GET /t
--- response_body
true
626000



=== TEST 7: outside of requests
--- http_config
    init_by_lua_block { escaped = ngx.escape_uri("a b") }
    init_worker_by_lua_block { unescaped = ngx.unescape_uri("a%20b") }
--- config
    location /t {
        content_by_lua_block { ngx.say(escaped, " ", unescaped) }
    }
--- request
GET /t
--- response_body
a%20b a b
