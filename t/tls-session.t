# TLS sessions: TLS 1.2 and 1.3, tickets that arrive late, verdicts that come with them.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;

BEGIN {
    add_block_preprocessor(
        sub {
            my ($block) = @_;
            $block->set_value( 'http_config', $main::http );
            $block->set_value( 'lua', $main::lua . $block->lua ) if defined $block->lua;
        }
    );
}

use Test::Nginx::Puppet;

our $http = <<'_';
ssl_certificate $TEST_NGINX_CA/good.pem;
ssl_certificate_key $TEST_NGINX_CA/good.key;
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_protocols TLSv1.2;
    location / { return 200 "$ssl_protocol $ssl_session_reused"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_2 ssl;
    ssl_protocols TLSv1.3;
    location / { return 200 "$ssl_protocol $ssl_session_reused"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_3 ssl;
    ssl_protocols TLSv1.2;
    ssl_session_tickets off;
    ssl_session_cache shared:ids:1m;
    location / { return 200 "$ssl_protocol $ssl_session_reused"; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    ssl_session_cache none;
    location / { return 200 "$ssl_protocol $ssl_session_reused"; }
}
init_by_lua_block {
    -- Resumes the sessions that were kept.
    function use()
        local t = require "puppet"
        for i, port in ipairs { $TEST_NGINX_RAND_PORT_1, $TEST_NGINX_RAND_PORT_2 } do
            for _, name in ipairs { "a.test", "b.test" } do
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", port)
                local session, err = sock:sslhandshake(package.loaded.kept[i], name, true)
                if session then
                    sock:send("GET / HTTP/1.0\r\n\r\n")
                    t.show((sock:receive("*a"):match("\r\n\r\n(.*)")))
                else
                    t.show(err)
                end
            end
        end
    end
}
_
our $lua = <<'_';
local ports = { $TEST_NGINX_RAND_PORT_1, $TEST_NGINX_RAND_PORT_2, $TEST_NGINX_RAND_PORT_3,
    $TEST_NGINX_RAND_PORT_4 }
local function get(sock)
    assert(sock:send("GET / HTTP/1.0\r\n\r\n"))
    return (sock:receive("*a"):match("\r\n\r\n(.*)"))
end
local function connect(i)
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", ports[i]))
    return sock
end
_
run_tests();

__DATA__

=== TEST 1: a session is resumed, and again
--- lua
for i = 1, 3 do
    local sock = connect(i)
    local session = assert(sock:sslhandshake(nil, "a.test"))
    show(get(sock))
    for _ = 1, 3 do
        sock = connect(i)
        assert(sock:sslhandshake(session, "a.test"))
        show(get(sock))
    end
end
--- response_body
"TLSv1.2 ."
"TLSv1.2 r"
"TLSv1.2 r"
"TLSv1.2 r"
"TLSv1.3 ."
"TLSv1.3 r"
"TLSv1.3 r"
"TLSv1.3 r"
"TLSv1.2 ."
"TLSv1.2 r"
"TLSv1.2 r"
"TLSv1.2 r"



=== TEST 2: each handshake's own session, as clients chain them
--- lua
for i = 1, 3 do
    local session
    for _ = 1, 3 do
        local sock = connect(i)
        session = assert(sock:sslhandshake(session, "a.test"))
        show(get(sock))
    end
end
--- response_body
"TLSv1.2 ."
"TLSv1.2 r"
"TLSv1.2 r"
"TLSv1.3 ."
"TLSv1.3 r"
"TLSv1.3 r"
"TLSv1.2 ."
"TLSv1.2 r"
"TLSv1.2 r"



=== TEST 3: TLS 1.3: no ticket was read before the handshake was over; the object gets it later
--- lua
local sock = connect(2)
local session = assert(sock:sslhandshake(nil, "a.test"))
shook(sock:getsslsession())
-- Not resumable yet, which does no harm.
local other = connect(2)
assert(other:sslhandshake(session, "a.test"))
show(get(other))
show(get(sock))
other = connect(2)
assert(other:sslhandshake(session, "a.test"))
show(get(other))
--- response_body_like eval
qr/^(?:nil "not resumable"|session)\n"TLSv1.3 [.r]"\n"TLSv1.3 \."\n"TLSv1.3 r"\n$/



=== TEST 4: a ticket that arrives while the connection is idle in its pool
--- lua
local sock = connect(2)
local session = assert(sock:sslhandshake(nil, "a.test"))
show(sock:setkeepalive())
for i = 1, 50 do
    ngx.sleep(0.1)
    if i % 5 == 0 then
        sock = connect(2)
        local resumable = sock:getsslsession()
        assert(sock:setkeepalive())
        if resumable then break end
    end
end
sock = connect(2)
show(sock:getreusedtimes() > 0)
shook(sock:sslhandshake(nil, "a.test"))
shook(sock:getsslsession())
show(get(sock))
sock = connect(2)
show(sock:getreusedtimes())
assert(sock:sslhandshake(session, "a.test"))
show(get(sock))
--- response_body
1
true
session
session
"TLSv1.3 ."
0
"TLSv1.3 r"



=== TEST 5: a server without sessions
--- lua
local sock = connect(4)
local session = assert(sock:sslhandshake(nil, "a.test"))
show(get(sock))
shook(sock:getsslsession())
sock = connect(4)
shook(sock:sslhandshake(session, "a.test"))
show(get(sock))
--- response_body
"TLSv1.3 ."
session
session
"TLSv1.3 ."



=== TEST 6: a session of another server, or protocol
--- lua
local sessions = {}
for i = 1, 3 do
    local sock = connect(i)
    sessions[i] = assert(sock:sslhandshake(nil, "a.test"))
    get(sock)
end
for i = 1, 3 do
    for j = 1, 3 do
        if i ~= j then
            local sock = connect(i)
            shook(sock:sslhandshake(sessions[j], "a.test"))
            show(get(sock))
        end
    end
end
--- response_body
session
"TLSv1.2 ."
session
"TLSv1.2 ."
session
"TLSv1.3 ."
session
"TLSv1.3 ."
session
"TLSv1.2 ."
session
"TLSv1.2 ."



=== TEST 7: a resumed session is verified like a new one
--- config
lua_socket_log_errors off;
location = /make {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        local kept = {}
        for i, port in ipairs { $TEST_NGINX_RAND_PORT_1, $TEST_NGINX_RAND_PORT_2 } do
            sock:connect("127.0.0.1", port)
            kept[i] = assert(sock:sslhandshake(nil, "a.test", ngx.var.arg_verify == "yes"))
            sock:send("GET / HTTP/1.0\r\n\r\n")
            sock:receive("*a")
        end
        package.loaded.kept = kept
        ngx.say("made")
    }
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
}
location = /make-without-trust {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        local kept = {}
        for i, port in ipairs { $TEST_NGINX_RAND_PORT_1, $TEST_NGINX_RAND_PORT_2 } do
            sock:connect("127.0.0.1", port)
            kept[i] = assert(sock:sslhandshake(nil, "a.test"))
            sock:send("GET / HTTP/1.0\r\n\r\n")
            sock:receive("*a")
        end
        package.loaded.kept = kept
        ngx.say("made")
    }
}
location = /use-without { content_by_lua_block { use() } }
location = /use-with-root {
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
    content_by_lua_block { use() }
}
location = /use-with-other {
    lua_ssl_trusted_certificate $TEST_NGINX_CA/other.pem;
    content_by_lua_block { use() }
}
location = /use-with-crl {
    lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
    lua_ssl_crl $TEST_NGINX_CA/crl.pem;
    content_by_lua_block { use() }
}
--- request eval
[ map { my $make = $_; map { ( "GET /$make", "GET /use-$_" ) } qw( without with-root with-other with-crl ) }
    qw( make make?verify=yes make-without-trust ) ]
--- response_body eval
[ map { ( "made\n", $_ ) } (
    qq{"20: unable to get local issuer certificate"\n} x 4,
    qq{"TLSv1.2 r"\n"certificate host mismatch"\n"TLSv1.3 r"\n"certificate host mismatch"\n},
    qq{"20: unable to get local issuer certificate"\n} x 4,
    qq{"TLSv1.2 r"\n"certificate host mismatch"\n"TLSv1.3 r"\n"certificate host mismatch"\n},
) x 3 ]



=== TEST 8: session objects that nobody keeps, and that outlive everything
--- lua
local sessions = {}
for round = 1, 20 do
    for i = 1, 3 do
        local sock = connect(i)
        sessions[#sessions + 1] = assert(sock:sslhandshake(sessions[#sessions], "a.test"))
        if round % 2 == 0 then get(sock) end
        sock:close()
    end
    if round % 5 == 0 then
        sessions = { sessions[#sessions] }
        collectgarbage()
    end
end
package.loaded.kept = sessions
show(#sessions)
--- response_body
1
