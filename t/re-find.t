# ngx.re.find and ngx.re.gmatch.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: where a match begins and ends
--- lua
show(ngx.re.find("hello, 1234", "([0-9]+)", "jo"))
show(ngx.re.find("hello, 1234", "hello"))
show(ngx.re.find("hello, 1234", "x"))
show(select("#", ngx.re.find("hello, 1234", "x")))
show(ngx.re.find("hello", "$"))
show(ngx.re.find("", ""))
show(ngx.re.find("美好", "好", "u"))
--- response_body
8 11
1 5
nil
1
6 5
1 0
4 6



=== TEST 2: the nth group
--- lua
local find = ngx.re.find
show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, 2))
show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, 1))
show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, 0))
show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, nil))
show(find("hello, 1234", "(x)?([0-9]+)", "jo", nil, 1))
show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, 3))
show(find("hello, 1234", "([0-9])([0-9]+)", "jo", nil, -1))
show(find("hello", "([0-9])", "jo", nil, 3))
show(find("foobar", "(foo)|(foobar)", "d", nil, 1))
fails(find, "a", "a", "", nil, "x")
--- response_body
9 11
8 8
8 11
8 11
nil nil
nil nil "nth out of bound"
nil nil "nth out of bound"
nil
nil nil "nth out of bound"
bad argument #5 to '?' (number expected, got string)



=== TEST 3: ctx.pos
--- lua
local ctx = { pos = 3 }
show(ngx.re.find("ab ab ab", "ab", "jo", ctx), ctx)
show(ngx.re.find("ab ab ab", "ab", "jo", ctx), ctx)
show(ngx.re.find("ab ab ab", "ab", "jo", ctx), ctx)
ctx = {}
show(ngx.re.find("xay", "x(a)", "jo", ctx, 1), ctx)
--- response_body
4 {pos=6}
7 {pos=9}
nil {pos=9}
2 {pos=3}



=== TEST 4: errors
--- lua
show(ngx.re.find("x", "a(b"))
show(ngx.re.find("\xff", ".", "u"))
fails(ngx.re.find, "x", "x", "?")
--- response_body
nil nil "pcre2_compile() failed: missing closing parenthesis in \"a(b\""
nil nil "pcre_exec() failed: -23"
unknown flag "?" (flags "?")



=== TEST 5: all matches
--- lua
for m in ngx.re.gmatch("hello, World!", "([a-z])(?<rest>[a-z]*)", "i") do
    show(m)
end
local it = ngx.re.gmatch("a1b2", "[0-9]", "jo")
show(it()) show(it()) show(it()) show(it())
for m in ngx.re.gmatch("nothing", "[0-9]") do
    show(m)
end
--- response_body
{0="hello" 1="h" 2="ello" rest="ello"}
{0="World" 1="W" 2="orld" rest="orld"}
{0="1"}
{0="2"}
nil
nil



=== TEST 6: empty matches move on by a character
--- lua
local function all(...)
    local found = {}
    for m in ngx.re.gmatch(...) do
        found[#found + 1] = m[0]
    end
    ngx.say(#found, " ", table.concat(found, "|"))
end
all("abc", "")
all("baac", "a*")
all("", "")
all("", "a*")
all("美好", "")
all("美好", "", "u")
all("美好", "", "U")
all("a\xff\xfeb", "", "U")
all("a\nb", "$", "m")
all("abc", "(?=b)|c")
--- response_body
4 |||
4 |aa||
1 
1 
7 ||||||
3 ||
3 ||
5 ||||
2 |
2 |c



=== TEST 7: errors of gmatch come at once or with the search
--- lua
show(ngx.re.gmatch("x", "a(b"))
local it = ngx.re.gmatch("a\xff", ".", "u")
show(it())
show(it())
fails(ngx.re.gmatch, "x", "x", "?")
--- response_body
nil "pcre2_compile() failed: missing closing parenthesis in \"a(b\""
nil "pcre_exec() failed: -23"
nil
unknown flag "?" (flags "?")



=== TEST 8: anchored, every match begins where the one before ended
--- lua
for m in ngx.re.gmatch("112a3", "[0-9]", "ajo") do
    show(m)
end
--- response_body
{0="1"}
{0="1"}
{0="2"}



=== TEST 9: iterators are independent of each other, and of what waits
--- lua
local a = ngx.re.gmatch("abc", "[a-z]", "jo")
local b = ngx.re.gmatch("xyz", "[a-z]", "jo")
for _ = 1, 3 do
    local m = a()
    ngx.sleep(0.001)
    collectgarbage()
    show(m[0], b()[0])
end
show(a(), b())
--- response_body
"a" "x"
"b" "y"
"c" "z"
nil nil
