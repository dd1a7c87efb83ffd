# Names of headers and variables that come again and again: what was found out
# about them is used again, and must not be used for others
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * (blocks() * 2 + 6 + 32);

no_long_string();
run_tests();

__DATA__

=== TEST 1: the same name where underscores mean hyphens and where they do not
--- config
    location /on {
        content_by_lua_block {
            ngx.header.x_one_two = "on"
            ngx.say(ngx.header["x-one-two"], " ", ngx.header.x_one_two, " ", ngx.header.X_One_Two)
        }
    }
    location /off {
        lua_transform_underscores_in_response_headers off;
        content_by_lua_block {
            ngx.header.x_one_two = "off"
            ngx.say(ngx.header["x-one-two"], " ", ngx.header.x_one_two, " ", ngx.header.X_One_Two)
        }
    }
--- request eval
[("GET /on", "GET /off") x 2]
--- response_body eval
[("on on on\n", "nil off off\n") x 2]



=== TEST 2: many names, more than are remembered, short and long
--- config
    location /t {
        content_by_lua_block {
            local headers = ngx.req.get_headers()
            local bad = 0
            for round = 1, 2 do
                for i = 1, 1000 do
                    local name = "x-" .. i .. string.rep("y", i % 100)
                    ngx.req.set_header(name, i)
                    ngx.header[name] = i
                    local upper = name:upper():gsub("-", "_")
                    if headers[upper] or ngx.req.get_headers()[upper] ~= tostring(i)
                        or ngx.header[upper] ~= tostring(i)
                        or ngx.var["http_" .. name:gsub("-", "_")] ~= tostring(i)
                        or ngx.var["HTTP_" .. upper] ~= tostring(i)
                        or ngx.var["none_" .. name] or ngx.var["arg_" .. name]
                    then
                        bad = bad + 1
                    end
                    ngx.req.clear_header((upper:gsub("_", "-")))
                    ngx.header[upper] = nil
                    if ngx.req.get_headers()[name] or ngx.header[name] then
                        bad = bad + 1
                    end
                end
            end
            ngx.say("bad: ", bad)
        }
    }
--- request
GET /t
--- response_body
bad: 0



=== TEST 3: keys of a table of headers that are no strings, and of one that is none
--- config
    location /t {
        content_by_lua_block {
            local headers = ngx.req.get_headers()
            ngx.say(headers[1], " ", headers[true], " ", headers[{}], " ", headers[nil], " ",
                headers[0 / 0], " ", headers[""])
            headers.X_New = "as any table"
            ngx.say(headers.X_New, " ", headers["x-new"])
            local index = getmetatable(headers).__index
            ngx.say(type(index), " ", index({ ["a-b"] = 1 }, "A_B"))
        }
    }
--- request
GET /t
--- response_body
nil nil nil nil nil nil
as any table nil
function 1



=== TEST 4: arguments as variables: what nginx finds, with names in any case
--- config
    location /t {
        set $nginx "[$arg_a][$arg_aa][$arg_b][$arg_c][$arg_x]";
        content_by_lua_block {
            local function all(...)
                local found = ""
                for _, name in ipairs { ... } do
                    found = found .. "[" .. (ngx.var[name] or "") .. "]"
                end
                return found
            end
            local lower = all("arg_a", "arg_aa", "arg_b", "arg_c", "arg_x")
            local upper = all("ARG_A", "Arg_AA", "arg_B", "arG_c", "ARG_x")
            local same = lower == ngx.var.nginx and upper == lower
            ngx.say(same and "same" or lower .. upper .. ngx.var.nginx)
        }
    }
--- request eval
[map { "GET /t?$_" } "", "a", "a=", "a=1", "b=2&a=1", "ba=2&a=1", "a&a=1", "a=1&a=2", "A=1",
    "a=1=2", "=a&a=%20", "&&a=1&&", "aa=1", "x=a=1", "ab=1&a=3&", "a&", "b=a&c"]
--- response_body eval
[("same\n") x 17]



=== TEST 5: names of arguments that hold what separates arguments
--- config
    location /t {
        content_by_lua_block {
            local v = ngx.var
            ngx.say(v["arg_a&b"], " ", v["arg_b=c"], " ", v["arg_b"], " ", v["arg_"], " ", v["arg_&"])
        }
    }
--- request
GET /t?a&b=c=d&=e
--- response_body
nil d c=d nil nil



=== TEST 6: headers as variables: none, one, several lines, and after changes
--- config
    location /t {
        set $own "";
        content_by_lua_block {
            local function show()
                local v = ngx.var
                ngx.say(v.http_x_one, " ", v.HTTP_X_ONE, " ", v.http_x_none, " ", v.http_x_empty, " ",
                    v.http_x_o, " ", v.http_, " ", (v.http_x_two:gsub(", 3", "")))
            end
            show()
            ngx.req.set_header("X-One", "changed")
            ngx.req.set_header("X-None", "now")
            show()
            ngx.req.clear_header("x-one")
            show()
        }
    }
--- request
GET /t
--- more_headers
X-One: 1
X-Two: 2
X-Two: 3
--- response_body
1 1 nil nil nil nil 2
changed changed now nil nil nil 2
nil nil now nil nil nil 2



=== TEST 7: variables of the same names in other servers are the same, of other spellings too
--- config
    location /t {
        set $foo one;
        content_by_lua_block {
            local seen = {}
            for _ = 1, 2 do
                for _, name in ipairs { "foo", "FOO", "Foo", "fooo", "fo", "foo\0" } do
                    seen[#seen + 1] = tostring(ngx.var[name])
                end
            end
            ngx.say(table.concat(seen, " "))
            ngx.var.FOO = "two"
            ngx.say(ngx.var.foo, " ", pcall(function() ngx.var.fooo = 1 end))
        }
    }
--- request
GET /t
--- response_body_like
^one one one nil nil nil one one one nil nil nil
two falsecontent_by_lua\(nginx\.conf:\d+\):10: variable "fooo" not found for writing



=== TEST 8: more arguments than are looked at in one go
--- config
    location /t {
        content_by_lua_block {
            for count = 0, 12 do
                local args = {}
                for i = 1, count do
                    args[i] = i % 3 == 0 and true or i
                end
                ngx.say(unpack(args, 1, count))
            end
            ngx.say(1, nil, { 2, { "three" } }, ngx.null, false)
            ngx.say(pcall(ngx.say, "not sent", print))
        }
    }
--- request
GET /t
--- response_body eval
"\n" . <<'END'
1
12
12true
12true4
12true45
12true45true
12true45true7
12true45true78
12true45true78true
12true45true78true10
12true45true78true1011
12true45true78true1011true
1nil2threenullfalse
falsebad argument #2 to '?' (string, number, boolean, nil, ngx.null, or array table expected, but got function)
END
