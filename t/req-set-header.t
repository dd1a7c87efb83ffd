# ngx.req.set_header, ngx.req.clear_header.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: set, replace, clear
--- lua
local function all()
    local h = ngx.req.get_headers()
    h.host, h.connection = nil, nil
    show(h)
end
all()
ngx.req.set_header("Foo", "1") all()
ngx.req.set_header("foo", "2") all()
ngx.req.set_header("FOO", { "a", "abc" }) all()
ngx.req.set_header("Bar", 7) all()
ngx.req.set_header("X_y", true) all()
ngx.req.set_header("Foo", nil) all()
ngx.req.clear_header("bar") all()
ngx.req.clear_header("none") all()
ngx.req.set_header("X_y", "") all()
ngx.req.set_header("Foo", { "x" }) ngx.req.set_header("Foo", {}) all()
--- more_headers
Foo: client
Foo: client 2
--- response_body
{foo={1="client" 2="client 2"}}
{foo="1"}
{foo="2"}
{foo={1="a" 2="abc"}}
{bar="7" foo={1="a" 2="abc"}}
{bar="7" foo={1="a" 2="abc"} x_y="true"}
{bar="7" x_y="true"}
{x_y="true"}
{x_y="true"}
{}
{}



=== TEST 2: variables and names as they are sent
--- lua
ngx.req.set_header("X-Foo", "v")
ngx.req.set_header("User-Agent", "Mozilla/4.0 (compatible; MSIE 6.0)")
show(ngx.var.http_x_foo, ngx.var.http_user_agent)
show(ngx.req.get_headers(0, true)["X-Foo"])
ngx.req.set_header("User-Agent", { "a", "b" })
show(ngx.var.http_user_agent, ngx.req.get_headers().user_agent)
ngx.req.clear_header("User-Agent")
show(ngx.var.http_user_agent)
ngx.req.set_header("Cookie", { "a=1", "b=2" })
show(ngx.var.cookie_a, ngx.var.cookie_b, ngx.var.http_cookie)
ngx.req.set_header("Cookie", "c=3")
show(ngx.var.cookie_a, ngx.var.cookie_c, ngx.var.http_cookie)
ngx.req.clear_header("Cookie")
show(ngx.var.cookie_c, ngx.var.http_cookie)
ngx.req.set_header("X-Forwarded-For", { "1.1.1.1", "2.2.2.2" })
show(ngx.var.http_x_forwarded_for)
ngx.req.set_header("Accept", { "a/b", "c/d" })
ngx.req.set_header("Authorization", { "a", "b", "" })
show(ngx.req.get_headers().accept, ngx.req.get_headers().authorization)
--- more_headers
User-Agent: test
Cookie: c=0
--- response_body
"v" "Mozilla/4.0 (compatible; MSIE 6.0)"
"v"
"b" "b"
nil
"1" "2" "a=1; b=2"
nil "3" "c=3"
nil nil
"1.1.1.1, 2.2.2.2"
{1="a/b" 2="c/d"} "b"



=== TEST 3: Host
--- lua
local function host(value)
    ngx.req.set_header("Host", value)
    show(ngx.var.http_host, ngx.var.host, ngx.req.get_headers().host)
end
host("Example.COM:8080")
host("[::1]:80")
host("bad host/")
host({ "first", "second" })
ngx.req.clear_header("Host")
show(ngx.var.http_host, ngx.req.get_headers().host, ngx.var.host == ngx.var.server_name)
--- response_body
"Example.COM:8080" "example.com" "Example.COM:8080"
"[::1]:80" "[::1]" "[::1]:80"
"bad host/" "[::1]" "bad host/"
"second" "second" "second"
nil nil true



=== TEST 4: Content-Length and Content-Type
--- lua
ngx.req.set_header("Content-Length", "12")
show(ngx.var.content_length)
ngx.req.clear_header("Content-Length")
show(ngx.var.content_length)
ngx.req.set_header("Content-Type", "text/css")
show(ngx.var.content_type)
fails(ngx.req.set_header, "Content-Length", "x")
fails(ngx.req.set_header, "Content-Length", -1)
show(ngx.var.http_content_length)
--- response_body
"12"
nil
"text/css"
invalid value of the request header Content-Length
invalid value of the request header Content-Length
nil



=== TEST 5: what goes to another server
--- config
    location = /t {
        rewrite_by_lua_block {
            ngx.req.set_header("X-Set", { "1", "2" })
            ngx.req.set_header("X-Line", "a\r\nInjected: b")
            ngx.req.set_header("X\r\nName: x", "dropped by nginx")
            ngx.req.clear_header("X-Client")
            ngx.req.set_header("Accept", "changed")
        }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back;
    }
    location = /back {
        content_by_lua_block {
            local h = ngx.req.get_headers(0, true)
            h.Host, h.Connection = nil, nil
            local lines = {}
            for k, v in pairs(h) do
                lines[#lines + 1] = k .. ": " .. (type(v) == "table" and table.concat(v, "|") or v)
            end
            table.sort(lines)
            ngx.say(table.concat(lines, "\n"))
        }
    }
--- request
GET /t
--- more_headers
X-Client: secret
X-Kept: kept
Accept: */*
--- response_body
Accept: changed
X-Kept: kept
X-Line: a%0D%0AInjected: b
X-Set: 1|2
--- no_error_log
[error]



=== TEST 6: hundreds of headers, set again and again
--- lua
for round = 1, 3 do
    for i = 1, 200 do
        ngx.req.set_header("X-" .. i, i * round)
    end
end
local h = ngx.req.get_headers(0)
show(h["x-1"], h["x-100"], h["x-200"])
for i = 1, 200 do
    ngx.req.clear_header("X-" .. i)
end
h = ngx.req.get_headers(0)
h.host, h.connection = nil, nil
show(h)
--- response_body
"3" "300" "600"
{}



=== TEST 7: Connection decides whether the connection is kept
--- config
    location = /t {
        rewrite_by_lua_block { ngx.req.set_header("Connection", "close") }
        content_by_lua_block { ngx.say(ngx.var.http_connection) }
    }
--- request
GET /t
--- response_body
close



=== TEST 8: bad arguments
--- lua
fails(ngx.req.set_header)
fails(ngx.req.set_header, "a")
fails(ngx.req.set_header, "a", print)
fails(ngx.req.set_header, "a", { {} })
fails(ngx.req.set_header, nil, "a")
fails(ngx.req.clear_header)
fails(ngx.req.clear_header, "a", "b")
fails(ngx.req.clear_header, {})
--- response_body
expecting two arguments, but got 0
expecting two arguments, but got 1
bad argument #2 to '?' (string, number, boolean, table or nil expected, got function)
bad argument #2 to '?' (array of strings expected, got table)
bad argument #1 to '?' (string expected, got nil)
expecting one argument, but got 0
expecting one argument, but got 2
bad argument #1 to '?' (string expected, got table)



=== TEST 9: a subrequest's header is its own
--- config
    location = /t {
        auth_request /sub;
        content_by_lua_block { ngx.say("main ", ngx.req.get_headers().foo, " ", ngx.var.http_foo) }
    }
    location = /sub {
        content_by_lua_block {
            ngx.req.set_header("Foo", "sub")
            ngx.req.set_header("Bar", "sub")
            ngx.log(ngx.WARN, "subrequest: ", ngx.req.get_headers().foo)
        }
    }
--- request
GET /t
--- more_headers
Foo: main
--- response_body
main main main
--- error_log
subrequest: sub
