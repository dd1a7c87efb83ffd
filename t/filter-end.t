# The end of requests whose response a Lua filter holds back: clients that go away,
# timeouts, threads and sockets that are still there.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

add_block_preprocessor( sub {
    my ($block) = @_;
    $block->set_value( http_config => ( $block->http_config // '' ) . <<'END' );
init_by_lua_block {
    local m = {}
    package.loaded.fd = m

    -- How many file descriptors the worker has open.
    function m.count()
        local n = 0
        local pipe = io.popen("ls /proc/" .. ngx.worker.pid() .. "/fd | wc -l")
        n = tonumber(pipe:read("*l"))
        pipe:close()
        return n
    end
}
END
} );

no_long_string();
run_tests();

__DATA__

=== TEST 1: clients that go away while a header or a body is held back
--- config
    location /static/ { alias html/; }
    location /lua { content_by_lua_block { ngx.print(("x"):rep(100000)) ngx.flush(true) ngx.log(ngx.WARN, "went on") } }
    location /proxy { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/source; }
    location /unbuffered { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/source; proxy_buffering off; }
    location = /page.html { ssi on; root html; }
    location /source { content_by_lua_block { ngx.print(("x"):rep(100000)) } header_filter_by_lua_block { } body_filter_by_lua_block { } }
    location = /t { header_filter_by_lua_block { } body_filter_by_lua_block { }
        content_by_lua_block {
            local c, fd = require "client", require "fd"
            local puppet = require "puppet"
            local function round()
                for _, path in ipairs { "/static/a.txt", "/lua", "/proxy", "/unbuffered", "/page.html" } do
                    for _, query in ipairs { "h=1", "b=1" } do
                        for i = 1, 5 do
                            c.leave("GET " .. path .. "?" .. query .. " HTTP/1.1\r\nHost: x\r\n\r\n", i % 2 == 0 and 0 or 0.002)
                        end
                    end
                end
                ngx.sleep(0.05)
            end
            round()
            ngx.sleep(0.5)
            local before = fd.count()
            for i = 1, 3 do round() end
            local after
            for i = 1, 50 do
                after = fd.count()
                if after <= before then break end
                ngx.sleep(0.1)
            end
            ngx.say(after <= before and "no more" or before .. " " .. after)
        }
    }
    lua_check_client_abort on;
    header_filter_by_lua_block {
        local sock = require "puppet".open("hold")
        if ngx.var.arg_h then ngx.thread.spawn(function() sock:receive() end) ngx.sleep(60) ngx.log(ngx.WARN, "went on") end
    }
    body_filter_by_lua_block {
        local sock = require "puppet".open("hold")
        if ngx.var.arg_b then ngx.thread.spawn(function() ngx.sleep(60) end) sock:settimeout(60000) sock:receive() ngx.log(ngx.WARN, "went on") end
    }
--- user_files eval
">>> a.txt\n" . "a" x 100_000 . "\n>>> page.html\n[<!--#include virtual=\"/lua?\$args\" -->]\n"
--- request
GET /t
--- timeout: 20
--- response_body
no more
--- no_error_log
went on
[alert]
[crit]



=== TEST 2: send_timeout is for the client, not for Lua
--- config
    send_timeout 100ms;
    location /static/ { alias html/; header_filter_by_lua_block { ngx.sleep(0.3) } }
    location /body/ { alias html/; body_filter_by_lua_block { ngx.sleep(0.2) } }
    location /head/ { alias html/; header_filter_by_lua_block { ngx.sleep(0.3) } }
    location /lua {
        content_by_lua_block { ngx.say("one") ngx.flush(true) ngx.say("two") }
        header_filter_by_lua_block { ngx.sleep(0.3) }
        body_filter_by_lua_block { ngx.sleep(0.2) }
    }
    location /proxy { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/lua; header_filter_by_lua_block { ngx.sleep(0.3) } }
    location /unbuffered { proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/lua; proxy_buffering off; body_filter_by_lua_block { ngx.sleep(0.2) } }
    location /gzip {
        gzip on;
        gzip_types *;
        gzip_min_length 1;
        content_by_lua_block { ngx.say("one") ngx.flush(true) ngx.say("two") }
        body_filter_by_lua_block { ngx.sleep(0.2) }
    }
    location = /page.html { ssi on; root html; body_filter_by_lua_block { ngx.sleep(0.2) } }
--- user_files
>>> a.txt
some text
>>> page.html
[<!--#include virtual="/lua" -->]
--- request eval
[ "GET /static/a.txt", "GET /body/a.txt", "HEAD /head/a.txt", "GET /lua", "GET /proxy", "GET /unbuffered", "GET /gzip", "GET /page.html" ]
--- response_body eval
[ ("some text\n") x 2, "", ("one\ntwo\n") x 4, "[one\ntwo\n]\n" ]
--- no_error_log
timed out
[error]
[alert]



=== TEST 3: a client that takes nothing still times out
--- config
    send_timeout 100ms;
    location /static/ {
        alias html/;
        header_filter_by_lua_block { ngx.sleep(0.01) }
        body_filter_by_lua_block { ngx.sleep(0) }
    }
    location /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /static/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            ngx.sleep(2.5)
            ngx.say("done")
        }
    }
--- user_files eval
">>> a.txt\n" . "a" x 10_000_000
--- request
GET /t
--- timeout: 10
--- response_body
done
--- error_log
client timed out
--- no_error_log
[error]
[alert]



=== TEST 4: the wait in flush ends when the filter has let everything pass
--- config
    location /t {
        content_by_lua_block {
            local from = ngx.now()
            ngx.say("one")
            local ok, err = ngx.flush(true)
            ngx.update_time()
            ngx.say(tostring(ok), " ", tostring(err), " ", ngx.now() - from > 0.15)
            from = ngx.now()
            ngx.flush(true)
            ngx.update_time()
            ngx.say(ngx.now() - from > 0.05)
            ngx.eof()
            ngx.sleep(0.01)
            ngx.log(ngx.WARN, "after eof")
        }
        header_filter_by_lua_block { ngx.sleep(0.1) }
        body_filter_by_lua_block { ngx.sleep(0.1) }
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["one\n1 nil true\ntrue\n", "one\n1 nil true\ntrue\n"]
--- error_log
after eof
--- no_error_log
[error]
[alert]



=== TEST 5: the content's handler is ended where the header filter answers otherwise
--- config
    location /t {
        content_by_lua_block {
            local ok, err = ngx.on_abort(function() end)
            ngx.say("one")
            ngx.flush()
            ngx.sleep(0.3)
            ngx.log(ngx.WARN, "content went on")
        }
        header_filter_by_lua_block { ngx.sleep(0.05) ngx.exit(403) }
    }
    location /access {
        access_by_lua_block { ngx.say("one") ngx.flush(true) ngx.log(ngx.WARN, "access went on") }
        return 200 "not reached";
        header_filter_by_lua_block { ngx.sleep(0.05) ngx.exit(404) }
    }
    location /proxy {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/source;
        header_filter_by_lua_block { ngx.sleep(0.05) error("bang") }
    }
    location /source { content_by_lua_block { ngx.say("one") ngx.flush(true) ngx.sleep(0.3) ngx.say("two") } }
--- pipelined_requests eval
["GET /t", "GET /access", "GET /proxy"]
--- error_code eval
[403, 404, 500]
--- response_body_like eval
[qr/403 Forbidden/, qr/404 Not/, qr/500 Internal/]
--- wait: 0.4
--- no_error_log
went on
[alert]



=== TEST 6: ngx.exit(444) closes the connection
--- config
    location /now { return 200 "x"; header_filter_by_lua_block { ngx.exit(444) } }
    location /late { return 200 "x"; header_filter_by_lua_block { ngx.sleep(0.01) ngx.exit(444) } }
    location /error { return 403; header_filter_by_lua_block { ngx.sleep(0.01) ngx.exit(444) } }
    location /lua { content_by_lua_block { ngx.say("x") ngx.flush(true) } header_filter_by_lua_block { ngx.sleep(0.01) return ngx.exit(ngx.ERROR) } }
--- lua
for _, path in ipairs { "/now", "/late", "/error", "/lua" } do
    ngx.say("<", c.raw("GET " .. path .. " HTTP/1.1\r\nHost: x\r\n\r\n"), ">")
end
--- response_body
<>
<>
<>
<>
