# How TLS connections end: the farewell, what can be read after it, descriptors.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

# Tells how the client ended TLS: 1 is a farewell.
Test::Nginx::Peer->tcp( FAREWELL => sub {
    my ($socket) = @_;
    my $name = '';
    1 while $name !~ /\n/ && sysread $socket, $name, 1, length $name;
    IO::Socket::SSL->start_SSL( $socket, SSL_server => 1, SSL_version => 'TLSv1_2',
        SSL_cert_file => "$ENV{TEST_NGINX_CA}/good.pem", SSL_key_file => "$ENV{TEST_NGINX_CA}/good.key" )
        or exit;
    1 while sysread $socket, my $bytes, 65536;
    my $ssl = $socket->_get_ssl_object;
    my $received = Net::SSLeay::get_shutdown($ssl) & 2 ? 'farewell' : 'cut';
    open my $file, '>>', "$ENV{TEST_NGINX_CA}/endings";
    syswrite $file, "$received $name";
} );
env_to_nginx('TEST_NGINX_FAREWELL_PORT');

run_tests();

__DATA__

=== TEST 1: every way to close says farewell
--- config
location = /end {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        local how = ngx.var.arg_how
        sock:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_FAREWELL_PORT")), { pool = how })
        sock:send(how .. "\n")
        assert(sock:sslhandshake(false))
        sock:send("data")
        if how == "close" then
            sock:close()
        elseif how == "reconnect" then
            sock:connect("127.0.0.1", 1)
        elseif how == "collect" then
            sock = nil
            collectgarbage() collectgarbage()
        elseif how == "pool" then
            sock:setkeepalive(50)
        end
        ngx.say("ok")
    }
}
location = /endings {
    content_by_lua_block {
        ngx.sleep(0.3)
        local lines = {}
        for line in io.lines(os.getenv("TEST_NGINX_CA") .. "/endings") do
            lines[#lines + 1] = line
        end
        table.sort(lines)
        ngx.say(table.concat(lines, "\n"))
    }
}
--- request eval
[ ( map {"GET /end?how=$_"} qw( close reconnect collect pool end ) ), 'GET /endings' ]
--- response_body eval
[ ("ok\n") x 5, "farewell close\nfarewell collect\nfarewell end\nfarewell pool\nfarewell reconnect\n" ]
--- error_log
connect() failed



=== TEST 2: nothing is left open
--- lua
local t = require "puppet"
local function round()
    for _, script in ipairs {
        "tls:good say:x", "tls:good hold", "tls:good reset cut", "tls:good:1.2 half hold", "reset", "hold"
    } do
        local sock = open(script)
        sock:settimeout(50)
        if sock:sslhandshake(false) then
            sock:receive("*a")
        end
        sock:close()
    end
end
round()
local before = t.fds()
for _ = 1, 5 do
    round()
end
show(t.fds() - before)
--- response_body
0
--- location_config
lua_socket_log_errors off;
--- timeout: 10



=== TEST 3: close when one half is closed already
--- lua
local sock = open("tls:good")
assert(sock:sslhandshake(false))
show(sock:receive())
show(sock:send("x"))
show(sock:close())
show(sock:close())
show(sock:receive())
show(sock:sslhandshake())
--- response_body
nil "closed" ""
1
1
nil "closed"
nil "closed"
nil "closed"
--- error_log
attempt to receive data on a closed socket



=== TEST 4: a client that goes while a handshake waits
--- config
location = /t {
    lua_check_client_abort on;
    content_by_lua_block {
        local sock = require("puppet").open("hold")
        ngx.log(ngx.WARN, "waiting")
        sock:sslhandshake()
    }
}
--- request
GET /t
--- abort
--- timeout: 0.2
--- wait: 0.3
--- ignore_response
--- error_log
waiting
--- no_error_log
[error]



=== TEST 5: handshakes under way when the worker is told to end
--- config
location = /t {
    content_by_lua_block {
        local sock = require("puppet").open("hold")
        sock:sslhandshake()
    }
}
--- request
GET /t
--- timeout: 0.2
--- abort
--- ignore_response
