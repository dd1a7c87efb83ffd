# One handler that makes handshakes, takes sessions up again, and pools TLS connections without
# end does not grow; nor does the server in the same worker, or a handler that sends and receives
# datagrams. More rounds with TEST_NGINX_ROUNDS in the environment.

use Test::Nginx::Socket::Lua;
use Test::Nginx::CA;
use Test::Nginx::Peer;
use Test::Nginx::Puppet;

plan skip_all => 'memory is not to be measured in this mode'
    if $ENV{TEST_NGINX_USE_VALGRIND} || $ENV{NGX_COSOCKET_GC_STRESS};
plan 'no_plan';

Test::Nginx::Peer->udp( ECHO => sub { return $_[0] } );
$ENV{TEST_NGINX_ROUNDS} ||= 3_000;
env_to_nginx('TEST_NGINX_ROUNDS');
log_level('warn');
timeout(600);

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( http_config => $block->http_config . <<'END' );
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
    server {
        listen unix:$TEST_NGINX_HTML_DIR/tls.sock ssl;
        ssl_certificate $TEST_NGINX_CA/good.pem;
        ssl_certificate_key $TEST_NGINX_CA/good.key;
        keepalive_requests 1000000;
        location / { return 200 "ok"; }
    }
END
        $block->set_value( response_body => "true true 0\n" );
        $block->set_value( error_log     => 'rounds in' );
        $block->set_value( no_error_log  => '[error]' );
    }
);

run_tests();

__DATA__

=== TEST 1: handshake, request, close
--- lua
require "rounds" (function()
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/tls.sock"))
    assert(sock:sslhandshake(nil, "a.test", true))
    assert(sock:send("GET / HTTP/1.0\r\n\r\n"))
    assert(sock:receive("*a"):sub(-2) == "ok")
    sock:close()
end, 7000) -- up to a thousand sessions wait for the collector



=== TEST 2: sessions are taken up again
--- lua
local session
require "rounds" (function(i)
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/tls.sock"))
    session = assert(sock:sslhandshake(session, "a.test", true))
    assert(sock:send("GET / HTTP/1.0\r\n\r\n"))
    assert(sock:receive("*a"):sub(-2) == "ok")
    session = sock:getsslsession() or session
    assert(sock:close())
end, 1500)



=== TEST 3: pooled, and handshakes that fail
--- location_config
    lua_socket_log_errors off;
--- lua
require "rounds" (function(i)
    local sock = ngx.socket.tcp()
    assert(sock:connect("unix:$TEST_NGINX_HTML_DIR/tls.sock"))
    if i % 20 == 0 then
        return assert(not sock:sslhandshake(nil, "wrong.example", true))
    end
    assert(sock:sslhandshake(false, "a.test", true))
    assert(sock:send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert(sock:receiveuntil("\r\n\r\nok")())
    assert(sock:setkeepalive())
end, 1500)



=== TEST 4: datagrams
--- lua
require "rounds" (function(i)
    local sock = ngx.socket.udp()
    assert(sock:setpeername("127.0.0.1", $TEST_NGINX_ECHO_PORT))
    assert(sock:send("hello"))
    assert(sock:receive() == "hello")
    assert(sock:close())
end)
