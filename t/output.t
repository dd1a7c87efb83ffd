# ngx.say, ngx.print, ngx.flush, ngx.eof, ngx.send_headers.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 87;
no_long_string();
workers(1);

# A client that sends its request and reads nothing for a while.
add_block_preprocessor(
    sub {
        my ($block) = @_;
        return unless defined $block->stalled;
        $block->set_value( request        => "GET /stall" );
        $block->set_value( response_body  => "done\n" );
        $block->set_value( timeout        => 5 );
        $block->set_value( config => $block->config . qq{
    location /stall {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", \$TEST_NGINX_SERVER_PORT))
            assert(sock:send("GET /t HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"))
            ngx.sleep(0.6)
            sock:close()
            ngx.say("done")
        }
    }
        } );
    }
);
run_tests();

__DATA__

=== TEST 1: every kind of value
--- config
    location /t {
        content_by_lua_block {
            ngx.say("a", 1, 1.5, 1e15, true, false, nil, ngx.null)
            ngx.print("b", { "c", { 1, { "d" }, nil }, true, ngx.null }, {})
            ngx.say()
            ngx.print()
            ngx.print("")
            ngx.say("e\0f")
        }
    }
--- request
GET /t
--- response_body eval
"a11.51e+15truefalsenilnull\nbc1dtruenull\ne\0f\n"



=== TEST 2: bad values throw before anything is written
--- config
    location /t {
        content_by_lua_block {
            local function try(...)
                local ok, err = pcall(ngx.say, ...)
                ngx.log(ngx.WARN, tostring(ok), ": ", err)
            end
            try("lost", print)
            try("lost", { foo = "bar" })
            try("lost", { "a", { print } })
            try("lost", io.stdout)
            try("lost", { [2 ^ 31 - 1] = "far away" })
            ngx.say("sent: ", ngx.headers_sent)
        }
    }
--- request
GET /t
--- response_body
sent: false
--- error_log
false: bad argument #2 to '?' (string, number, boolean, nil, ngx.null, or array table expected, but got function)
false: bad argument #2 to '?' (non-array table found)
false: bad argument #2 to '?' (bad data type function found)
false: bad argument #2 to '?' (string, number, boolean, nil, ngx.null, or array table expected, but got userdata)



=== TEST 3: results
--- config
    location /t {
        content_by_lua_block {
            local log = {}
            local function note(name, ok, err)
                log[#log + 1] = name .. ": " .. tostring(ok) .. " " .. tostring(err)
            end
            note("flush before", ngx.flush())
            note("say", ngx.say("x"))
            note("send_headers", ngx.send_headers())
            note("flush", ngx.flush())
            note("flush(true)", ngx.flush(true))
            note("eof", ngx.eof())
            note("eof again", ngx.eof())
            note("say after eof", ngx.say("y"))
            note("print after eof", ngx.print("y"))
            note("flush after eof", ngx.flush(true))
            for _, line in ipairs(log) do ngx.log(ngx.WARN, line) end
        }
    }
--- request
GET /t
--- response_body
x
--- grep_error_log eval: qr/(?<=:16: )[a-z][a-z_() ]+: (?:nil|1) [a-z ]+(?=,)/
--- grep_error_log_out
flush before: nil nothing to flush
say: 1 nil
send_headers: 1 nil
flush: 1 nil
flush(true): 1 nil
eof: 1 nil
eof again: nil seen eof
say after eof: nil seen eof
print after eof: nil seen eof
flush after eof: nil seen eof



=== TEST 4: an empty print sends the header, no output at all an empty body
--- config
    location /print { content_by_lua_block { ngx.print("") ngx.status = 404 } }
    location /none { content_by_lua_block { } }
    location /headers {
        content_by_lua_block {
            ngx.status = 202
            ngx.send_headers()
            ngx.send_headers()
            ngx.print(ngx.headers_sent)
        }
    }
--- request eval
["GET /print", "GET /none", "GET /headers"]
--- error_code eval
[200, 200, 202]
--- response_body eval
["", "", "true"]



=== TEST 5: chunked for HTTP/1.1, exact bytes
--- config
    location /t {
        default_type text/plain;
        content_by_lua_block {
            ngx.say("one")
            ngx.flush()
            ngx.say("two")
            ngx.say("three")
        }
    }
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
--- response_headers
Transfer-Encoding: chunked
Content-Type: text/plain
! Content-Length
--- response_body
one
two
three



=== TEST 6: HTTP/1.0 gets a length
--- config
    location /t {
        content_by_lua_block {
            ngx.say("one")
            local ok, err = ngx.flush(true)
            ngx.say(tostring(ok), " ", err)
            ngx.sleep(0.001)
            ngx.say("two")
        }
    }
--- raw_request eval
"GET /t HTTP/1.0\r\nHost: localhost\r\n\r\n"
--- response_headers
Content-Length: 22
! Transfer-Encoding
--- response_body
one
nil buffering
two



=== TEST 7: HTTP/1.0 without buffering
--- config
    location /t {
        lua_http10_buffering off;
        content_by_lua_block {
            ngx.say("one")
            ngx.say(ngx.flush(true))
            ngx.say("two")
        }
    }
--- raw_request eval
"GET /t HTTP/1.0\r\nHost: localhost\r\n\r\n"
--- response_headers
! Content-Length
! Transfer-Encoding
--- response_body
one
1
two



=== TEST 8: HTTP/1.0 with keepalive
--- config
    location /t { content_by_lua_block { ngx.print("a") ngx.print("b") } }
--- raw_request eval
"GET /t HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\nGET /t HTTP/1.0\r\nHost: localhost\r\n\r\n"
--- response_headers
Content-Length: 2
Connection: keep-alive
--- response_body_like
^ab



=== TEST 9: HEAD
--- config
    location /t {
        content_by_lua_block {
            ngx.say("body")
            ngx.flush(true)
            ngx.sleep(0.001)
            ngx.say("body")
            ngx.print(("x"):rep(100000))
        }
    }
    location /n { content_by_lua_block { ngx.say("body") } }
    location /get { content_by_lua_block { ngx.print("get") } }
--- pipelined_requests eval
["HEAD /t", "HEAD /n", "GET /get"]
--- response_body eval
["", "", "get"]



=== TEST 10: 204 and 304 have no body
--- config
    location /t { content_by_lua_block { ngx.status = 204 ngx.say("body") } }
    location /n { content_by_lua_block { ngx.status = 304 ngx.say("body") ngx.flush(true) } }
    location /e { content_by_lua_block { ngx.exit(204) } }
    location /get { content_by_lua_block { ngx.print("get") } }
--- pipelined_requests eval
["GET /t", "GET /n", "GET /e", "GET /get"]
--- error_code eval
[204, 304, 204, 200]
--- response_body eval
["", "", "", "get"]



=== TEST 11: output in pieces of every size
--- config
    location /t {
        content_by_lua_block {
            local sizes = { 1, 511, 512, 513, 3999, 4000, 4001, 16383, 16384, 65535, 65536, 65537, 200000, 3 }
            local n = 0
            for _, size in ipairs(sizes) do
                ngx.print((string.char(97 + n)):rep(size))
                n = n + 1
            end
        }
    }
--- request
GET /t
--- response_body eval
my @sizes = ( 1, 511, 512, 513, 3999, 4000, 4001, 16383, 16384, 65535, 65536, 65537, 200000, 3 );
CORE::join '', map { chr( 97 + $_ ) x $sizes[$_] } 0 .. $#sizes



=== TEST 12: a large body to a client that reads late
--- config
    location /t {
        content_by_lua_block {
            local line = ("0123456789"):rep(1000)
            for i = 1, 300 do
                ngx.print(line)
            end
        }
    }
--- request
GET /t
--- response_body eval: "0123456789" x 300000



=== TEST 13: flush(true) waits for a stalled client until send_timeout
--- config
    location /t {
        send_timeout 100ms;
        content_by_lua_block {
            local line = ("x"):rep(100000)
            for i = 1, 1000 do
                ngx.print(line)
                local ok, err = ngx.flush(true)
                if not ok then
                    ngx.log(ngx.WARN, "flush: ", err)
                    ngx.log(ngx.WARN, "then: ", select(2, ngx.say("x")))
                    return
                end
            end
            ngx.log(ngx.WARN, "flushed everything")
        }
    }
--- stalled
--- error_log
flush: timeout
then: nginx output filter error
--- no_error_log
flushed everything
[alert]



=== TEST 14: a stalled client ends a sleeping handler after send_timeout
--- config
    location /t {
        send_timeout 100ms;
        content_by_lua_block {
            for i = 1, 200 do ngx.print(("x"):rep(100000)) end
            ngx.sleep(2)
            ngx.log(ngx.ERR, "not reached")
        }
    }
--- stalled
--- no_error_log
not reached
[alert]



=== TEST 15: many flushed writes do not use more memory
--- config
    location /t {
        content_by_lua_block {
            local function rss()
                for line in io.lines("/proc/self/status") do
                    local kb = line:match("^VmRSS:%s+(%d+)")
                    if kb then return tonumber(kb) end
                end
            end
            local line = ("x"):rep(1000)
            local before
            for i = 1, 8000 do
                ngx.print(line)
                ngx.flush(i % 2 == 0)
                ngx.flush()
                if i == 800 then before = rss() end
            end
            ngx.log(ngx.WARN, rss() - before < 1000 and "steady" or ("grew by " .. rss() - before))
        }
    }
--- skip_eval: 2: $ENV{TEST_NGINX_USE_VALGRIND}
--- request
GET /t
--- response_body eval: "x" x 8000000
--- error_log
steady



=== TEST 16: gzip and other filters
--- config
    location /t {
        sub_filter foo bar;
        sub_filter_types *;
        sub_filter_once off;
        content_by_lua_block {
            ngx.print("fo")
            ngx.flush(true)
            ngx.print("o")
            ngx.flush(true)
            ngx.say(" foo")
        }
    }
--- request
GET /t
--- response_body
bar bar



=== TEST 17: lua_use_default_type off
--- config
    default_type text/css;
    location /t { content_by_lua_block { ngx.say("x") } }
    location /off { lua_use_default_type off; content_by_lua_block { ngx.say("x") } }
--- request eval
["GET /t", "GET /off"]
--- response_headers eval
["Content-Type: text/css", "!Content-Type"]
--- response_body eval
["x\n", "x\n"]



=== TEST 18: limit_rate
--- config
    location /t {
        limit_rate 40k;
        content_by_lua_block {
            local begin = ngx.now()
            ngx.print(("x"):rep(30000))
            ngx.flush(true)
            ngx.print(("x"):rep(30000))
            ngx.flush(true)
            ngx.update_time()
            ngx.log(ngx.WARN, ngx.now() - begin > 0.4 and "slow" or "fast")
        }
    }
--- request
GET /t
--- response_body eval: "x" x 60000
--- error_log
slow



=== TEST 19: the client goes away in the middle of output
--- config
    location /t {
        content_by_lua_block {
            for i = 1, 5 do
                local ok, err = ngx.say("x")
                if not ok then
                    ngx.log(ngx.WARN, "say: ", err)
                    return
                end
                ngx.flush()
                ngx.sleep(0.15)
            end
        }
    }
--- request
GET /t
--- abort
--- timeout: 0.1
--- wait: 0.6
--- ignore_response
--- error_log
say: nginx output filter error
--- no_error_log
[alert]



=== TEST 20: several threads flush at once: each goes on when the client has taken all
--- config
    location = /flush {
        content_by_lua_block {
            local seen = {}
            package.loaded.seen = seen
            local function write(name)
                ngx.print((name):rep(4000000))
                local ok, err = ngx.flush(true)
                seen[name] = tostring(ok) .. tostring(err)
            end
            for name in ("abc"):gmatch(".") do ngx.thread.spawn(write, name) end
            local killed = ngx.thread.spawn(write, "k")
            ngx.sleep(0.1)
            seen.before = tostring(seen.a) .. tostring(seen.b) .. tostring(seen.c)
            ngx.thread.kill(killed)
        }
    }
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
            sock:send("GET /flush HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            -- Nothing is read until all of them wait.
            package.loaded.seen = nil
            while not (package.loaded.seen and package.loaded.seen.before) do ngx.sleep(0.01) end
            local answer = sock:receive("*a")
            for name in ("abck"):gmatch(".") do
                ngx.say(answer:find(name:rep(100), 1, true) ~= nil, " ", package.loaded.seen[name])
            end
            ngx.say(#answer > 16000000)
            ngx.say(package.loaded.seen.before)
        }
    }
--- request
GET /t
--- response_body
true 1nil
true 1nil
true 1nil
true nil
true
nilnilnil
--- timeout: 30



=== TEST 21: arguments that do not fit, and no crash for a table that contains itself
--- config
    location /t {
        content_by_lua_block {
            local own = {}
            own[1] = own
            local deep = "deep"
            for _ = 1, 999 do deep = { deep } end
            ngx.say(deep)
            local function fails(f, ...) ngx.say(select(2, pcall(f, ...))) end
            fails(ngx.say, own)
            fails(ngx.print, { deep, { deep } })
            fails(ngx.flush, nil)
            fails(ngx.flush, 1)
            fails(ngx.flush, true, false)
            ngx.header[""] = "nameless"
            ngx.say(ngx.flush(false))
        }
    }
--- request
GET /t
--- response_body
deep
bad argument #1 to '?' (table nested too deeply)
bad argument #1 to '?' (table nested too deeply)
bad argument #1 to '?' (boolean expected, got nil)
bad argument #1 to '?' (boolean expected, got number)
attempt to pass 2 arguments, but accepted 0 or 1
1
--- raw_response_headers_unlike: nameless



=== TEST 22: a body that is not as long as its Content-Length ends the connection
--- config
    location = /short { content_by_lua_block { ngx.header.content_length = 5 ngx.print("abc") } }
    location = /flushed {
        content_by_lua_block { ngx.header.content_length = 5 ngx.print("a") ngx.flush(true) ngx.print("bc") }
    }
    location = /long { content_by_lua_block { ngx.header.content_length = 2 ngx.print("abc") } }
    location = /right {
        content_by_lua_block { ngx.header.content_length = 3 ngx.print("a") ngx.flush(true) ngx.print("bc") }
    }
    location = /t {
        content_by_lua_block {
            for _, uri in ipairs { "/short", "/flushed", "/long", "/right" } do
                for _, method in ipairs { "GET", "HEAD" } do
                    local sock = assert(ngx.socket.connect("127.0.0.1", $TEST_NGINX_SERVER_PORT))
                    sock:settimeout(uri == "/right" and 100 or method == "HEAD" and 100 or 3000)
                    sock:send(method .. " " .. uri .. " HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    local data, err, partial = sock:receive("*a")
                    ngx.say(method, " ", uri, " ", err or "closed", " ", (data or partial):match("\r\n\r\n(.*)"))
                end
            end
        }
    }
--- request
GET /t
--- response_body
GET /short closed abc
HEAD /short timeout 
GET /flushed closed abc
HEAD /flushed timeout 
GET /long closed abc
HEAD /long timeout 
GET /right timeout abc
HEAD /right timeout 



=== TEST 23: a number alone is written as Lua writes it
--- config
    location /t {
        content_by_lua_block {
            local numbers = { 0, 7, 10, 4294967295, 4294967296, 99999999999999, 1e14, -1, 1.5,
                              1/0, -1/0, 2^-40 }
            table.insert(numbers, -tonumber("0"))
            for _, number in ipairs(numbers) do
                local text = tostring(number)
                ngx.print(number)
                ngx.say(" ", text)
                ngx.say(number)
            end
        }
    }
--- request
GET /t
--- response_body eval
join "", map { "$_ $_\n$_\n" } qw(0 7 10 4294967295 4294967296 99999999999999 1e+14 -1 1.5
    inf -inf 9.0949470177293e-13 -0)
