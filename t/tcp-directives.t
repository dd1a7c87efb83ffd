# The lua_socket_* directives in http, server, location and if.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use File::Temp qw( tempdir );
use IO::Socket::UNIX;

blackhole();

# A socket that takes connections and never reads.
my $dir = tempdir( 'deaf_XXXXXX', TMPDIR => 1, CLEANUP => 1 );
$ENV{DEAF_SOCKET} = "$dir/sock";
my $deaf = IO::Socket::UNIX->new( Local => "$dir/sock", Listen => 64 ) or die "listen: $!";
chmod 0755, $dir;
chmod 0777, "$dir/sock";
env_to_nginx('DEAF_SOCKET');

# One location a level; "probe.lua" shows what applies.
my $PROBE = <<'END';
local t = require "puppet"
local function took(f, ...)
    local seconds = t.timed(f, ...)
    return seconds >= 0.05 and seconds < 8 and "soon" or seconds
end
local what = ngx.var.arg_what
local sock = ngx.socket.tcp()
if what == "connect" then
    ngx.say(took(sock.connect, sock, "127.0.0.1", tonumber(os.getenv("TEST_NGINX_BLACKHOLE_PORT"))))
elseif what == "read" then
    sock:connect("127.0.0.1", t.port)
    sock:send("mute\n")
    ngx.say(took(sock.receive, sock))
elseif what == "send" then
    -- TCP would make some late progress when it probes the full window.
    sock:connect("unix:" .. os.getenv("DEAF_SOCKET"))
    ngx.say(took(sock.send, sock, ("x"):rep(20000000)))
elseif what == "keepalive" then
    local before = t.fds()
    sock:connect("127.0.0.1", t.port)
    sock:send("echo\n")
    sock:setkeepalive()
    ngx.say(took(function() while t.fds() > before do ngx.sleep(0.01) end end))
elseif what == "pool" then
    local before, socks = t.fds(), {}
    for i = 1, 6 do socks[i] = t.open("hold", { pool = ngx.var.uri }) end
    for i = 1, 6 do socks[i]:setkeepalive() end
    ngx.say(t.fds() - before)
elseif what == "data" then
    sock = t.open("say:first%0D%0A0123456789second%0A--x--the-rest fill:100000")
    assert(sock:receive() == "first")
    assert(sock:receive(10) == "0123456789")
    assert(sock:receive() == "second")
    assert(sock:receiveuntil("x--")() == "--")
    assert(#sock:receive("*a") == 100008)
    ngx.say("ok")
end
END

my @levels = qw( http server location if );

add_block_preprocessor(
    sub {
        my ($block) = @_;
        my ( $directive, $values ) = ( $block->directive, $block->values );
        my %line;
        @line{@levels} = map {"$directive $_;"} split ' ', $values;
        $block->set_value( 'user_files', ">>> probe.lua\n$PROBE" );
        my $http = $block->http_config;
        $block->set_value( 'http_config', <<"END" . $http );
lua_socket_log_errors off;
$line{http}
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_1;
    location = /http { content_by_lua_file html/probe.lua; }
}
server {
    listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_2;
    $line{server}
    location = /server { content_by_lua_file html/probe.lua; }
}
END
        $block->set_value( 'config', <<"END" );
location = /http { proxy_pass http://127.0.0.1:\$TEST_NGINX_RAND_PORT_1; }
location = /server { proxy_pass http://127.0.0.1:\$TEST_NGINX_RAND_PORT_2; }
location = /location {
    $line{location}
    content_by_lua_file html/probe.lua;
}
location = /if {
    $line{location}
    if (\$arg_what) {
        $line{if}
        content_by_lua_file html/probe.lua;
    }
}
END
        my $what = $block->what;
        $block->set_value( 'request', [ map {"GET /$_?what=$what"} split ' ', $block->levels || "@levels" ] );
        my @expected = split ' ', $block->expected;
        $block->set_value( 'response_body', [ map {"$_\n"} @expected ] );
        $block->set_value( 'no_error_log', '[error]' );
    }
);

no_shuffle();
run_tests();

__DATA__

=== TEST 1: lua_socket_connect_timeout of http
--- directive: lua_socket_connect_timeout
--- values: 60ms 60ms 60ms 60ms
--- what: connect
--- expected: soon soon soon soon



=== TEST 2: lua_socket_connect_timeout of an inner level instead of the outer one
--- directive: lua_socket_connect_timeout
--- values: 60s 60ms 60s 60ms
--- what: connect
--- levels: server if
--- expected: soon soon



=== TEST 3: lua_socket_connect_timeout of a location
--- directive: lua_socket_connect_timeout
--- values: 60s 60s 60ms 60s
--- what: connect
--- levels: location
--- expected: soon



=== TEST 4: lua_socket_read_timeout of http
--- directive: lua_socket_read_timeout
--- values: 60ms 60ms 60ms 60ms
--- what: read
--- expected: soon soon soon soon



=== TEST 5: lua_socket_read_timeout of an inner level instead of the outer one
--- directive: lua_socket_read_timeout
--- values: 60s 60ms 60s 60ms
--- what: read
--- levels: server if
--- expected: soon soon



=== TEST 6: lua_socket_read_timeout of a location
--- directive: lua_socket_read_timeout
--- values: 60s 60s 60ms 60s
--- what: read
--- levels: location
--- expected: soon



=== TEST 7: lua_socket_send_timeout of http
--- directive: lua_socket_send_timeout
--- values: 60ms 60ms 60ms 60ms
--- what: send
--- expected: soon soon soon soon



=== TEST 8: lua_socket_send_timeout of an inner level instead of the outer one
--- directive: lua_socket_send_timeout
--- values: 60s 60ms 60s 60ms
--- what: send
--- levels: server if
--- expected: soon soon



=== TEST 9: lua_socket_send_timeout of a location
--- directive: lua_socket_send_timeout
--- values: 60s 60s 60ms 60s
--- what: send
--- levels: location
--- expected: soon



=== TEST 10: lua_socket_keepalive_timeout of http
--- directive: lua_socket_keepalive_timeout
--- values: 60ms 60ms 60ms 60ms
--- what: keepalive
--- expected: soon soon soon soon



=== TEST 11: lua_socket_keepalive_timeout of an inner level instead of the outer one
--- directive: lua_socket_keepalive_timeout
--- values: 60s 60ms 60s 60ms
--- what: keepalive
--- levels: server if
--- expected: soon soon



=== TEST 12: lua_socket_keepalive_timeout of a location
--- directive: lua_socket_keepalive_timeout
--- values: 60s 60s 60ms 60s
--- what: keepalive
--- levels: location
--- expected: soon



=== TEST 13: lua_socket_pool_size
--- directive: lua_socket_pool_size
--- values: 2 3 4 5
--- what: pool
--- expected: 2 3 4 5



=== TEST 14: lua_socket_buffer_size: results do not depend on it
--- directive: lua_socket_buffer_size
--- values: 1 7 64k 1m
--- what: data
--- expected: ok ok ok ok
