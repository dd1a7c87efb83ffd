# ngx.re.sub and ngx.re.gsub.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: templates
--- lua
local sub = ngx.re.sub
show(sub("hello, 1234", "([0-9])[0-9]", "[$0][$1]"))
show(sub("hello, 1234", "[0-9]", "${0}00"))
show(sub("hello, 1234", "[0-9]", "$$"))
show(sub("hello, 1234", "[0-9]", "$$1$$$0"))
show(sub("hello, 1234", "([0-9])(x)?", "<$2|$3|$12|${99}>"))
show(sub("hello", "[0-9]", "x"))
show(sub("hello", "l", ""))
show(sub("a\0b", "\\0", "[$0]"))
show(sub("hello", "l", 7))
show(sub("hello", "l", nil))
show(sub("aba", "(?<name>b)", "[$1]", "jo"))
--- response_body
"hello, [12][1]34" 1
"hello, 100234" 1
"hello, $234" 1
"hello, $1$1234" 1
"hello, <|||>234" 1
"hello" 0
"helo" 1
"a[\0]b" 1
"he7lo" 1
"henillo" 1
"a[b]a" 1



=== TEST 2: bad templates
--- lua
for _, template in ipairs { "$", "a$-", "$name", "${1", "${name}", "$1${}", "a${" } do
    show(ngx.re.sub("a", "a", template))
end
show(ngx.re.gsub("b", "a", "$"))
--- response_body
nil nil "failed to compile the replacement template"
nil nil "failed to compile the replacement template"
nil nil "failed to compile the replacement template"
nil nil "failed to compile the replacement template"
nil nil "failed to compile the replacement template"
nil nil "failed to compile the replacement template"
nil nil "failed to compile the replacement template"
nil nil "failed to compile the replacement template"
--- grep_error_log eval: qr/(?:lua script|attempt|the closing)[^,]*/
--- grep_error_log_out
lua script: invalid capturing variable name found in "$"
lua script: invalid capturing variable name found in "a$-"
attempt to use named capturing variable "name" (named captures not supported yet)
the closing bracket in "1" variable is missing
attempt to use named capturing variable "name" (named captures not supported yet)
lua script: invalid capturing variable name found in "$1${}"
lua script: invalid capturing variable name found in "a${"
lua script: invalid capturing variable name found in "$"



=== TEST 3: functions
--- lua
local function brackets(m)
    return "[" .. m[0] .. "][" .. m[1] .. "]"
end
show(ngx.re.sub("hello, 1234", "( [0-9] ) [0-9]", brackets, "x"))
show(ngx.re.gsub("hello, 1234", "([0-9])[0-9]", brackets, "jo"))
show(ngx.re.gsub("hello", "l", function() return "$0$$" end))
show(ngx.re.gsub("hello", "(?<x>l)(y)?", function(m) return #m .. m.x .. tostring(m[2]) end))
show(ngx.re.gsub("hello", "l", function() return 7 end))
show(ngx.re.gsub("hello", "x", error))
show(ngx.re.gsub("hello", "l", function(...) return select("#", ...) end))
--- response_body
"hello, [12][1]34" 1
"hello, [12][1][34][3]" 2
"he$0$$$0$$o" 2
"he2lfalse2lfalseo" 2
"he77o" 2
"hello" 0
"he11o" 2



=== TEST 4: functions that search themselves
--- lua
show(ngx.re.gsub("a1b2", "[a-z](\\d)", function(m)
    local inner = ngx.re.gsub(m[0], "(\\d)", function(n)
        return ngx.re.match("<" .. n[1] .. ">", "<\\d>", "jo")[0]
    end, "jo")
    return inner .. m[1]
end, "jo"))
--- response_body
"a<1>1b<2>2" 2



=== TEST 5: functions that fail, or return no text
--- lua
fails(ngx.re.gsub, "hello", "l", function() error("oh no") end)
fails(ngx.re.gsub, "hello", "l", function() error({}, 0) end)
show(ngx.re.gsub("hello", "l", function() return nil end))
show(ngx.re.gsub("hello", "(x)?l", function(m) return m[1] end))
show(ngx.re.sub("hello", "l", function() end))
show(ngx.re.sub("hello", "l", function() return setmetatable({}, { __tostring = function() return "t" end }), 2 end))
fails(ngx.re.sub, "hello", "l", {})
fails(ngx.re.gsub, {}, "l", print)
show(ngx.re.gsub("hello", "(", print))
show(ngx.re.sub("hello", "l", "L"))
--- response_body_like eval
qr/^oh no
table: 0x\w+
"heniln[i]lo" 2
"hefalsefalseo" 2
"henillo" 1
"hetlo" 1
bad argument #3 to '\?' \(string expected, got table\)
bad argument #1 to '\?' \(string expected, got table\)
nil nil "pcre2_compile\(\) failed: missing closing parenthesis in \\"\(\\""
"heLlo" 1
$/



=== TEST 6: functions may wait
--- lua
show(ngx.re.sub("hello", "l", function() ngx.sleep(0.001) return "x" end))
local co = coroutine.wrap(function()
    return "done", ngx.re.gsub("a1b2", "\\d", function(m)
        ngx.sleep(0.001)
        return coroutine.yield(m[0])
    end)
end)
show(co(), co("one"), co("two"))
show(ngx.re.gsub("ab", "a|b", function(m)
    return ngx.re.gsub(m[0], ".", function() ngx.sleep(0.001) return "<$0>" end) .. m[0]
end))
ngx.re.sub("hello", "l", function() return ngx.exit(200) end)
show("not reached")
--- response_body
"hexlo" 1
"1" "2" "done" "aonebtwo" 2
"<$0>a<$0>b" 2



=== TEST 7: all matches
--- lua
local gsub = ngx.re.gsub
show(gsub("hello, world", "([a-z])[a-z]+", "[$0,$1]", "i"))
show(gsub("hello, world", "x", "y"))
show(gsub("", "x", "y"))
show(gsub("aaa", "a", "bb"))
show(gsub("aaa", "a", ""))
show(gsub("112a3", "[0-9]", "<$0>", "a"))
show(gsub("one\ntwo", "^", "> ", "m"))
show(gsub("one two", "\\b", "|"))
--- response_body
"[hello,h], [world,w]" 2
"hello, world" 0
"" 0
"bbbbbb" 3
"" 3
"<1><1><2>a3" 3
"> one\n> two" 2
"|one| |two|" 4



=== TEST 8: empty matches move on by a character
--- lua
local gsub = ngx.re.gsub
for _, by in ipairs { "-", function() return "-" end } do
    show(gsub("hello", "", by))
    show(gsub("baac", "a*", by))
    show(gsub("", "", by))
    show(gsub("abc", "$", by))
    show(gsub("美好", "", by, "u"))
    show(gsub("a\xffb", "", by, "U") == "-a-\xff-b-")
    show(ngx.re.sub("hello", "", by))
end
--- response_body eval
qq["-h-e-l-l-o-" 6
"-b--c-" 4
"-" 1
"abc-" 1
"-\xe7\xbe\x8e-\xe5\xa5\xbd-" 3
true
"-hello" 1
] x 2



=== TEST 9: UTF-8 is checked once, in long texts too
--- lua
local text = ("美好"):rep(50000)
local seconds = t.timed(function()
    local replaced, n = ngx.re.gsub(text, "好", "!", "jou")
    show(#replaced, n)
end)
show(seconds < 2)
show(ngx.re.gsub("好\xff", "好", "x", "u"))
show(ngx.re.gsub("好\xff", "好", function() return "x" end, "u"))
show(ngx.re.gsub("好", "\\C", "x", "u"))
--- response_body
200000 50000
true
nil nil "pcre_exec() failed: -23"
nil nil "pcre_exec() failed: -23"
nil nil "pcre_exec() failed: -36"



=== TEST 10: errors
--- lua
show(ngx.re.sub("x", "a(b", "x"))
show(ngx.re.gsub("x", "a(b", print))
fails(ngx.re.sub, "x", "x", "x", "?")
--- response_body
nil nil "pcre2_compile() failed: missing closing parenthesis in \"a(b\""
nil nil "pcre2_compile() failed: missing closing parenthesis in \"a(b\""
unknown flag "?" (flags "?")

