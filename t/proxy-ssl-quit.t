# proxy_ssl_certificate_by_lua* and proxy_ssl_verify_by_lua* that wait while
# nginx is reloaded, or leaves; servers that do not answer.
use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::CA;
use Test::Nginx::Instance;
use Test::Nginx::Peer;
use Test::Nginx::Ports qw( reserve_port );

my $ca   = $ENV{TEST_NGINX_CA};
my $port = reserve_port();
my $mute = Test::Nginx::Peer->tcp( MUTE => sub { sleep 60 } )->port;
my $rude = Test::Nginx::Peer->tcp( RUDE => sub { print { $_[0] } "220 mail.test ESMTP\r\n"; sleep 60 } )->port;

my $nginx = Test::Nginx::Instance->start(
    http => <<"END",
proxy_ssl_protocols TLSv1.2 TLSv1.3;
server {
    listen 127.0.0.1:$port ssl;
    ssl_certificate $ca/good.pem;
    ssl_certificate_key $ca/good.key;
    ssl_client_certificate $ca/root.pem;
    ssl_verify_client on;
    location / { return 200 "\$ssl_client_s_dn\\n"; }
}
init_by_lua_block {
    function certificate(pause)
        local ssl, cert, pem = require "ngx.ssl", require "ngx.ssl.proxysslcert", nil
        local function read(name) local f = assert(io.open("$ca/" .. name)) local text = f:read("*a") f:close() return text end
        ngx.log(ngx.WARN, "waiting")
        ngx.sleep(pause)
        assert(cert.set_cert(ssl.parse_pem_cert(read "client.pem")))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(read "client.key")))
    end
}
END
    server => <<"END",
location = /pid { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
location = /certificate {
    proxy_pass https://127.0.0.1:$port;
    proxy_ssl_certificate_by_lua_block { certificate(1.2) }
}
location = /verify {
    proxy_pass https://127.0.0.1:$port;
    proxy_ssl_certificate_by_lua_block { certificate(0) }
    proxy_ssl_verify_by_lua_block { ngx.log(ngx.WARN, "waiting") ngx.sleep(1.2) require "ngx.ssl.proxysslverify".set_verify_result(0) }
}
location = /long {
    proxy_pass https://127.0.0.1:$port;
    proxy_ssl_certificate_by_lua_block { certificate(100) }
}
location = /mute {
    proxy_connect_timeout 500ms;
    proxy_pass https://127.0.0.1:$mute;
    proxy_ssl_certificate_by_lua_block { certificate(0) }
    proxy_ssl_verify_by_lua_block { ngx.log(ngx.ALERT, "not reached") }
}
location = /rude {
    proxy_pass https://127.0.0.1:$rude;
    proxy_ssl_certificate_by_lua_block { certificate(0.1) }
    proxy_ssl_verify_by_lua_block { ngx.log(ngx.ALERT, "not reached") }
}
END
);

# Begins a request; returns a function that waits for its end and tells whether
# what came is as it should be.
sub request {
    my ( $path, $wanted ) = @_;
    my $child = fork;
    die "fork: $!" if !defined $child;
    if ( !$child ) {
        my $socket = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $nginx->port ) or POSIX::_exit(2);
        print {$socket} "GET $path HTTP/1.0\r\n\r\n";
        my $got = join '', <$socket>;
        POSIX::_exit( $got =~ $wanted ? 0 : 1 );
    }
    return sub { waitpid $child, 0; return $? };
}

# How often code has begun to wait.
sub waits {
    my $count = () = $nginx->log =~ /waiting while/g;
    return $count;
}

sub eventually {
    my ($f) = @_;
    my $end = time + 10;
    while ( time < $end ) { return 1 if $f->(); sleep 0.05 }
    return 0;
}

for my $case ( [ '/mute', qr/ 504 / ], [ '/rude', qr/ 502 / ] ) {
    is( request(@$case)->(), 0, "a server that does not answer with TLS: $case->[0]" );
}
like( $nginx->log, qr/SSL_do_handshake\(\) failed .*wrong version number|upstream prematurely sent response/, 'which error.log explains' );

my $pid = $nginx->get('/pid');
for my $path ( '/certificate', '/verify' ) {
    my $before  = waits();
    my $request = request( $path, qr/\r\n\r\nCN=client\n\z/ );
    my $more    = $path eq '/verify' ? 2 : 1;
    ok( eventually( sub { waits() == $before + $more } ), "$path waits" );
    $nginx->signal('HUP');
    ok( eventually( sub { my $new = $nginx->get('/pid'); defined $new && $new ne $pid } ), "$path: there is a new worker" );
    is( $request->(), 0, "$path: the old one went on" );
    $pid = $nginx->get('/pid');
}
{
    my $before  = waits();
    my $request = request( '/certificate', qr/\r\n\r\nCN=client\n\z/ );
    my $other   = request( '/verify', qr/\r\n\r\nCN=client\n\z/ );
    ok( eventually( sub { waits() == $before + 3 } ), 'QUIT: both wait' );
    $nginx->signal('QUIT');
    is( $request->() + $other->(), 0, 'QUIT: both went on' );
    ok( $nginx->ended(10), 'QUIT: nginx ended' );
}
unlike( $nginx->log, qr/\[alert\]|\[emerg\]|panicked|open socket/, 'no trouble' );

done_testing();
