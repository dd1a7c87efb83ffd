# Thousands of handshakes, fifty at a time, of every kind: neither descriptors nor
# memory are left behind. And where no directive is used, no hook is installed.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::TLS;

plan skip_all => 'memory is not measured in this mode' if $ENV{TEST_NGINX_USE_VALGRIND};

my $ca = $ENV{TEST_NGINX_CA};
my ( $lua, $free ) = map { reserve_port() } 1 .. 2;
my $certificate = <<"END";
listen 127.0.0.1:$lua ssl;
ssl_certificate $ca/expired.pem;
ssl_certificate_key $ca/expired.key;
END
my $nginx = Test::Nginx::Instance->start(
    main => 'worker_processes 1; env TEST_NGINX_CA;',
    http => <<"END",
error_log logs/error.log error;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_ecdh_curve X25519:P-256;
init_by_lua_block {
    local ssl = require "ngx.ssl"
    local function read(name)
        return assert(io.open("$ca/" .. name, "rb")):read("*a")
    end
    cert, key = read("good.pem"), read("good.key")
}
server {
    server_name default.test;
    $certificate
    ssl_client_hello_by_lua_block { ngx.sleep(0.002) }
}
server {
    server_name set.test;
    $certificate
    ssl_certificate_by_lua_block {
        local ssl = require "ngx.ssl"
        ngx.ctx.sleep = ngx.sleep(0.002)
        assert(ssl.clear_certs())
        assert(ssl.set_cert(assert(ssl.parse_pem_cert(cert))))
        assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(key))))
        assert(ssl.verify_client(assert(ssl.parse_pem_cert(cert)), 2))
        assert(ngx.thread.spawn(ngx.sleep, 0.001))
    }
    location = /t { return 200 "\$ssl_server_name\\n"; }
}
server {
    server_name refuse.test;
    $certificate
    ssl_certificate_by_lua_block { ngx.sleep(0.001) ngx.exit(ngx.ERROR) }
}
server {
    server_name slow.test;
    $certificate
    ssl_certificate_by_lua_block { ngx.sleep(3600) }
}
server {
    server_name free.test;
    listen 127.0.0.1:$free ssl;
    ssl_certificate $ca/good.pem;
    ssl_certificate_key $ca/good.key;
    location = /t { return 200 "free\\n"; }
}
END
    server => 'location = /ok { content_by_lua_block {
        collectgarbage() collectgarbage()
        ngx.say(ngx.worker.pid(), " ", math.floor(collectgarbage("count")))
    } }',
);

sub state_of {
    my ( $pid, $lua ) = split ' ', $nginx->get('/ok');
    open my $in, '<', "/proc/$pid/statm" or die $!;
    my ( undef, $pages ) = split ' ', <$in>;
    return { pid => $pid, lua => $lua, rss => 4 * $pages, fds => scalar( () = glob "/proc/$pid/fd/*" ) };
}

# One handshake of each kind
sub round {
    my ($slow) = @_;
    my $bad = 0;
    for my $version (qw( 1.2 1.3 )) {
        my $got = tls( $lua, sni => 'set.test', version => $version, path => '/t' );
        $bad++ if ( $got->{body} || '' ) ne "set.test\n";
        $got = tls( $lua, sni => 'set.test', version => $version, session => $got->{session} );
        $bad++ if !$got->{reused};
        $bad++ if tls( $lua, sni => 'set.test', version => $version, groups => 'P-521:X25519:P-256' )->{error};
        $bad++ if !tls( $lua, sni => 'refuse.test', version => $version )->{error};
        $bad++ if tls( $lua, sni => 'none.test', version => $version )->{error};
    }
    # Clients that go while Lua waits, or before
    for my $bytes ( hello_of( sni => 'slow.test' ), substr( hello_of(), 0, 99 ), "\x16\x03\x01\x00\x04\x02\0\0\0", '' ) {
        my $socket = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $lua ) or return 99;
        syswrite $socket, $bytes if $bytes ne '';
        sleep $slow;
    }
    return $bad;
}

sub rounds {
    my ( $clients, $rounds ) = @_;
    my @clients = map {
        my $pid = fork // die $!;
        if ( !$pid ) {
            $nginx->{status} = 0;    # not ours to stop
            my $bad = 0;
            $bad += round(0.002) for 1 .. $rounds;
            POSIX::_exit( $bad > 99 ? 99 : $bad );
        }
        $pid;
    } 1 .. $clients;
    my $bad = 0;
    for my $client (@clients) {
        waitpid $client, 0;
        $bad += $? >> 8 || ( $? ? 1 : 0 );
    }
    return $bad;
}

is( rounds( 50, 2 ), 0, 'the first handshakes are as they should' );
sleep 0.5;
my $before = state_of();
is( rounds( 50, 4 ), 0, 'so are two thousand and eight hundred more' );
sleep 0.5;
my $after = state_of();
is( $after->{pid}, $before->{pid}, 'by one worker' );
cmp_ok( $after->{fds}, '<=', $before->{fds}, 'no descriptor is left' );
cmp_ok( $after->{rss}, '<', $before->{rss} + 1500, "memory of the worker: $before->{rss} KB, then $after->{rss} KB" );
cmp_ok( $after->{lua}, '<', $before->{lua} + 300, "memory of Lua: $before->{lua} KB, then $after->{lua} KB" );
is( $nginx->log =~ s/.*SSL.*\n//gr, '', 'nothing is in error.log' );

# Without the directives OpenSSL reads by itself: what it asks the kernel for at once
# is as much as fits, where Lua runs 4 KB.
SKIP: {
    skip 'no strace', 3 if system('strace -V >/dev/null 2>&1') || !kill 0 => $before->{pid};
    for my $case ( [ 'with', $lua, 'set.test', qr/recvfrom|read/ ], [ 'without', $free, 'free.test', undef ] ) {
        my ( $name, $port, $sni ) = @$case;
        my $trace = $nginx->prefix . "/trace.$name";
        my $strace = fork // die $!;
        if ( !$strace ) {
            open STDERR, '>', '/dev/null';
            exec 'strace', '-f', '-e', 'trace=read,recvfrom', '-o', $trace, '-p', $before->{pid} or POSIX::_exit(1);
        }
        sleep 1;
        my $got = tls( $port, sni => $sni, path => '/t' );
        sleep 0.3;
        kill INT => $strace;
        waitpid $strace, 0;
        my $text = $nginx->read("trace.$name");
        skip 'strace is not allowed', 3 if $text !~ /recvfrom|read\(/;
        my @reads = $text =~ /^\d+ +read\(\d+, .*, (\d+)\) += \d/mg;
        if ( $name eq 'with' ) {
            is( $reads[0], 4096, 'with directives the first read is ours' );
            cmp_ok( ( grep { $_ == 4096 } @reads ), '==', 1, 'and no other' );
        }
        else {
            is( scalar( grep { $_ == 4096 } @reads ), 0, 'without directives none is' );
        }
    }
}
done_testing();
