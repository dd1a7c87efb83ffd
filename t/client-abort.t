# Clients that go away, with and without lua_check_client_abort.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 20;
no_long_string();

# What the worker still holds shows in a second request.
run_tests();

__DATA__

=== TEST 1: on: a handler that sleeps ends at once, in every phase
--- config
    lua_check_client_abort on;
    location /r { rewrite_by_lua_block { ngx.sleep(0.3) ngx.log(ngx.ERR, "not reached") } content_by_lua_block { } }
    location /a { access_by_lua_block { ngx.sleep(0.3) ngx.log(ngx.ERR, "not reached") } content_by_lua_block { } }
    location /c { content_by_lua_block { ngx.sleep(0.3) ngx.log(ngx.ERR, "not reached") } }
    location /o { content_by_lua_block { ngx.say("x") ngx.flush(true) ngx.sleep(0.3) ngx.log(ngx.ERR, "not reached") } }
    location /co { content_by_lua_block { coroutine.wrap(function () ngx.sleep(0.3) ngx.log(ngx.ERR, "not reached") end)() } }
--- raw_request eval
"GET /" . qw( r a c o co )[ int rand 5 ] . " HTTP/1.1\r\nHost: localhost\r\n\r\n"
--- abort
--- timeout: 0.1
--- wait: 0.4
--- ignore_response
--- error_log
client prematurely closed connection
--- no_error_log
not reached
[alert]



=== TEST 2: on: 499 in the access log
--- config
    lua_check_client_abort on;
    location /c { access_log logs/aborted.log; content_by_lua_block { ngx.sleep(1) } }
    location /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
            assert(sock:send("GET /c HTTP/1.0\r\n\r\n"))
            ngx.sleep(0.05)
            sock:close()
            ngx.sleep(0.05)
            local line = io.open(ngx.config.prefix() .. "logs/aborted.log"):read("*l")
            ngx.say(line:match('" (%d+) '))
        }
    }
--- request
GET /t
--- response_body
499



=== TEST 3: on: the client was gone before the handler waited
--- config
    lua_check_client_abort on;
    location /c {
        content_by_lua_block {
            -- the connection is closed while this blocks the worker
            os.execute("sleep 0.1")
            ngx.sleep(0.3)
            ngx.log(ngx.ERR, "not reached")
        }
    }
--- raw_request eval: "GET /c HTTP/1.1\r\nHost: localhost\r\n\r\n"
--- abort
--- timeout: 0.05
--- wait: 0.5
--- ignore_response
--- error_log
client prematurely closed connection
--- no_error_log
not reached



=== TEST 4: on: with a body, read before or after
--- config
    lua_check_client_abort on;
    location /t {
        content_by_lua_block {
            ngx.sleep(0.01)
            ngx.req.read_body()
            ngx.sleep(0.3)
            ngx.log(ngx.ERR, "not reached")
        }
    }
--- raw_request eval: ["POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab", "cd"]
--- raw_request_middle_delay: 0.03
--- abort
--- timeout: 0.1
--- wait: 0.4
--- ignore_response
--- error_log
client prematurely closed connection
--- no_error_log
not reached
[alert]



=== TEST 5: on: requests that follow each other on one connection are no abort
--- config
    lua_check_client_abort on;
    location /t { content_by_lua_block { ngx.sleep(0.02) ngx.req.read_body() ngx.print(ngx.req.get_body_data()) } }
--- pipelined_requests eval
["POST /t\nabc", "POST /t\ndef", "POST /t\nghi"]
--- response_body eval
["abc", "def", "ghi"]



=== TEST 6: off: the handler runs to its end
--- config
    location /t { content_by_lua_block { ngx.sleep(0.15) ngx.log(ngx.WARN, "reached") ngx.say("x") } }
--- raw_request eval: "GET /t HTTP/1.1\r\nHost: localhost\r\n\r\n"
--- abort
--- timeout: 0.05
--- wait: 0.3
--- ignore_response
--- error_log
reached
--- no_error_log
[alert]



=== TEST 7: HTTP/2: a reset stream
--- http2
--- config
    lua_check_client_abort on;
    location /t { content_by_lua_block { ngx.sleep(0.5) ngx.log(ngx.ERR, "not reached") } }
--- request
GET /t
--- abort
--- timeout: 0.15
--- wait: 0.6
--- ignore_response
--- no_error_log
not reached
[alert]
