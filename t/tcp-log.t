# What cosockets write to error.log, and that lua_socket_log_errors off writes none of it.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

blackhole();

# Every failure that has a line in error.log.
my $FAILURES = <<'END';
local t = require "puppet"
local function fresh(ms)
    local sock = ngx.socket.tcp()
    sock:settimeout(ms or 30)
    return sock
end
local function open(script, opts)
    local sock = fresh()
    assert(sock:connect("127.0.0.1", t.port, opts))
    sock:send(script .. "\n")
    return sock
end

local sock = fresh()
sock:send("x")
sock:receive()
sock:receiveany(1)
sock:receiveuntil("x")()

sock:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_BLACKHOLE_PORT")))
sock:connect("127.0.0.1", 1)
sock:connect("unix:/none/such.sock")

local limit = { pool = "limit", pool_size = 1, backlog = 1 }
local first = open("mute", limit)
sock:connect("127.0.0.1", t.port, limit)
sock:connect("127.0.0.1", t.port, { pool = "limit" })

sock = open("mute")
sock:receive()
sock:send(("x"):rep(20000000))

sock = open("reset")
ngx.sleep(0.3)
sock:receive()
sock:send("x")

sock = open("reset")
ngx.sleep(0.3)
sock:send("x")

sock = fresh()
sock:bind("198.51.100.1")
sock:connect("127.0.0.1", t.port)
ngx.say("done")
END

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( 'user_files', ">>> failures.lua\n$FAILURES" );
        $block->set_value( 'request', 'GET /t' );
        $block->set_value( 'response_body', "done\n" );
    }
);

log_level('info');
run_tests();

__DATA__

=== TEST 1: on, by default: each failure once, at the level "error", with the request
--- config
    location = /t { content_by_lua_file html/failures.lua; }
--- grep_error_log eval: qr/(?:attempt to|lua tcp|(?:connect|recv|send|bind)\().*?(?=, client: 127.0.0.1, server: localhost, request: "GET \/t HTTP\/1.1")/
--- grep_error_log_out eval
<<"END"
attempt to send data on a closed socket
attempt to receive data on a closed socket
attempt to receive data on a closed socket
attempt to receive data on a closed socket
lua tcp socket connect timed out, when connecting to 127.0.0.1:$ENV{TEST_NGINX_BLACKHOLE_PORT}
connect() failed (111: Connection refused)
connect() to unix:/none/such.sock failed (2: No such file or directory)
lua tcp socket queued connect timed out, when trying to connect to 127.0.0.1:$ENV{TEST_NGINX_PUPPET_PORT}
lua tcp socket queued connect timed out, when trying to connect to 127.0.0.1:$ENV{TEST_NGINX_PUPPET_PORT}
lua tcp socket read timed out
lua tcp socket write timed out
recv() failed (104: Connection reset by peer)
send() failed (32: Broken pipe)
send() failed (104: Connection reset by peer)
bind(198.51.100.1:0) failed (99: Cannot assign requested address)
END



=== TEST 2: off: not a line, nginx's own included
--- config
    location = /t {
        lua_socket_log_errors off;
        content_by_lua_file html/failures.lua;
    }
--- no_error_log
[error]
[crit]
[alert]
[warn]
failed
timed out



=== TEST 3: off in the server, on in the location
--- http_config
    lua_socket_log_errors off;
--- config
    lua_socket_log_errors off;
    location = /t {
        lua_socket_log_errors on;
        content_by_lua_file html/failures.lua;
    }
--- error_log
attempt to send data on a closed socket
attempt to receive data on a closed socket
lua tcp socket connect timed out
lua tcp socket queued connect timed out
lua tcp socket read timed out
lua tcp socket write timed out
connect() failed (111: Connection refused)



=== TEST 4: the closed socket of close, setkeepalive, getreusedtimes is no error to log
--- config
    location = /t {
        content_by_lua_block {
            local sock = ngx.socket.tcp()
            sock:close()
            sock:setkeepalive()
            sock:getreusedtimes()
            sock:connect("a/b", 1)
            sock:connect("x", 65536)
            local t = require "puppet"
            sock = t.open("")
            sock:receive("*a")
            sock:close()
            sock = t.open("")
            sock:receive()
            ngx.say("done")
        }
    }
--- no_error_log
[error]
