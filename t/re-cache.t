# The cache of compiled patterns (option "o"), lua_regex_cache_max_entries and
# lua_regex_match_limit.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: the same pattern with other options is another one
--- lua
for _ = 1, 3 do
    show(ngx.re.match("Ab", "a|b", "o"), ngx.re.match("Ab", "a|b", "io"), ngx.re.match("Ab", "a|b", "oi"))
    show(ngx.re.find("Ab", "a|b", "o"), (ngx.re.sub("Ab", "a|b", "x", "io")))
end
--- response_body eval
qq[{0="b"} {0="A"} {0="A"}
2 "xb"
] x 3



=== TEST 2: all functions, all requests of a worker share the patterns
--- http_config
    lua_regex_cache_max_entries 2;
--- config
    location = /t {
        content_by_lua_block {
            local sum = 0
            for _ = 1, 5 do
                sum = sum + #ngx.re.match("aab", "a+", "jo")[0] + select(2, ngx.re.find("aab", "a+", "jo"))
                    + select(2, ngx.re.gsub("aab", "a", "", "jo")) + select(2, ngx.re.sub("aab", "a+", "", "jo"))
                for m in ngx.re.gmatch("aab", "a+", "jo") do
                    sum = sum + #m[0]
                end
            end
            ngx.say(sum)
        }
    }
--- request eval
["GET /t", "GET /t"]
--- response_body eval
["45\n", "45\n"]
--- no_error_log
[warn]
[error]



=== TEST 3: what does not fit is warned about once, and works
--- http_config
    lua_regex_cache_max_entries 3;
--- config
    location = /t {
        content_by_lua_block {
            for i = 1, 10 do
                ngx.print(ngx.re.match("abc10", i .. "|c", "jo")[0], " ")
            end
            ngx.say(ngx.re.match("x", "x", "o")[0])
        }
    }
--- request eval
["GET /t", "GET /t"]
--- response_body eval
["c c c c c c c c c c x\n", "c c c c c c c c c c x\n"]
--- grep_error_log: lua exceeding regex cache max entries (3)
--- grep_error_log_out eval
["lua exceeding regex cache max entries (3)\n", ""]



=== TEST 4: without a cache
--- http_config
    lua_regex_cache_max_entries 0;
--- lua
show(ngx.re.match("a", "a", "jo"), ngx.re.match("a", "a", "jo"))
--- response_body
{0="a"} {0="a"}
--- error_log
lua exceeding regex cache max entries (0)



=== TEST 5: by default 1024 patterns are kept; others that are not to be kept do not count
--- lua
for i = 1, 2000 do
    ngx.re.find("a", "a|" .. i, "j")
end
for i = 1, 1024 do
    ngx.re.find("a", "a|" .. i, "jo")
end
collectgarbage()
for i = 1, 1024 do
    ngx.re.find("a", "a|" .. i, "jo")
end
ngx.log(ngx.WARN, "one more")
show(ngx.re.find("a", "a|b", "o"))
--- response_body
1 1
--- grep_error_log eval: qr/one more|lua exceeding regex cache max entries \(1024\)/
--- grep_error_log_out
one more
lua exceeding regex cache max entries (1024)



=== TEST 6: the limit of a search
--- http_config
    lua_regex_match_limit 500;
--- lua
local text = ("a"):rep(30)
for _, options in ipairs { "", "jo", "o" } do
    show(ngx.re.match(text, "(a+)+$", options) ~= nil)
    show(ngx.re.match(text .. "b", "(a+)+$", options))
    show(ngx.re.find(text .. "b", "(a+)+$", options))
    show(ngx.re.sub(text .. "b", "(a+)+$", "x", options))
    show(ngx.re.gsub(text .. "b", "(a+)+$", print, options))
    show(ngx.re.gmatch(text .. "b", "(a+)+$", options)())
end
show(ngx.re.match(text .. "b", "(a+)+$", "d"))
--- response_body eval
( qq[true
nil "pcre_exec() failed: -47"
nil nil "pcre_exec() failed: -47"
nil nil "pcre_exec() failed: -47"
nil nil "pcre_exec() failed: -47"
nil "pcre_exec() failed: -47"
] x 3 ) . "nil\n"



=== TEST 7: PCRE2's own limit
--- http_config
    lua_regex_match_limit 0;
--- lua
show(ngx.re.match(("a"):rep(30) .. "b", "(a+)+$"))
--- response_body
nil "pcre_exec() failed: -47"



=== TEST 8: code on machine stack: deep patterns
--- lua
local nested = ("("):rep(5000) .. (")"):rep(5000)
for _, options in ipairs { "", "jo" } do
    show(#ngx.re.match(nested, "^(\\((?1)*\\))$", options)[0])
end
--- response_body
10000
10000



=== TEST 9: memory does not grow
--- lua
local function work()
    for i = 1, 20000 do
        ngx.re.match("hello", "h(e)(?<l>l+)", "")
        ngx.re.gsub("hello " .. i, "l", function(m) return m[0] end)
        for _ in ngx.re.gmatch("abc", "[a-z]", "j") do end
    end
    collectgarbage()
    collectgarbage()
    return t.memory()
end
work()
local before = work()
local after = work()
show(after - before < 4000 or after - before)
--- response_body
true
--- timeout: 30



=== TEST 10: bad values
--- http_config
    lua_regex_cache_max_entries many;
--- config
--- must_die
--- error_log
invalid number in



=== TEST 11: without lua_code_cache each request has patterns of its own
--- http_config
    lua_code_cache off;
    lua_regex_cache_max_entries 1;
--- lua
show(ngx.re.match("a", "a", "jo"), ngx.re.match("a", "a", "jo"))
--- request eval
["GET /t", "GET /t"]
--- response_body eval
[ (qq({0="a"} {0="a"}\n)) x 2 ]
--- no_error_log
[error]
exceeding



=== TEST 12: a directive twice
--- http_config
    lua_regex_match_limit 1;
    lua_regex_match_limit 2;
--- config
--- must_die
--- error_log
"lua_regex_match_limit" directive is duplicate
