# ngx.status, ngx.headers_sent and the fields that Lua code adds to ngx.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * (blocks() * 2 + 12);

no_long_string();
run_tests();

__DATA__

=== TEST 1: nobody has set the status
--- config
    location /t {
        content_by_lua_block {
            local before = ngx.status
            ngx.say(before)
            ngx.say(ngx.status)
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{\AHTTP/1\.1 200 OK\r\n}
--- response_body
0
200



=== TEST 2: the status is set and read, a number or a string that reads as one
--- config
    location /t {
        content_by_lua_block {
            ngx.status = 201
            local first = ngx.status
            ngx.status = "404"
            ngx.say(first, " ", ngx.status, " ", type(ngx.status))
        }
    }
--- request
GET /t
--- error_code: 404
--- raw_response_headers_like eval
qr{\AHTTP/1\.1 404 Not Found\r\n}
--- response_body
201 404 number



=== TEST 3: statuses that nginx has no text for
--- config
    location /t {
        content_by_lua_block {
            ngx.status = 599
            ngx.say("ok")
        }
    }
--- request
GET /t
--- error_code: 599
--- raw_response_headers_like eval
qr{\AHTTP/1\.1 599 ?\r\n}
--- response_body
ok



=== TEST 4: 101 has its text
--- config
    location /t {
        content_by_lua_block {
            ngx.status = 101
            ngx.header.upgrade = "websocket"
            ngx.send_headers()
        }
    }
--- request
GET /t
--- error_code: 101
--- raw_response_headers_like eval
qr{\AHTTP/1\.1 101 Switching Protocols\r\n.*\r\nConnection: upgrade\r\nupgrade: websocket\r\n\z}s
--- ignore_response_body



=== TEST 5: too late: the response has begun
--- config
    location /t {
        content_by_lua_block {
            ngx.say("begun")
            ngx.status = 404
            ngx.say(ngx.status)
        }
    }
--- request
GET /t
--- response_body
begun
200
--- error_log eval
[qr{\[error\] .*? attempt to set ngx\.status after sending out response headers}]



=== TEST 6: ngx.headers_sent
--- config
    location /t {
        content_by_lua_block {
            local before = ngx.headers_sent
            ngx.header.foo = "bar"
            local set = ngx.headers_sent
            ngx.say(before, " ", set, " ", ngx.headers_sent)
            ngx.flush(true)
            ngx.say(ngx.headers_sent)
        }
    }
    location /sent {
        content_by_lua_block {
            ngx.send_headers()
            ngx.say(ngx.headers_sent)
        }
    }
--- request eval
["GET /t", "GET /sent"]
--- response_body eval
["false false false\ntrue\n", "true\n"]



=== TEST 7: a value of a wrong type
--- config
    location /t {
        content_by_lua_block {
            local errors = {}
            for i, value in ipairs{ "abc", {}, true } do
                errors[i] = select(2, pcall(function() ngx.status = value end)) .. "\n"
            end
            errors[4] = select(2, pcall(function() ngx.status = nil end))
            ngx.say(errors)
        }
    }
--- request
GET /t
--- response_body
content_by_lua(nginx.conf:40):4: bad argument #3 to '__newindex' (number expected, got string)
content_by_lua(nginx.conf:40):4: bad argument #3 to '__newindex' (number expected, got table)
content_by_lua(nginx.conf:40):4: bad argument #3 to '__newindex' (number expected, got boolean)
content_by_lua(nginx.conf:40):6: bad argument #3 to '__newindex' (number expected, got nil)



=== TEST 8: other fields are those of a plain table
--- config
    location /t {
        content_by_lua_block {
            local none = ngx.foo
            ngx.foo = { "a" }
            ngx[1] = "one"
            ngx[true] = "true"
            local said = { tostring(none), ngx.foo, ngx[1], ngx[true], rawget(ngx, "foo") }
            ngx.foo, ngx[1], ngx[true] = nil
            said[6] = tostring(ngx.foo)
            ngx.say(said)
        }
    }
--- request
GET /t
--- response_body
nilaonetrueanil



=== TEST 9: keys that no table takes
--- config
    location /t {
        content_by_lua_block {
            local _, none = pcall(function() ngx[nil] = 1 end)
            local _, nan = pcall(function() ngx[0/0] = 1 end)
            ngx.say(none, "\n", nan, "\n", ngx[nil])
        }
    }
--- request
GET /t
--- response_body
content_by_lua(nginx.conf:40):2: table index is nil
content_by_lua(nginx.conf:40):3: table index is NaN
nil



=== TEST 10: an assignment hides ngx.headers_sent, and nil shows it again
--- config
    location /t {
        content_by_lua_block {
            ngx.headers_sent = "mine"
            local mine = ngx.headers_sent
            ngx.headers_sent = nil
            ngx.say(mine, " ", ngx.headers_sent)
        }
    }
--- request
GET /t
--- response_body
mine false



=== TEST 11: an error page answers with the status of the error
--- config
    location /t {
        error_page 503 /sorry;
        access_by_lua_block { ngx.exit(503) }
    }
    location = /sorry {
        content_by_lua_block {
            ngx.say("sorry: ", ngx.status)
        }
    }
    location /u {
        error_page 503 /never-mind;
        access_by_lua_block { ngx.exit(503) }
    }
    location = /never-mind {
        content_by_lua_block {
            local before = ngx.status
            ngx.status = 202
            ngx.say(before, " ", ngx.status)
        }
    }
--- request eval
["GET /t", "GET /u"]
--- error_code eval
[503, 202]
--- response_body eval
["sorry: 503\n", "503 202\n"]



=== TEST 12: HEAD and HTTP/1.0
--- config
    location /t {
        content_by_lua_block {
            ngx.status = 410
            ngx.say("gone")
        }
    }
--- request eval
["HEAD /t", "GET /t HTTP/1.0"]
--- error_code eval
[410, 410]
--- response_body eval
["", "gone\n"]



=== TEST 13: a subrequest has a status of its own
--- config
    location /t {
        ssi on;
        default_type text/html;
        content_by_lua_block {
            ngx.status = 202
            ngx.say('<!--#include virtual="/sub" -->')
        }
    }
    location /sub {
        content_by_lua_block {
            local before = ngx.status
            ngx.status = 201
            ngx.print(before, " ", ngx.status)
        }
    }
--- request
GET /t
--- error_code: 202
--- response_body
0 201



=== TEST 14: no body with 204 and 304
--- config
    location /t {
        content_by_lua_block {
            ngx.status = tonumber(ngx.var.arg_status)
            ngx.say("dropped")
        }
    }
--- request eval
["GET /t?status=204", "GET /t?status=304"]
--- error_code eval
[204, 304]
--- response_body eval
["", ""]



=== TEST 15: no request
--- http_config
    init_by_lua_block {
        in_init = {
            select(2, pcall(function() return ngx.status end)), "\n",
            select(2, pcall(function() ngx.status = 200 end)), "\n",
            select(2, pcall(function() return ngx.headers_sent end)), "\n",
        }
    }
--- config
    location /t { content_by_lua_block { ngx.print(in_init) } }
--- request
GET /t
--- response_body_like eval
qr{\Ainit_by_lua\S+:3: no request found\ninit_by_lua\S+:4: no request found\ninit_by_lua\S+:5: no request found\n\z}



=== TEST 16: what cannot be written in a status line
--- config
    location /t {
        content_by_lua_block {
            local said = {}
            for _, status in ipairs { -1, 1000, 1e300, 0 / 0, -1 / 0, "1000" } do
                local ok, err = pcall(function() ngx.status = status end)
                said[#said + 1] = err:match(": (.*)") .. "\n"
            end
            said[#said + 1] = ngx.status
            ngx.status = 999
            ngx.say(said)
        }
    }
--- request
GET /t
--- error_code: 999
--- response_body
bad argument #3 to '__newindex' (invalid status -1)
bad argument #3 to '__newindex' (invalid status 1000)
bad argument #3 to '__newindex' (invalid status 1e+300)
bad argument #3 to '__newindex' (invalid status nan)
bad argument #3 to '__newindex' (invalid status -inf)
bad argument #3 to '__newindex' (invalid status 1000)
0



=== TEST 17: after a status below 200 the connection ends, for the client waits for another
--- config
    location /status {
        content_by_lua_block {
            ngx.status = tonumber(ngx.var.arg_status)
            ngx.print("x")
        }
    }
    location /exit { access_by_lua_block { ngx.exit(ngx.var.arg_status) } }
    location /t {
        content_by_lua_block {
            for _, uri in ipairs { "/status?status=1", "/status?status=100", "/status?status=101", "/exit?status=199" } do
                local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
                sock:settimeout(3000)
                sock:send("GET " .. uri .. " HTTP/1.1\r\nHost: a\r\n\r\n")
                local response, err = sock:receive("*a")
                ngx.say(response and response:match("HTTP/1.1 %d+") or err, " ", response and #response:match("\r\n\r\n(.*)"))
            end
        }
    }
--- request
GET /t
--- response_body
HTTP/1.1 001 1
HTTP/1.1 100 1
HTTP/1.1 101 1
HTTP/1.1 199 0
