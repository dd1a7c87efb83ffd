# ngx.req.read_body, ngx.req.get_body_data, lua_need_request_body.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 89;
no_long_string();
workers(1);

our $echo = 'content_by_lua_block {
    ngx.req.read_body()
    ngx.say(tostring(ngx.req.get_body_data()))
}';

# Says the body after it was read in another phase.
our $say = 'content_by_lua_block { ngx.say(tostring(ngx.req.get_body_data())) }';

run_tests();

__DATA__

=== TEST 1: a body that came with the header
--- config eval: "location /t { $::echo }"
--- request
POST /t
hello, world
--- response_body
hello, world



=== TEST 2: no body, not read, empty body
--- config
    location /t {
        content_by_lua_block {
            ngx.say(tostring(ngx.req.get_body_data()))
            ngx.req.read_body()
            ngx.say(tostring(ngx.req.get_body_data()))
        }
    }
--- pipelined_requests eval
["GET /t", "POST /t\r\n", "POST /t\r\nabc"]
--- response_body eval
["nil\nnil\n", "nil\nnil\n", "nil\nabc\n"]



=== TEST 3: a body that comes in pieces
--- config eval: "location /t { $::echo }"
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Content-Length: 12\r
\r
he", "llo, ", "worl", "d"]
--- raw_request_middle_delay: 0.05
--- response_body
hello, world



=== TEST 4: reading in rewrite waits
--- config eval
"location /t {
    rewrite_by_lua_block {
        ngx.req.read_body()
        ngx.ctx.body = ngx.req.get_body_data()
        ngx.req.read_body()
    }
    content_by_lua_block { ngx.say(ngx.ctx.body, ' ', ngx.req.get_body_data()) }
}"
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Content-Length: 4\r
\r
ab", "cd"]
--- raw_request_middle_delay: 0.05
--- response_body
abcd abcd



=== TEST 5: reading in access waits
--- config eval
"location /t {
    access_by_lua_block {
        ngx.req.read_body()
        ngx.sleep(0.001)
        ngx.req.read_body()
    }
    $::say
}"
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Content-Length: 4\r
\r
ab", "cd"]
--- raw_request_middle_delay: 0.05
--- response_body
abcd



=== TEST 6: after a wait
--- config
    location /t {
        content_by_lua_block {
            ngx.sleep(0.02)
            ngx.req.read_body()
            ngx.sleep(0.01)
            ngx.say(ngx.req.get_body_data())
            ngx.flush(true)
            ngx.sleep(0.01)
            ngx.say("end")
        }
    }
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Content-Length: 4\r
\r
ab", "c", "d"]
--- raw_request_middle_delay: 0.05
--- response_body
abcd
end



=== TEST 7: a chunked body
--- config eval: "location /t { $::echo }"
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Transfer-Encoding: chunked\r
\r
3\r
abc\r
", "2\r
d", "e\r
0\r
", "\r
"]
--- raw_request_middle_delay: 0.03
--- response_body
abcde



=== TEST 8: a bad chunked body ends the request
--- config
    location /t {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say("not reached")
        }
    }
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Transfer-Encoding: chunked\r
\r
3\r
abc\r
", "x\r
"]
--- raw_request_middle_delay: 0.03
--- error_code: 400
--- response_body_like: 400 Bad Request
--- error_log
client sent invalid chunked body



=== TEST 9: a bad chunked body that is there at once
--- config
    location /t {
        content_by_lua_block {
            pcall(ngx.req.read_body)
            ngx.say("not reached")
        }
    }
--- raw_request eval
"POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Transfer-Encoding: chunked\r
\r
x\r
"
--- error_code: 400
--- response_body_like: 400 Bad Request



=== TEST 10: a chunked body that is too large, with an error page in Lua that reads, too
--- config
    error_page 413 /error;
    location /t {
        client_max_body_size 10;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say("not reached")
        }
    }
    location /error {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.sleep(0.01)
            ngx.say("status ", ngx.status)
        }
    }
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Transfer-Encoding: chunked\r
\r
3\r
abc\r
", "9\r
123456789\r
0\r
\r
"]
--- raw_request_middle_delay: 0.03
--- error_code: 413
--- response_body
status 413



=== TEST 11: the same in rewrite, without an error page
--- config
    location /t {
        client_max_body_size 10;
        rewrite_by_lua_block { ngx.req.read_body() }
        content_by_lua_block { ngx.say("not reached") }
    }
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Transfer-Encoding: chunked\r
\r
3\r
abc\r
", "9\r
123456789\r
0\r
\r
"]
--- raw_request_middle_delay: 0.03
--- error_code: 413
--- response_body_like: 413 Request Entity Too Large



=== TEST 12: a body in a file is not in memory
--- config
    location /t {
        client_body_in_file_only clean;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(tostring(ngx.req.get_body_data()))
        }
    }
    location /large {
        client_body_buffer_size 1k;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.say(tostring(ngx.req.get_body_data()))
        }
    }
--- request eval
["POST /t\nabc", "POST /large\n" . "x" x 20000]
--- response_body eval
["nil\n", "nil\n"]
--- no_error_log
[error]



=== TEST 13: at most so many bytes
--- config
    location /t {
        content_by_lua_block {
            ngx.req.read_body()
            for _, max in ipairs({ 0, 1, 3, 12, 100 }) do
                ngx.say("[", ngx.req.get_body_data(max), "]")
            end
            ngx.say(select(2, pcall(ngx.req.get_body_data, {})))
            ngx.say(select(2, pcall(ngx.req.get_body_data, -1)))
        }
    }
--- request
POST /t
hello, world
--- response_body
[]
[h]
[hel]
[hello, world]
[hello, world]
bad argument #1 to '?' (number expected, got table)
bad argument #1 to '?' (bad max bytes)



=== TEST 14: a large body in several buffers
--- config
    location /t {
        client_body_buffer_size 1m;
        content_by_lua_block {
            ngx.req.read_body()
            local data = ngx.req.get_body_data()
            ngx.say(#data, " ", data == ("0123456789"):rep(50000), " ", #ngx.req.get_body_data(70000))
        }
    }
--- request eval
"POST /t\n" . "0123456789" x 50000
--- response_body
500000 true 70000



=== TEST 15: Expect: 100-continue
--- config eval: "location /t { $::echo }"
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Expect: 100-continue\r
Content-Length: 3\r
\r
", "abc"]
--- raw_request_middle_delay: 0.05
--- ignore_response
--- raw_response_headers_like
--- error_code: 100
--- response_body_like eval
qr/HTTP\/1\.1 200 OK\r\n.*\r\n4\r\nabc\n\r\n0\r\n\r\n\z/s



=== TEST 16: Expect: 100-continue, and the body is not wanted
--- config
    lingering_timeout 100ms;
    location /t { content_by_lua_block { ngx.say("no") } }
--- raw_request eval
"POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Expect: 100-continue\r
Content-Length: 3\r
\r
"
--- error_code: 200
--- response_body
no



=== TEST 17: what nobody reads is thrown away, not taken for a request
--- config
    location /t { content_by_lua_block { ngx.print("a") } }
    location /waits { content_by_lua_block { ngx.print("b") ngx.flush(true) ngx.sleep(0.02) } }
    location /rewrite { rewrite_by_lua_block { ngx.print("c") ngx.exit(200) } }
    location /access { access_by_lua_block { ngx.sleep(0.01) ngx.exit(201) } }
    location /exit { content_by_lua_block { ngx.exit(404) } }
    location /bad { return 418; }
--- pipelined_requests eval
my $body = "GET /bad HTTP/1.1\r\nHost: localhost\r\n\r\n";
["POST /t\n$body", "POST /waits\n$body", "POST /rewrite\n$body", "POST /access\n$body", "POST /exit\n$body", "GET /t"]
--- error_code eval
[200, 200, 200, 201, 404, 200]
--- response_body_like eval
['\Aa\z', '\Ab\z', '\Ac\z', '\A\z', '404', '\Aa\z']



=== TEST 18: lua_need_request_body, body at once
--- config eval
"lua_need_request_body on;
location /t { $::say }
location /rewrite { rewrite_by_lua_block { ngx.say(ngx.req.get_body_data()) ngx.exit(200) } }
location /access { access_by_lua_block { ngx.say(ngx.req.get_body_data()) ngx.exit(200) } }"
--- pipelined_requests eval
["POST /t\nabc", "POST /rewrite\ndef", "POST /access\nghi", "GET /t"]
--- response_body eval
["abc\n", "def\n", "ghi\n", "nil\n"]



=== TEST 19: lua_need_request_body in content, body later
--- config
    lua_need_request_body on;
    location /t {
        content_by_lua_block {
            ngx.say(ngx.req.get_body_data())
            ngx.sleep(0.01)
            ngx.say(ngx.req.get_body_data())
        }
    }
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Content-Length: 4\r
\r
ab", "cd"]
--- raw_request_middle_delay: 0.05
--- response_body
abcd
abcd



=== TEST 20: lua_need_request_body in rewrite, access and content, body later
--- config eval
"lua_need_request_body on;
location /t {
    rewrite_by_lua_block { ngx.ctx.rewrite = ngx.req.get_body_data() ngx.sleep(0.001) }
    access_by_lua_block { ngx.ctx.access = ngx.req.get_body_data() ngx.sleep(0.001) }
    content_by_lua_block {
        ngx.say(ngx.ctx.rewrite, ' ', ngx.ctx.access, ' ', ngx.req.get_body_data())
    }
}"
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Content-Length: 4\r
\r
ab", "c", "d"]
--- raw_request_middle_delay: 0.03
--- response_body
abcd abcd abcd



=== TEST 21: lua_need_request_body in access with a static file
--- config
    location /file.txt {
        lua_need_request_body on;
        access_by_lua_block { ngx.log(ngx.WARN, "body: ", ngx.req.get_body_data()) }
        error_page 405 =200 $uri;
    }
--- user_files
>>> file.txt
a file
--- raw_request eval
["POST /file.txt HTTP/1.1\r
Host: localhost\r
Connection: close\r
Content-Length: 4\r
\r
ab", "cd"]
--- raw_request_middle_delay: 0.03
--- response_body
a file
--- error_log
body: abcd



=== TEST 22: lua_need_request_body, and the body is bad
--- config
    lua_need_request_body on;
    location /t { client_max_body_size 10; content_by_lua_block { ngx.say("not reached") } }
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Transfer-Encoding: chunked\r
\r
3\r
abc\r
", "9\r
123456789\r
0\r
\r
"]
--- raw_request_middle_delay: 0.03
--- error_code: 413
--- response_body_like: 413 Request Entity Too Large



=== TEST 23: the client goes away while its body is read
--- config
    location /t {
        content_by_lua_block {
            local guard = newproxy(true)
            getmetatable(guard).__gc = function () ngx.log(ngx.WARN, "collected") end
            ngx.req.read_body()
            ngx.log(ngx.ERR, "not reached", tostring(guard))
        }
    }
--- raw_request eval
"POST /t HTTP/1.1\r
Host: localhost\r
Content-Length: 10\r
\r
abc"
--- abort
--- timeout: 0.1
--- wait: 0.1
--- ignore_response
--- error_log
client prematurely closed connection
--- no_error_log
not reached
[alert]



=== TEST 24: the client goes away while lua_need_request_body reads
--- config
    lua_need_request_body on;
    location /t { content_by_lua_block { ngx.log(ngx.ERR, "not reached") } }
    location /r { rewrite_by_lua_block { ngx.log(ngx.ERR, "not reached") } }
    location /a { access_by_lua_block { ngx.log(ngx.ERR, "not reached") } }
--- raw_request eval
"POST /" . qw(t r a)[int rand 3] . " HTTP/1.1\r
Host: localhost\r
Content-Length: 10\r
\r
abc"
--- abort
--- timeout: 0.1
--- wait: 0.1
--- ignore_response
--- error_log
client prematurely closed connection
--- no_error_log
not reached
[alert]



=== TEST 25: the client stops sending: 408
--- config
    client_body_timeout 50ms;
    location /t {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.log(ngx.ERR, "not reached")
        }
    }
--- raw_request eval
"POST /t HTTP/1.1\r
Host: localhost\r
Content-Length: 10\r
\r
abc"
--- ignore_response
--- wait: 0.1
--- no_error_log
not reached
[alert]



=== TEST 26: HTTP/2
--- http2
--- config eval: "client_body_buffer_size 64k; location /t { $::echo } location /n { lua_need_request_body on; $::say }"
--- request eval
["POST /t\nhello", "POST /n\nworld", "GET /t", "POST /t\n" . "x" x 10000]
--- response_body eval
["hello\n", "world\n", "nil\n", "x" x 10000 . "\n"]



=== TEST 27: in a subrequest, the body of the main request
--- config
    location /t {
        ssi on;
        ssi_types text/plain;
        default_type text/plain;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print('<!--#include virtual="/sub" -->')
        }
    }
    location /sub {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.print(ngx.req.get_body_data())
        }
    }
--- request
POST /t
abc
--- response_body chop
abc



=== TEST 28: in a coroutine
--- config
    location /t {
        content_by_lua_block {
            local read = coroutine.wrap(function ()
                ngx.req.read_body()
                coroutine.yield("read")
                return ngx.req.get_body_data()
            end)
            ngx.say(read(), " ", read())
        }
    }
--- raw_request eval
["POST /t HTTP/1.1\r
Host: localhost\r
Connection: close\r
Content-Length: 4\r
\r
ab", "cd"]
--- raw_request_middle_delay: 0.03
--- response_body
read abcd



=== TEST 29: not outside of requests
--- http_config
    init_worker_by_lua_block {
        in_worker = select(2, pcall(ngx.req.read_body))
        in_worker2 = select(2, pcall(ngx.req.get_body_data))
    }
--- config
    location /t { content_by_lua_block { ngx.say(in_worker) ngx.say(in_worker2) } }
--- request
GET /t
--- response_body
API disabled in the context of init_worker_by_lua*
API disabled in the context of init_worker_by_lua*
