# A certificate that ssl_certificate_by_lua* fetches from Redis, with Debian's client
# library, while the handshake waits; many at a time.
use strict;
use warnings;

use Test::More;

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Peer;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::TLS;

plan skip_all => 'no redis-server' if !Test::Nginx::Peer->has('redis-server');
Test::Nginx::Peer->redis;

my $ca   = $ENV{TEST_NGINX_CA};
my $port = reserve_port();
my $nginx = Test::Nginx::Instance->start(
    main => 'worker_processes 2; env TEST_NGINX_CA; env TEST_NGINX_REDIS_PORT;',
    http => <<"END",
error_log logs/error.log info;
ssl_protocols TLSv1.2 TLSv1.3;
init_by_lua_block {
    local redis = require "nginx.redis"
    function with_redis(f)
        local red = redis:new()
        red:set_timeout(5000)
        assert(red:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_REDIS_PORT"))))
        local results = { f(red) }
        assert(red:set_keepalive(10000, 100))
        return unpack(results)
    end
}
server {
    listen 127.0.0.1:$port ssl;
    ssl_certificate $ca/expired.pem;
    ssl_certificate_key $ca/expired.key;
    ssl_certificate_by_lua_block {
        local ssl = require "ngx.ssl"
        local name = ssl.server_name()
        local cert, key = with_redis(function(red)
            return assert(red:get("cert:" .. name)), assert(red:get("key:" .. name))
        end)
        if cert == ngx.null then
            ngx.log(ngx.WARN, "no certificate of ", name)
            return ngx.exit(ngx.ERROR)
        end
        assert(ssl.clear_certs())
        assert(ssl.set_der_cert(assert(ssl.cert_pem_to_der(cert))))
        assert(ssl.set_der_priv_key(assert(ssl.priv_key_pem_to_der(key))))
    }
    location = /t { return 200 "\$ssl_server_name\\n"; }
}
END
    server => <<'END' );
location = /store {
    content_by_lua_block {
        local function read(name)
            return assert(io.open(os.getenv("TEST_NGINX_CA") .. "/" .. name, "rb")):read("*a")
        end
        with_redis(function(red)
            for host, name in pairs { ["one.test"] = "good", ["two.test"] = "rsa", ["three.test"] = "deep" } do
                assert(red:set("cert:" .. host, read(name .. ".pem")))
                assert(red:set("key:" .. host, read(name .. ".key")))
            end
        end)
        ngx.say("stored")
    }
}
END

like( tls( $port, sni => 'one.test' )->{error}, qr/alert internal error/, 'before it is stored' );
is( $nginx->get('/store'), "stored\n", 'certificates are stored' );

my %expected = ( 'one.test' => 'good', 'two.test' => 'rsa', 'three.test' => 'deep' );
my @clients = map {
    my $pid = fork // die $!;
    if ( !$pid ) {
        $nginx->{status} = 0;    # not ours to stop
        my $bad = 0;
        for my $version (qw( 1.2 1.3 )) {
            for my $sni ( sort keys %expected ) {
                my $got = tls( $port, sni => $sni, version => $version, path => '/t' );
                $bad++ if $got->{error} || $got->{cn} ne $expected{$sni} || $got->{body} ne "$sni\n";
            }
        }
        POSIX::_exit($bad);
    }
    $pid;
} 1 .. 20;
my $bad = 0;
for my $client (@clients) {
    waitpid $client, 0;
    $bad += $? >> 8 || ( $? ? 1 : 0 );
}
is( $bad, 0, 'a hundred and twenty handshakes, twenty at a time' );
like( tls( $port, sni => 'four.test' )->{error}, qr/alert internal error/, 'a name that is not there' );
like( $nginx->log, qr/no certificate of four\.test, context: ssl_certificate_by_lua\*, client/, 'error.log' );
unlike( $nginx->log, qr/\[alert\]|\[emerg\]|panicked|\[error\]/, 'no trouble' );
done_testing();
