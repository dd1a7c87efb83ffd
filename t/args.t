# ngx.encode_args, ngx.decode_args, ngx.quote_sql_str.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: encoding
--- lua
show(ngx.encode_args({ ["b r"] = "hello world" }))
show(ngx.encode_args({ baz = { 32, "hello" } }))
show(ngx.encode_args({ a = true }), ngx.encode_args({ a = false }), ngx.encode_args({ a = {} }))
show(ngx.encode_args({ a = "" }), ngx.encode_args({ [""] = "x" }), ngx.encode_args({}))
show(ngx.encode_args({ ["&="] = "&=%你+/?" }))
show(ngx.encode_args({ a = { true, false, 1.5, "x" } }))
local args = {}
for pair in ngx.encode_args({ foo = 3, ["b r"] = "hello world", c = true }):gmatch("[^&]+") do
    args[#args + 1] = pair
end
table.sort(args)
show(unpack(args))
--- response_body
"b%20r=hello%20world"
"baz=32&baz=hello"
"a" "" ""
"a=" "=x" ""
"%26%3D=%26%3D%25%E4%BD%A0%2B%2F%3F"
"a&a=1.5&a=x"
"b%20r=hello%20world" "c" "foo=3"



=== TEST 2: what cannot be encoded
--- lua
fails(ngx.encode_args)
fails(ngx.encode_args, "a")
fails(ngx.encode_args, {}, 1)
fails(ngx.encode_args, { "x" })
fails(ngx.encode_args, { a = print })
fails(ngx.encode_args, { a = { {} } })
fails(ngx.encode_args, { a = ngx.null })
--- response_body
expecting 1 argument but seen 0
bad argument #1 to '?' (table expected, got string)
expecting 1 argument but seen 2
attempt to use a non-string key in the "args" option table
attempt to use function as query arg value
attempt to use table as query arg value
attempt to use userdata as query arg value



=== TEST 3: decoding
--- lua
show(ngx.decode_args("a=1&b=%20x+y&c&d=&a=2&=z&&a"))
show(ngx.decode_args(""))
show(ngx.decode_args("a=1&b=2&c=3", 2))
show(ngx.decode_args("a=1&b=2", 2))
show(ngx.decode_args(("x&"):rep(150)).x[101], #ngx.decode_args(("x&"):rep(150)).x)
show(#ngx.decode_args(("x&"):rep(150), 0).x)
show(ngx.decode_args(12))
fails(ngx.decode_args)
fails(ngx.decode_args, {})
fails(ngx.decode_args, "a", "x")
local t1 = { a = "你 &=%+", b = { "1", "2", true } }
show(ngx.decode_args(ngx.encode_args(t1)))
--- response_body
{a={1="1" 2="2" 3=true} b=" x y" c=true d=""}
{}
{a="1" b="2"} "truncated"
{a="1" b="2"}
nil 100
150
{12=true}
expecting 1 or 2 arguments but seen 0
bad argument #1 to '?' (string expected, got table)
bad argument #2 to '?' (number expected, got string)
{a="你 &=%+" b={1="1" 2="2" 3=true}}



=== TEST 4: SQL
--- lua
ngx.say(ngx.quote_sql_str("hello"), ngx.quote_sql_str(""), ngx.quote_sql_str(12))
ngx.say(ngx.quote_sql_str("a\0b\nc\rd\be\tf\26g\\h'i\"j"))
ngx.say(ngx.quote_sql_str("你好; DROP"))
fails(ngx.quote_sql_str)
fails(ngx.quote_sql_str, nil)
fails(ngx.quote_sql_str, "a", "b")
--- response_body
'hello''''12'
'a\0b\nc\rd\be\tf\Zg\\h\'i\"j'
'你好; DROP'
expecting one argument
bad argument #1 to '?' (string expected, got nil)
expecting one argument
