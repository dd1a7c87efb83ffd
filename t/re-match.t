# ngx.re.match: captures, options, ctx, res_table, errors.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: the whole match, and groups
--- lua
show(ngx.re.match("hello, 1234", "[0-9]+"))
show(ngx.re.match("hello, 1234", "([0-9])[0-9]+"))
show(ngx.re.match("hello, 1234", "([0-9])(x?)"))
show(ngx.re.match("hello", "[0-9]"))
show(select("#", ngx.re.match("hello", "[0-9]")))
show(ngx.re.match("", ""))
show(ngx.re.match("a\0b", "\\0(.)"))
--- response_body
{0="1234"}
{0="1234" 1="1"}
{0="1" 1="1" 2=""}
nil
1
{0=""}
{0="\0b" 1="b"}



=== TEST 2: groups that take no part are false
--- lua
show(ngx.re.match("hello, world", "(world)|(hello)|(?<named>howdy)"))
show(ngx.re.match("b", "(a)|(b)|(c)"))
show(ngx.re.match("ab", "a(x)?(b)(y)?"))
--- response_body
{0="hello" 1=false 2="hello" 3=false named=false}
{0="b" 1=false 2="b" 3=false}
{0="ab" 1=false 2="b" 3=false}



=== TEST 3: groups with names
--- lua
show(ngx.re.match("hello, 1234", "([0-9])(?<remaining>[0-9]+)"))
show(ngx.re.match("k=v", "(?<key>\\w)=(?P<value>\\w)", "jo"))
show(ngx.re.match("hello, world", "(?<named>\\w+), (?<named>\\w+)", "D"))
show(ngx.re.match("hello, world", "(?<a>\\w+), (?<b>\\w+)", "D"))
show(ngx.re.match("Tuesday", "(?<day>Mon)day|(?<day>Tue)sday", "D"))
show(ngx.re.match("Tuesday", "(?<day>Mon)?(?<day>Fri)?(?<other>x)?", "D"))
show(ngx.re.match("Tuesday", "(?J)(?<day>Mon)day|(?<day>Tue)sday"))
show(select(2, ngx.re.match("x", "(?<n>a)(?<n>b)")))
--- response_body
{0="1234" 1="1" 2="234" remaining="234"}
{0="k=v" 1="k" 2="v" key="k" value="v"}
{0="hello, world" 1="hello" 2="world" named={1="hello" 2="world"}}
{0="hello, world" 1="hello" 2="world" a={1="hello"} b={1="world"}}
{0="Tuesday" 1=false 2="Tue" day={1="Tue"}}
{0="" 1=false 2=false 3=false day=false other=false}
{0="Tuesday" 1=false 2="Tue" day="Tue"}
"pcre2_compile() failed: two named subpatterns have the same name (PCRE2_DUPNAMES not set) in \"(?<n>a)(?<n>b)\" at \"b)\""



=== TEST 4: options
--- lua
local match = ngx.re.match
show("i", match("HELLO", "hello", "i"))
show("ix", match("hello, world", "HEL LO # a comment", "ix"))
show("a", match("ab", "b", "a"), match("ab", "a", "a"))
show("m", match("one\ntwo", "^two$", "m"), match("one\ntwo", "^two$"))
show("s", match("a\nb", "a.b", "s"), match("a\nb", "a.b"))
show("d", match("foobar", "foo|foobar", "d"), match("foobar", "foo|foobar"))
show("d has no groups", match("foobar", "(foo)|(?<n>foobar)", "d"))
show("J", match("aab", "(a)(b)?\\2b|[]x", "J"), match("abc", "\\u0062", "J"), match("ab", "[^]b", "J"))
show("j", match("foobar", "o+(?=b)", "j"), match("foobar", "o+(?=b)", "jo"))
show("all", match("A\nb", "^ a . B $", "adDijJmosuUx"))
show("none", match("a", "a", ""), match("a", "a", nil))
--- response_body
"i" {0="HELLO"}
"ix" {0="hello"}
"a" nil {0="a"}
"m" {0="two"} nil
"s" {0="a\nb"} nil
"d" {0="foobar"} {0="foo"}
"d has no groups" {0="foobar"}
"J" {0="ab" 1="a" 2=false} {0="b"} {0="ab"}
"j" {0="oo"} {0="oo"}
"all" {0="A\nb"}
"none" {0="a"} {0="a"}



=== TEST 5: UTF-8
--- lua
local match = ngx.re.match
show(match("hello, 美好生活", "HELLO, (.{2})", "iu"))
show(match("hello, 美好生活", "HELLO, (.{2})", "iU"))
show(#match("美", ".")[0], #match("美", ".", "u")[0])
show(match("é", "^\\x{e9}$", "u"))
-- What is not UTF-8 is an error, with U it does not match.
show(match("\xff\xfe", ".", "u"))
show(match("\xff\xfea", ".", "U"))
show(match("\xe7\xbe", ".", "U"), match("\xe7\xbe", ".", "jU"), match("\xff\xfea", "\\w", "joU"))
show(match("a", "\xff", "u"))
show(match("a", "\xff", "U") == nil)
-- The search cannot begin within a character.
show(match("美a", "a", "u", { pos = 2 }))
show(match("\xff美x", "x", "dU"))
--- response_body eval
qq[{0="hello, \xe7\xbe\x8e\xe5\xa5\xbd" 1="\xe7\xbe\x8e\xe5\xa5\xbd"}
{0="hello, \xe7\xbe\x8e\xe5\xa5\xbd" 1="\xe7\xbe\x8e\xe5\xa5\xbd"}
1 3
{0="\xc3\xa9"}
nil "pcre_exec() failed: -23"
{0="a"}
nil nil {0="a"}
nil "pcre2_compile() failed: UTF-8 error: illegal byte (0xfe or 0xff) in \\"\xef\xbf\xbd\\" at \\"\xef\xbf\xbd\\""
true
nil "pcre_exec() failed: -36"
nil "pcre_exec() failed: -23"
]



=== TEST 6: ctx.pos
--- lua
local function try(subject, pattern, ctx, options)
    local m, err = ngx.re.match(subject, pattern, options or "", ctx)
    show(m, err, ctx)
end
try("1234, hello", "[0-9]+", {})
try("1234, hello", "[0-9]+", { pos = 2 })
try("1234, hello", "[0-9]+", { pos = 5 })
try("1234, hello", "x", { pos = 2, other = true })
try("1234, hello", "hello", { pos = 7 }, "a")
try("1234, hello", "hello", { pos = 6 }, "a")
try("1234, hello", "(?<=1)2", { pos = 2 })
try("1234, hello", "^2", { pos = 2 })
try("ab", "", { pos = 3 })
try("ab", "", { pos = 4 })
try("ab", "a", { pos = 0 })
try("ab", "a", { pos = -5 })
try("ab", "b", { pos = "2" })
try("ab", "", { pos = 1e300 })
try("ab", "a", { pos = 0 / 0 })
show(ngx.re.match("ab", "b", nil, { pos = 2 }, nil))
fails(ngx.re.match, "a", "a", "", { pos = "x" })
fails(ngx.re.match, "a", "a", "", 1)
--- response_body
{0="1234"} nil {pos=5}
{0="234"} nil {pos=5}
nil nil {pos=5}
nil nil {other=true pos=2}
{0="hello"} nil {pos=12}
nil nil {pos=6}
{0="2"} nil {pos=3}
nil nil {pos=2}
{0=""} nil {pos=3}
nil nil {pos=4}
{0="a"} nil {pos=2}
{0="a"} nil {pos=2}
{0="b"} nil {pos=3}
nil nil {pos=1e+300}
{0="a"} nil {pos=2}
{0="b"}
bad argument #4 to '?' (number expected for the pos field, got string)
bad argument #4 to '?' (table expected, got number)



=== TEST 7: a lexer
--- lua
local ctx, tokens = {}, {}
local text = "let x = 42"
while true do
    local m = ngx.re.match(text, [[\s*(?:(?<word>[a-z]+)|(?<number>\d+)|(?<sign>=))]], "ajo", ctx)
    if not m then
        break
    end
    tokens[#tokens + 1] = m.word or m.number or m.sign
end
show(tokens, ctx)
--- response_body
{1="let" 2="x" 3="=" 4="42"} {pos=11}



=== TEST 8: the result goes into a table that is given
--- lua
local result = { [5] = "kept", x = "kept" }
local m = ngx.re.match("hello, 1234", "([0-9])(x)?(?<n>.)", "", nil, result)
show(m == result, result)
show(ngx.re.match("hello", "x", "", nil, result), result[0])
fails(ngx.re.match, "a", "a", "", nil, "table")
--- response_body
true {0="12" 1="1" 2=false 3="2" 5="kept" n="2" x="kept"}
nil "12"
bad argument #5 to '?' (table expected, got string)



=== TEST 9: bad patterns and options
--- lua
for _, pattern in ipairs { "a(b", "a)b", "[a", "*a", "(?<n", "\\", "(?<=a+)b" } do
    show(ngx.re.match("x", pattern))
    show(ngx.re.match("x", pattern, "jo"))
end
fails(ngx.re.match, "x", "x", "iH")
fails(ngx.re.match, "x", "x", 7)
fails(ngx.re.match, "x", "x", "jo\0")
fails(ngx.re.match, "x", "x", {})
--- response_body eval
my @errors = (
    'missing closing parenthesis in \"a(b\"',
    'unmatched closing parenthesis in \"a)b\" at \")b\"',
    'missing terminating ] for character class in \"[a\"',
    'quantifier does not follow a repeatable item in \"*a\" at \"*a\"',
    'syntax error in subpattern name (missing terminator?) in \"(?<n\"',
    '\\\\ at end of pattern in \"\\\\\"',
    'lookbehind assertion is not fixed length in \"(?<=a+)b\" at \"(?<=a+)b\"',
);
CORE::join '', ( map { qq{nil "pcre2_compile() failed: $_"\n} x 2 } @errors ), <<"END";
unknown flag "H" (flags "iH")
unknown flag "7" (flags "7")
unknown flag "\0" (flags "jo\0")
bad argument #3 to '?' (string expected, got table)
END



=== TEST 10: subject and pattern become text as tostring makes it
--- lua
show(ngx.re.match(1234, 23))
show(ngx.re.match(nil, "n.l"))
show(ngx.re.match(true, "t"))
show(ngx.re.match(12LL, "L+"))
show(ngx.re.match(setmetatable({}, { __tostring = function() return "object" end }), "b"))
fails(ngx.re.match, {}, "a")
fails(ngx.re.match, "a", print)
fails(ngx.re.match, "a")
fails(ngx.re.match)
fails(ngx.re.match, setmetatable({}, { __tostring = function() error("oh") end }), "b")
--- response_body
{0="23"}
{0="nil"}
{0="t"}
{0="LL"}
{0="b"}
bad argument #1 to '?' (string expected, got table)
bad argument #2 to '?' (string expected, got function)
no error
no error
oh



=== TEST 11: hundreds of groups
--- lua
for _, n in ipairs { 1, 15, 16, 17, 300, 3, 999 } do
    local m = ngx.re.match(("x"):rep(n), ("(x)"):rep(n), "jo")
    show(n, #m, #m[0], m[n])
end
--- response_body
1 1 1 "x"
15 15 15 "x"
16 16 16 "x"
17 17 17 "x"
300 300 300 "x"
3 3 3 "x"
999 999 999 "x"



=== TEST 12: \K moves the beginning of a match
--- lua
show(ngx.re.match("foobar", "foo\\Kbar"))
show(ngx.re.gsub("foobar foobar", "foo\\Kbar", "x"))
--- response_body
{0="bar"}
"foox foox" 2



=== TEST 13: in every phase, and before there are requests
--- http_config
    init_by_lua_block { init = ngx.re.match("init 1", "\\d", "jo")[0] }
    init_worker_by_lua_block { worker = ngx.re.gsub("worker 2", "[a-z ]", "", "jo") }
--- config
    location = /t {
        rewrite_by_lua_block { ngx.ctx.rewrite = ngx.re.match("rewrite 3", "\\d", "jo")[0] }
        access_by_lua_block { ngx.ctx.access = ngx.re.find("access 4", "\\d", "jo") }
        content_by_lua_block {
            ngx.say(init, " ", worker, " ", ngx.ctx.rewrite, " ", ngx.ctx.access)
        }
    }
--- request
GET /t
--- response_body
1 2 3 8
