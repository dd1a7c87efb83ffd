# Modules of lua-resty-core that are built in: ngx.re, ngx.base64, ngx.req, ngx.errlog.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

no_long_string();
run_tests();

__DATA__

=== TEST 1: ngx.re: split
--- lua
local split = require("ngx.re").split
show(split("a,b,c,d", ","))
show(split("a,b,c,d", "(,)"))
show(split("abcd", ""))
show(split("a,b,c,d", ",", nil, { pos = 5 }), split("a,b", ",", nil, { pos = 9 }), split("a,b", ",", nil, { pos = -9 }))
show(split("a,b,c,d", ",", nil, nil, 3), split("a,b,c", ",", nil, nil, 1), split("a,b,c", ",", nil, nil, 0))
show(split("a,b", ",", nil, nil, nil, { "W", "X", "Y", "Z" }))
-- Pieces of nothing: those at the end count where there is a limit.
show(split("", ","), split(",,", ","), split(",,a,,b,,", ","))
show(split("a,b,", ",", nil, nil, 2), split("a,b,", ",", nil, nil, 3), split("a,b,", ",", nil, nil, 4))
show(split("a,,", "(,)"), split(",", "(,)"), split("axb", "(,)|x"))
-- Matches of nothing
show(split("abc", "b*"), split("abc", "(b)?"), split("abc", "^"), split("abc", "$"), split("abc", "(?=b)"))
show(split("日本", "", "u"), split("a\nb", "^", "m"), split("aXbxc", "x", "ijo"), split(1212, 2))
show(split("abcd", "(?<=(b))c"), split("abcd", "b\\Kc"))
--- response_body
{1="a" 2="b" 3="c" 4="d"}
{1="a" 2="," 3="b" 4="," 5="c" 6="," 7="d"}
{1="a" 2="b" 3="c" 4="d"}
{1="c" 2="d"} {} {1="a" 2="b"}
{1="a" 2="b" 3="c,d"} {1="a,b,c"} {1="a" 2="b" 3="c"}
{1="a" 2="b" 4="Z"}
{} {} {1="" 2="" 3="a" 4="" 5="b"}
{1="a" 2="b,"} {1="a" 2="b" 3=""} {1="a" 2="b" 3=""}
{1="a" 2="," 3="" 4=","} {1="" 2=","} {1="a" 2="b"}
{1="a" 2="c"} {1="a" 2="b" 3="c"} {1="abc"} {1="abc"} {1="a" 2="bc"}
{1="日" 2="本"} {1="a\n" 2="b"} {1="a" 2="b" 3="c"} {1="1" 2="1"}
{1="ab" 2="b" 3="d"} {1="ab" 2="d"}



=== TEST 2: ngx.re: errors, options
--- lua
local re = require "ngx.re"
show(re.split("a", "("))
show(re.split("\255", ".", "u"))
fails(re.split, "a", "b", "Z")
fails(re.split, "a", "b", nil, 1)
fails(re.split, "a", "b", nil, nil, "x")
fails(re.split, "a", "b", nil, nil, nil, 1)
fails(re.split, {}, "b")
re.opt("jit_stack_size", 128 * 1024)
fails(re.opt, "jit_stack_size")
fails(re.opt, "other", 1)
fails(re.opt)
--- response_body
nil "pcre2_compile() failed: missing closing parenthesis in \"(\""
nil "pcre_exec() failed: -23"
unknown flag "Z" (flags "Z")
bad argument #4 to '?' (table expected, got number)
bad argument #5 to '?' (number expected, got string)
res is not a table
bad argument #1 to '?' (string expected, got table)
bad argument #2 to '?' (number expected, got no value)
unrecognized option name
unrecognized option name



=== TEST 3: ngx.base64
--- lua
local base64 = require "ngx.base64"
for _, text in ipairs { "", "a", "ab", "abc", "\255\254\253", "\251\239", ("x\255"):rep(5000) } do
    local encoded = base64.encode_base64url(text)
    show(#encoded < 10 and encoded or #encoded, base64.decode_base64url(encoded) == text)
end
show(base64.decode_base64url("YQ=="), base64.decode_base64url("YQ="), base64.decode_base64url("="))
for _, text in ipairs { "//++", "Y", "Y Q", "YQ\n", "YWJj!" } do show(base64.decode_base64url(text)) end
for _, name in ipairs { "encode_base64url", "decode_base64url" } do
    show(base64[name]())
    show(base64[name](1))
end
--- response_body
"" true
"YQ" true
"YWI" true
"YWJj" true
"__79" true
"--8" true
13334 true
"a" "a" ""
nil "invalid input"
nil "invalid input"
nil "invalid input"
nil "invalid input"
nil "invalid input"
nil "must provide a string"
nil "must provide a string"
nil "must provide a string"
nil "must provide a string"



=== TEST 4: ngx.req: one more line of a header
--- lua
local add_header = require("ngx.req").add_header
add_header("X-A", "1")
add_header("x-a", { "2", 3 })
add_header("X-B", true)
add_header("Host", "other")
add_header("Cookie", "b=2")
show(ngx.req.get_headers().x_a, ngx.var.http_x_b, ngx.var.http_host, ngx.var.http_cookie)
fails(add_header)
fails(add_header, "X-A")
fails(add_header, "X-A", {})
fails(add_header, "X-A", { {} })
fails(add_header, "X-A", print)
--- more_headers
X-A: 0
Cookie: a=1
--- response_body
{1="0" 2="1" 3="2" 4="3"} "true" "other" "a=1; b=2"
bad argument #1 to '?' (string expected, got no value)
bad argument #2 to '?' (string or table expected, got no value)
bad argument #2 to '?' (non-empty table expected)
bad argument #2 to '?' (array of strings expected, got table)
bad argument #2 to '?' (string or table expected, got function)



=== TEST 5: ngx.errlog
--- log_level: warn
--- http_config
    init_by_lua_block { require("ngx.errlog").raw_log(ngx.WARN, "at the start") }
--- lua
local errlog = require "ngx.errlog"
show(errlog.get_sys_filter_level() == ngx.WARN)
errlog.raw_log(ngx.ERR, "as it is")
errlog.raw_log(ngx.INFO, "not logged")
show(errlog.set_filter_level(ngx.WARN))
show(errlog.get_logs())
fails(errlog.raw_log, 99, "x")
fails(errlog.raw_log)
fails(errlog.raw_log, ngx.ERR, 1)
--- response_body
true
nil "missing the capture error log patch for nginx"
nil "missing the capture error log patch for nginx"
bad log level
bad log level
bad argument #2 to '?' (must be a string)
--- error_log eval
[qr/\[error\] \d+#\d+: \*\d+ as it is, client: /, qr/\[warn\] \d+#\d+: at the start$/m]
--- no_error_log
not logged
