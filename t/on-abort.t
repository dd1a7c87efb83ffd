# ngx.on_abort, with lua_check_client_abort.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

# A client that goes away while its request waits; then what it has left.
add_block_preprocessor(
    sub {
        my ($block) = @_;
        my $handler = $block->handler or return;
        my $phase = $block->phase || 'content';
        $block->set_value( 'config', <<"END" . ( $block->config || '' ) );
            location = /handler {
                lua_check_client_abort on;
                ${phase}_by_lua_block { local log = package.loaded.seen; $handler }
            }
            location = /t {
                content_by_lua_block {
                    package.loaded.seen = {}
                    local sock = ngx.socket.tcp()
                    sock:connect("127.0.0.1", ngx.var.server_port)
                    sock:send("GET /handler HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
                    ngx.sleep(0.03)
                    sock:close()
                    ngx.sleep(0.6)
                    ngx.say(table.concat(package.loaded.seen, ", "))
                }
            }
END
        $block->set_value( 'request', 'GET /t' );
        return;
    }
);

run_tests();

__DATA__

=== TEST 1: the callback runs, the handler goes on
--- handler
    log[#log + 1] = tostring(ngx.on_abort(function() log[#log + 1] = "aborted in " .. ngx.get_phase() end))
    ngx.sleep(0.4)
    log[#log + 1] = "done"
--- response_body
1, aborted in content, done
--- error_log
client prematurely closed connection
--- no_error_log
[error]



=== TEST 2: the callback ends the handler
--- handler
    ngx.on_abort(function() log[#log + 1] = "aborted" ngx.exit(499) end)
    ngx.thread.spawn(function() ngx.sleep(0.4) log[#log + 1] = "thread" end)
    ngx.sleep(0.4)
    log[#log + 1] = "done"
--- response_body
aborted
--- no_error_log
[error]



=== TEST 3: the handler waits for a callback that waits
--- handler
    ngx.on_abort(function()
        ngx.sleep(0.4)
        log[#log + 1] = "callback"
    end)
    ngx.sleep(0.25)
    log[#log + 1] = "entry"
--- response_body
entry, callback
--- no_error_log
[error]



=== TEST 4: in each kind of wait, and in access_by_lua
--- phase: access
--- handler
    ngx.on_abort(function() log[#log + 1] = "aborted" ngx.exit(499) end)
    local sem = require("ngx.semaphore").new()
    log[#log + 1] = tostring(select(2, ngx.thread.wait(ngx.thread.spawn(sem.wait, sem, 1))))
--- response_body
aborted
--- no_error_log
[error]



=== TEST 5: an error in the callback
--- handler
    ngx.on_abort(function() error("oops") end)
    ngx.sleep(0.4)
    log[#log + 1] = "done"
--- response_body
done
--- error_log eval
qr/lua user thread aborted: runtime error: content_by_lua\(nginx\.conf:\d+\):\d+: oops/



=== TEST 6: a client that stays
--- config
    location = /t {
        lua_check_client_abort on;
        content_by_lua_block {
            ngx.say(ngx.on_abort(function() ngx.log(ngx.ERR, "aborted") end))
            ngx.say(ngx.on_abort(function() ngx.log(ngx.ERR, "aborted") end))
            ngx.sleep(0.01)
            ngx.say("done")
        }
    }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["1\nnilduplicate call\ndone\n", "1\nnilduplicate call\ndone\n"]
--- no_error_log
[error]



=== TEST 7: once a handler: the next phase may register again
--- config
    location = /t {
        lua_check_client_abort on;
        access_by_lua_block {
            ngx.ctx.ok = ngx.on_abort(function() ngx.log(ngx.ERR, "aborted") end)
            ngx.sleep(0.001)
        }
        content_by_lua_block {
            ngx.say(ngx.ctx.ok, ngx.on_abort(function() ngx.log(ngx.ERR, "aborted") end))
            ngx.sleep(0.001)
        }
    }
--- request
GET /t
--- response_body
11
--- no_error_log
[error]



=== TEST 8: lua_check_client_abort is off, and other errors
--- config
    location = /t {
        content_by_lua_block {
            ngx.say(ngx.on_abort(function() end))
            ngx.say(pcall(ngx.on_abort))
            local err
            ngx.timer.at(0, function() err = select(2, pcall(ngx.on_abort, function() end)) end)
            ngx.sleep(0.01)
            ngx.say(err)
        }
    }
--- request
GET /t
--- response_body_like
^nillua_check_client_abort is off
falsebad argument #1 to '\?' \(function expected, got no value\)
.*API disabled in the context of ngx\.timer
$



=== TEST 9: without a callback the request ends, also when a phase before had one
--- config
    location = /handler {
        lua_check_client_abort on;
        access_by_lua_block {
            ngx.on_abort(function() package.loaded.seen = "callback" end)
            ngx.sleep(0.001)
        }
        content_by_lua_block { ngx.sleep(0.4) package.loaded.seen = "not ended" }
    }
    location = /t {
        content_by_lua_block {
            package.loaded.seen = "ended"
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", ngx.var.server_port)
            sock:send("GET /handler HTTP/1.1\r\nHost: localhost\r\n\r\n")
            ngx.sleep(0.03)
            sock:close()
            ngx.sleep(0.6)
            ngx.say(package.loaded.seen)
        }
    }
--- request
GET /t
--- response_body
ended
--- no_error_log
[error]



=== TEST 10: while another thread reads the body
--- config
    location = /handler {
        lua_check_client_abort on;
        content_by_lua_block {
            local seen = package.loaded.seen
            ngx.on_abort(function() seen[#seen + 1] = "callback" ngx.exit(499) end)
            ngx.thread.spawn(function()
                local sock = ngx.req.socket()
                seen[#seen + 1] = tostring(select(2, sock:receive(100)))
            end)
            ngx.sleep(0.4)
            seen[#seen + 1] = "done"
        }
    }
    location = /t {
        content_by_lua_block {
            package.loaded.seen = {}
            local sock = ngx.socket.tcp()
            sock:connect("127.0.0.1", ngx.var.server_port)
            sock:send("POST /handler HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
            ngx.sleep(0.03)
            sock:close()
            ngx.sleep(0.6)
            ngx.say(table.concat(package.loaded.seen, ", "))
        }
    }
--- request
GET /t
--- response_body
client aborted, callback



=== TEST 11: HTTP/2 is served, too
--- config
    location = /t {
        lua_check_client_abort on;
        content_by_lua_block {
            ngx.say(ngx.on_abort(function() ngx.log(ngx.ERR, "aborted") end))
            ngx.sleep(0.01)
            ngx.say("done")
        }
    }
--- http2
--- request
GET /t
--- response_body
1
done
--- no_error_log
[error]



=== TEST 12: HTTP/2: a stream that is reset, a connection that ends
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 http2;
        location = /handler {
            lua_check_client_abort on;
            content_by_lua_block {
                local seen, how = package.loaded.seen, ngx.var.arg_how
                ngx.on_abort(function()
                    ngx.sleep(0.01)
                    seen[#seen + 1] = how .. " aborted"
                    if how == "exit" then ngx.exit(499) end
                end)
                ngx.sleep(how == "exit" and 30 or 0.2)
                seen[#seen + 1] = how .. " done"
            }
        }
        location = /other { content_by_lua_block { ngx.req.read_body() ngx.sleep(0.1) ngx.say("other") } }
    }
--- config
    location = /t {
        content_by_lua_block {
            local seen = {}
            package.loaded.seen = seen
            local client = require("h2").connect($TEST_NGINX_RAND_PORT_1)
            local other = client:post("/other")
            client:data(other, "", true)
            local a, b = client:post("/handler?how=exit"), client:post("/handler?how=on")
            ngx.sleep(0.05)
            client:reset(a)
            client:reset(b)
            -- Another stream is none the worse.
            client:say(other)
            ngx.sleep(0.2)
            local c = client:post("/handler?how=exit")
            local d = client:post("/handler?how=on")
            ngx.sleep(0.05)
            client:close()
            ngx.sleep(0.3)
            ngx.say(table.concat(seen, ", "))
        }
    }
--- request
GET /t
--- response_body
200
other
exit aborted, on aborted, on done, exit aborted, on aborted, on done
--- no_error_log
[error]
[alert]
