# ssl_session_fetch_by_lua*, ssl_session_store_by_lua* and the module
# ngx.ssl.session: sessions that are kept in Redis and shared by workers, and when
# ssl_certificate_by_lua* need not run.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Peer;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::TLS;

plan skip_all => 'no redis-server' if !Test::Nginx::Peer->has('redis-server');
Test::Nginx::Peer->redis;

my $ca = $ENV{TEST_NGINX_CA};
my ( $ids, $tickets, $cached ) = map { reserve_port() } 1 .. 3;

sub server {
    my ( $port, $more ) = @_;
    return <<"END";
server {
    listen 127.0.0.1:$port ssl;
    server_name a.test;
    ssl_certificate $ca/good.pem;
    ssl_certificate_key $ca/good.key;
    $more
    ssl_certificate_by_lua_block { ngx.log(ngx.WARN, "certificate ", ngx.var == nil) }
    location = /t { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
}
END
}

my $http = <<'END';
init_by_lua_block {
    local redis = require "nginx.redis"
    function command(name, ...)
        local red = redis:new()
        assert(red:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_REDIS_PORT"))))
        local answer = assert(red[name](red, ...))
        assert(red:set_keepalive())
        return answer
    end
}
ssl_session_fetch_by_lua_block {
    local session = require "ngx.ssl.session"
    local id = assert(session.get_session_id())
    ngx.log(ngx.WARN, "fetch ", #id, " ", ngx.get_phase())
    if mode() == "error" then error("fetch failed") end
    local found = command("get", id)
    if found ~= ngx.null then
        assert(session.set_serialized_session(found) == true)
    end
    ngx.log(ngx.WARN, "bad session: ", select(2, session.set_serialized_session("bad")))
}
ssl_session_store_by_lua_block {
    local session = require "ngx.ssl.session"
    local id, bytes = assert(session.get_session_id()), assert(session.get_serialized_session())
    ngx.log(ngx.WARN, "store ", #id, " ", ngx.get_phase(), " ", require "ngx.ssl".server_name())
    ngx.log(ngx.WARN, "masked: ", select(2, pcall(ngx.sleep, 0)), " ", select(2, pcall(ngx.socket.tcp)))
    if mode() == "exit" then ngx.exit(ngx.ERROR) end
    if mode() == "yield" then coroutine.yield() end
    if mode() == "store error" then error("store failed") end
    assert(ngx.timer.at(0, function() command("set", id, bytes) ngx.log(ngx.WARN, "kept") end))
}
init_worker_by_lua_block {
    local current = ""
    function mode(new)
        if new then current = new end
        return current
    end
}
END

my $nginx = Test::Nginx::Instance->start(
    main => 'worker_processes 1; env TEST_NGINX_REDIS_PORT;',
    http => "error_log logs/error.log info; ssl_protocols TLSv1.2 TLSv1.3; $http"
        . server( $ids, 'ssl_session_tickets off;' )
        . server( $tickets, '' )
        . server( $cached, 'ssl_session_tickets off; ssl_session_cache shared:S:1m;' ),
    server => 'location = /ok { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
        location /mode/ { content_by_lua_block { ngx.say(mode(ngx.unescape_uri(ngx.var.uri:sub(7)))) } }',
);

sub eventually {
    my ($check) = @_;
    my $deadline = time + 5;
    until ( $check->() ) {
        return 0 if time > $deadline;
        sleep 0.02;
    }
    return 1;
}

# What the handlers did since the last call
my $seen = 0;
sub done {
    my $log = substr $nginx->log, $seen;
    $seen += length $log;
    return join ' ', $log =~ /\] \d+#\d+: \*\d+ \[lua\] [^ ]+ (certificate|fetch|store|kept)\b/g;
}

for my $version (qw( 1.2 1.3 )) {
    done();
    my $first = tls( $ids, sni => 'a.test', version => $version, path => '/t' );
    ok( !$first->{reused}, "ids, TLS $version: a full handshake" );
    ok( eventually( sub { $nginx->log =~ /kept(?!.*store)/s } ), "ids, TLS $version: the session is kept" );
    like( done(), qr/^certificate store/, "ids, TLS $version: what ran" );

    # Another worker, which cannot have it but from Redis
    chomp( my $pid = $nginx->get('/ok') );
    $nginx->signal('HUP');
    ok( eventually( sub { !kill 0, $pid } ), 'the worker has left' );
    done();
    my $second = tls( $ids, sni => 'a.test', version => $version, path => '/t', session => $first->{session} );
    ok( $second->{reused}, "ids, TLS $version: the session is resumed" );
    ok( defined $second->{body} && $second->{body} ne $first->{body}, "ids, TLS $version: by another worker" );
    like( done(), qr/^fetch\b(?!.*certificate)/, "ids, TLS $version: only the session was fetched" );
}

# An unknown id
{
    my $known = tls( $cached, sni => 'a.test', version => '1.2' );
    chomp( my $pid = $nginx->get('/ok') );
    $nginx->signal('HUP');
    eventually( sub { !kill 0, $pid } );
    done();
    ok( tls( $cached, sni => 'a.test', version => '1.2', session => $known->{session}, path => '/t' )->{reused},
        "nginx's own cache has it" );
    like( done(), qr/^fetch(?!.*certificate)/, 'and no certificate was needed' );
    my $other = tls( $ids, sni => 'a.test', version => '1.2' )->{session};
    $nginx->get('/mode/error');
    done();
    my $got = tls( $ids, sni => 'a.test', version => '1.2', session => $other, path => '/t' );
    ok( !$got->{reused} && !$got->{error}, 'a failure to fetch is a full handshake' );
    like( done(), qr/^fetch certificate store/, 'for which a certificate is needed' );
    like( $nginx->log, qr/runtime error: ssl_session_fetch_by_lua\(nginx\.conf:\d+\):\d+: fetch failed/, 'and a line in error.log' );
    $nginx->get('/mode/');
}

# Tickets: neither of the handlers, and no certificate
for my $version (qw( 1.2 1.3 )) {
    done();
    my $first = tls( $tickets, sni => 'a.test', version => $version, path => '/t' );
    unlike( done(), qr/fetch/, "tickets, TLS $version: a full handshake" );
    my $second = tls( $tickets, sni => 'a.test', version => $version, path => '/t', session => $first->{session} );
    ok( $second->{reused} && $second->{body} eq $first->{body}, "tickets, TLS $version: the session is resumed" );
    unlike( done(), qr/certificate|fetch/, "tickets, TLS $version: without Lua" );
    my $third = tls( $ids, sni => 'a.test', version => $version, path => '/t', session => $first->{session} );
    ok( !$third->{reused} && !$third->{error}, "tickets, TLS $version: they are no good elsewhere" );
    like( done(), qr/certificate/, "tickets, TLS $version: there a certificate is needed" );
}

# Ends of the store handler
for my $case ( [ 'exit', undef ], [ 'yield', qr/\[error\] .*ssl_session_store_by_lua: attempt to yield, context: ssl_session_store_by_lua\*, client/ ],
    [ 'store error', qr/runtime error: ssl_session_store_by_lua\(nginx\.conf:\d+\):\d+: store failed/ ] )
{
    my ( $mode, $log ) = @$case;
    $nginx->get( '/mode/' . $mode =~ s/ /%20/r );
    is( tls( $ids, sni => 'a.test', version => '1.2', path => '/t' )->{error}, undef, "$mode: the handshake goes on" );
    like( $nginx->log, $log, "$mode: error.log" ) if $log;
}
my $log = $nginx->log;
like( $log, qr/fetch 64 ssl_session_fetch, context: ssl_session_fetch_by_lua\*, client: 127/, 'an id in hex' );
like( $log, qr/store 64 ssl_session_store a\.test, context: ssl_session_store_by_lua\*, client: 127/, 'and that of a new session' );
like( $log, qr/bad session: d2i_SSL_SESSION\(\) failed,/, 'a bad session' );
is( scalar( () = $log =~ /masked: .*?API disabled in the context of ssl_session_store_by_lua\* .*?API disabled in the context of ssl_session_store_by_lua\*,/g ) > 0,
    1, 'nothing waits in the store handler' );
unlike( $log, qr/\[alert\]|\[emerg\]|panicked/, 'no trouble' );
done_testing();
