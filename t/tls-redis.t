# A real server over TLS: Redis, with Debian's client library.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Peer;
use Test::Nginx::CA;

if ( !Test::Nginx::Peer->has('redis-server') ) {
    plan( skip_all => 'no redis-server' );
}
my $ca = $ENV{TEST_NGINX_CA};
Test::Nginx::Peer->command(
    REDIS => [
        qw( redis-server --port 0 --tls-port %PORT% --bind 127.0.0.1 --appendonly no --daemonize no ),
        '--save', '', '--dir', $ca,
        '--tls-cert-file', "$ca/good.pem", '--tls-key-file', "$ca/good.key",
        '--tls-ca-cert-file', "$ca/root.pem", '--tls-auth-clients', 'yes',
    ]
);
plan( 'no_plan' );

run_tests();

__DATA__

=== TEST 1: pipelines over pooled connections, client certificate required
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_ssl_certificate $TEST_NGINX_CA/client.pem;
lua_ssl_certificate_key $TEST_NGINX_CA/client.key;
--- config
location = /t {
    content_by_lua_block {
        local function command(...)
            local words = { ... }
            for i, word in ipairs(words) do
                words[i] = "$" .. #word .. "\r\n" .. word .. "\r\n"
            end
            return "*" .. #words .. "\r\n" .. table.concat(words)
        end
        for round = 1, 3 do
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
            assert(sock:sslhandshake(false, "a.test", true))
            local list = {}
            for i = 1, 100 do
                list[i] = command("set", "key" .. i, ("v"):rep(i * 100)) .. command("get", "key" .. i)
            end
            assert(sock:send(list))
            for i = 1, 100 do
                assert(sock:receive() == "+OK")
                assert(sock:receive() == "$" .. i * 100)
                assert(sock:receive(i * 100) == ("v"):rep(i * 100))
                assert(sock:receive() == "")
            end
            ngx.say(sock:getreusedtimes(), " ", sock:setkeepalive())
        end
    }
}
--- request
GET /t
--- response_body
0 1
1 1
2 1
--- no_error_log
[error]
[alert]



=== TEST 2: refused without a certificate
--- config
location = /t {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", $TEST_NGINX_REDIS_PORT))
        local ok, err = sock:sslhandshake(false)
        if ok then
            sock:send("PING\r\n")
            ok, err = sock:receive()
        end
        ngx.say(ok, " ", err)
    }
}
--- request
GET /t
--- response_body_like
^nil (?:protocol error|connection reset by peer|handshake failed)$
