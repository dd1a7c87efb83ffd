# ngx.resp.get_headers, the module ngx.resp; require "resty.core".
use Test::Nginx::Socket::Lua 'no_plan';
no_long_string();
run_tests();

__DATA__

=== TEST 1: the whole header, before it is sent and after
--- config
    location = /t {
        default_type text/plain;
        content_by_lua_block {
            local function say(headers, err)
                local list = {}
                for name, value in pairs(headers) do
                    list[#list + 1] = name .. "=" .. (type(value) == "table" and table.concat(value, ",") or value)
                end
                table.sort(list)
                ngx.say(table.concat(list, " "), " ", err)
            end
            ngx.header["X-One"] = 1
            ngx.header.X_two = { "a", "b" }
            ngx.header.gone = "x"
            ngx.header.gone = nil
            local before = ngx.resp.get_headers()
            ngx.say(before.x_one, " ", before["X-TWO"][2], " ", before["content-type"])
            ngx.flush()
            say(ngx.resp.get_headers())
            say(ngx.resp.get_headers(0, true))
            say(ngx.resp.get_headers(2))
            ngx.say(select(2, pcall(ngx.resp.get_headers, "x")))
        }
    }
--- request
GET /t
--- response_body
1 b nil
connection=close content-type=text/plain transfer-encoding=chunked x-one=1 x-two=a,b nil
X-One=1 X-two=a,b connection=close content-type=text/plain transfer-encoding=chunked nil
connection=close content-type=text/plain truncated
bad argument #1 to '?' (number expected, got string)



=== TEST 2: in the header filter, of a response that another server made
--- config
    location = /back {
        return 200 "body";
    }
    location = /t {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/back;
        header_filter_by_lua_block {
            local headers = ngx.resp.get_headers()
            ngx.header.seen = headers["content-length"] .. " " .. headers.content_type
        }
    }
--- request
GET /t
--- response_headers
seen: 4 text/plain
--- response_body: body



=== TEST 3: one more line of a header
--- config
    location = /t {
        content_by_lua_block {
            local resp = require "ngx.resp"
            ngx.header.X_a = 1
            resp.add_header("X_a", 2)
            resp.add_header("X-A", { "3", 4 })
            resp.add_header("Set-Cookie", "a=1")
            resp.add_header("Set-Cookie", "b=2\r\nX: y")
            ngx.say(table.concat(ngx.header["X-A"], " "), " ", table.concat(ngx.header.set_cookie, " "))
            for _, value in ipairs { {}, print, { print } } do
                ngx.say(select(2, pcall(resp.add_header, "X", value)))
            end
            ngx.say(select(2, pcall(resp.add_header, "X")))
            ngx.say(select(2, pcall(resp.add_header)))
            resp.add_header("Late", 1)
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr/X-a: 1\r\nX-a: 2\r\nX-A: 3\r\nX-A: 4\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2%0D%0AX: y\r\n/
--- raw_response_headers_unlike: Late
--- response_body
1 2 3 4 a=1 b=2%0D%0AX: y
invalid header value
invalid header value
invalid header value
invalid header value
invalid header name
--- error_log
attempt to set ngx.header.HEADER after sending out response headers



=== TEST 4: resty.core is there, so that code can require it; what it adds, the module has
--- http_config
    init_by_lua_block { core = require "resty.core" }
--- config
    location = /t { content_by_lua_block { ngx.say(type(core.version)) } }
--- request
GET /t
--- response_body
string
--- no_error_log
[error]
