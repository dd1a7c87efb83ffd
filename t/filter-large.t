# Filters in Lua on large responses: memory stays bounded, whoever makes the response and
# however slow the client is.
use File::Temp;
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

# 30 MB that take no room.
our $large = File::Temp->newdir;
open my $file, '>', "$large/zeros" or die $!;
truncate $file, 30_000_000;
close $file;
chmod 0755, "$large";
$ENV{TEST_NGINX_LARGE} = "$large";

add_block_preprocessor( sub {
    my ($block) = @_;
    $block->set_value( timeout => 30 );
    $block->set_value( http_config => ( $block->http_config // '' ) . <<'END' );
proxy_max_temp_file_size 0;
proxy_http_version 1.1;
init_by_lua_block {
    local m = {}
    package.loaded.large = m

    function m.rss()
        for line in io.lines("/proc/self/status") do
            local kb = line:match("VmRSS:%s+(%d+)")
            if kb then return tonumber(kb) end
        end
    end

    -- Counts the bytes of a response's body; pauses after each piece.
    function m.fetch(path, pause)
        local sock = ngx.socket.tcp()
        sock:settimeout(10000)
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        if pause then sock:setoption("rcvbuf", 65536) end
        sock:send("GET " .. path .. " HTTP/1.0\r\nHost: x\r\n\r\n")
        repeat local line = assert(sock:receive()) until line == ""
        local n = 0
        while true do
            local data = sock:receiveany(65536)
            if not data then break end
            n = n + #data
            if pause then ngx.sleep(pause) end
        end
        sock:close()
        return n
    end

    -- Says so unless that succeeds with little more memory.
    function m.check(path, expected, pause)
        -- Lua's own memory grows at the first.
        m.fetch(path, pause)
        collectgarbage()
        local before = m.rss()
        local n = m.fetch(path, pause)
        local grown = m.rss() - before
        if n ~= expected then
            ngx.say(path, ": ", n, " bytes")
        elseif grown > 8000 then
            ngx.say(path, ": ", grown, " KB more")
        else
            ngx.say(path, ": ok")
        end
    end

    function m.wait()
        if ngx.var.arg_b then ngx.sleep(0) end
    end
}
END
} );

log_level('warn');
no_long_string();
run_tests();

__DATA__

=== TEST 1: files, with sendfile and without
--- http_config
    root $TEST_NGINX_LARGE;
--- config
    location /read/ {
        alias $TEST_NGINX_LARGE/;
        body_filter_by_lua_block { require "large".wait() local _ = #ngx.arg[1] }
    }
    location /changed/ {
        alias $TEST_NGINX_LARGE/;
        sendfile on;
        header_filter_by_lua_block { if ngx.var.arg_b then ngx.sleep(0.05) end }
        body_filter_by_lua_block { require "large".wait() ngx.arg[1] = ngx.arg[1]:gsub("%z", "x", 1) }
    }
    location /twice/ {
        alias $TEST_NGINX_LARGE/;
        output_buffers 1 64k;
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block { require "large".wait() ngx.arg[1] = { ngx.arg[1], ngx.arg[1] } }
    }
    location /threads/ {
        alias $TEST_NGINX_LARGE/;
        aio threads;
        sendfile off;
        header_filter_by_lua_block { if ngx.var.arg_b then ngx.sleep(0.05) end }
        body_filter_by_lua_block { require "large".wait() ngx.arg[1] = ngx.arg[1]:gsub("%z", "x", 1) }
    }
    location /untouched/ {
        alias $TEST_NGINX_LARGE/;
        sendfile on;
        header_filter_by_lua_block { ngx.sleep(0.05) }
    }
--- lua
local check = require "large".check
check("/read/zeros", 3e7)
check("/read/zeros?b=1", 3e7)
check("/changed/zeros", 3e7)
check("/changed/zeros?b=1", 3e7)
check("/twice/zeros", 6e7)
check("/twice/zeros?b=1", 6e7)
check("/threads/zeros", 3e7)
check("/threads/zeros?b=1", 3e7)
check("/untouched/zeros", 3e7)
--- response_body
/read/zeros: ok
/read/zeros?b=1: ok
/changed/zeros: ok
/changed/zeros?b=1: ok
/twice/zeros: ok
/twice/zeros?b=1: ok
/threads/zeros: ok
/threads/zeros?b=1: ok
/untouched/zeros: ok



=== TEST 2: an upstream is not read faster than the filter goes on
--- config
    location /up {
        body_filter_by_lua_block { }
        content_by_lua_block {
            local piece = ("x"):rep(30000)
            for i = 1, 1000 do
                ngx.print(piece)
                ngx.flush(true)
            end
        }
    }
    location /p/ {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/up;
        header_filter_by_lua_block { if ngx.var.arg_b then ngx.sleep(0.05) end }
        body_filter_by_lua_block { require "large".wait() ngx.arg[1] = ngx.arg[1]:upper() }
    }
    location /u/ {
        proxy_buffering off;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/up;
        header_filter_by_lua_block { if ngx.var.arg_b then ngx.sleep(0.05) end }
        body_filter_by_lua_block { require "large".wait() ngx.arg[1] = ngx.arg[1]:upper() }
    }
--- lua
local check = require "large".check
check("/p/", 3e7)
check("/p/?b=1", 3e7)
check("/u/", 3e7)
check("/u/?b=1", 3e7)
--- response_body
/p/: ok
/p/?b=1: ok
/u/: ok
/u/?b=1: ok



=== TEST 3: slow clients
--- config
    location /s/ {
        alias $TEST_NGINX_LARGE/;
        limit_rate_after 0;
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block {
            require "large".wait()
            ngx.ctx.n = (ngx.ctx.n or 0) + #ngx.arg[1]
            if ngx.ctx.n > 4000000 then ngx.arg[2] = true end
        }
    }
    location /up {
        content_by_lua_block {
            local piece = ("x"):rep(30000)
            for i = 1, 100 do
                ngx.print(piece)
                ngx.flush(true)
            end
        }
        body_filter_by_lua_block { require "large".wait() ngx.arg[1] = ngx.arg[1]:upper() }
    }
    location /u/ {
        proxy_buffering off;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/up;
        header_filter_by_lua_block { if ngx.var.arg_b then ngx.sleep(0.05) end }
        body_filter_by_lua_block { require "large".wait() ngx.arg[1] = ngx.arg[1]:upper() }
    }
--- lua
local large = require "large"
for _, path in ipairs { "/s/zeros", "/s/zeros?b=1" } do
    local n = large.fetch(path, 0.002)
    ngx.say(path, " ", n > 4000000 and n < 4100000)
end
large.check("/up", 3e6, 0.002)
large.check("/up?b=1", 3e6, 0.002)
large.check("/u/", 3e6, 0.002)
large.check("/u/?b=1", 3e6, 0.002)
--- response_body
/s/zeros true
/s/zeros?b=1 true
/up: ok
/up?b=1: ok
/u/: ok
/u/?b=1: ok



=== TEST 4: while a header is held back, an upstream has to wait
--- config
    location /up {
        content_by_lua_block {
            local piece = ("x"):rep(30000)
            for i = 1, 1000 do
                ngx.print(piece)
                if not ngx.flush(true) then break end
                ngx.shared_count = i
            end
        }
    }
    location /p/ {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/up;
        header_filter_by_lua_block { ngx.sleep(0.5) ngx.log(ngx.WARN, "sent so far: ", ngx.shared_count) }
    }
    location /u/ {
        proxy_buffering off;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/up;
        header_filter_by_lua_block { ngx.sleep(0.5) ngx.log(ngx.WARN, "sent so far: ", ngx.shared_count) }
    }
--- lua
local check = require "large".check
check("/p/", 3e7)
check("/u/", 3e7)
--- response_body
/p/: ok
/u/: ok
--- grep_error_log eval
qr/sent so far: \d+/
--- grep_error_log_out eval
qr/^(sent so far: \d{1,3}\n){4}$/
--- no_error_log
[error]



=== TEST 5: a stream that goes on and on
--- config
    location /s {
        content_by_lua_block {
            for i = 1, 30000 do
                ngx.print("some words ")
                ngx.flush(true)
            end
        }
        body_filter_by_lua_block { require "large".wait() ngx.arg[1] = ngx.arg[1]:upper() }
    }
--- lua
local check = require "large".check
check("/s?b=1", 330000)
check("/s", 330000)
--- response_body
/s?b=1: ok
/s: ok



=== TEST 6: parts that wait or are dropped, with threads that read and send the file
--- config
    aio threads;
    sendfile on;
    output_buffers 2 8k;
    location /zeros {
        root $TEST_NGINX_LARGE;
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block {
            local n = (ngx.ctx.n or 0) + 1
            ngx.ctx.n = n
            if n % 3 == 1 then ngx.sleep(0) end
            if n % 10 == 0 then
                ngx.ctx.dropped = (ngx.ctx.dropped or 0) + #ngx.arg[1]
                ngx.arg[1] = nil
            end
        }
        log_by_lua_block { ngx.log(ngx.WARN, "sent and dropped: ", ngx.var.body_bytes_sent + ngx.ctx.dropped) }
    }
--- raw_request eval
"GET /zeros HTTP/1.0\r\n\r\n"
--- response_body_like eval
qr/\A\0+\z/
--- error_log
sent and dropped: 30000000
--- no_error_log
[error]
[alert]
