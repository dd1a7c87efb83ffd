# However a ClientHello arrives, and whatever comes in its place, while the server
# waits in its handshakes.
use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Socket qw( IPPROTO_TCP TCP_NODELAY );
use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::TLS;

my $ca = $ENV{TEST_NGINX_CA};
my ( $lua, $plain, $proxy, $early, $other ) = map { reserve_port() } 1 .. 5;

sub server {
    my ( $port, $listen, $code, $name ) = @_;
    $name ||= 'a.test';
    return <<"END";
server {
    listen 127.0.0.1:$port $listen;
    server_name $name;
    ssl_certificate $ca/good.pem;
    ssl_certificate_key $ca/good.key;
    $code
    location = /t { content_by_lua_block { ngx.say(ngx.var.proxy_protocol_addr, " ", ngx.var.remote_addr) } }
}
END
}
my $code = <<'END';
ssl_client_hello_by_lua_block {
    ngx.sleep(0.02)
    ngx.log(ngx.WARN, "hello of ", require "ngx.ssl".server_name())
}
ssl_certificate_by_lua_block { ngx.sleep(0.02) }
END
my $nginx = Test::Nginx::Instance->start(
    main => 'worker_processes 1;',
    http => 'error_log logs/error.log info; ssl_protocols TLSv1.2 TLSv1.3; client_header_timeout 5s;'
        . server( $lua, 'ssl', $code )
        . server( $plain, 'ssl', '' )
        . server( $early, 'ssl', 'ssl_client_hello_by_lua_block { ngx.sleep(0) }' )
        . server( $proxy, 'ssl proxy_protocol', $code )
        . server( $other, 'ssl', '' )
        . server( $other, 'ssl', $code, 'b.test' ),
    server => 'location = /ok { content_by_lua_block { ngx.say(ngx.worker.pid()) } }',
);
chomp( my $pid = $nginx->get('/ok') );

sub dial {
    my ($port) = @_;
    my $socket = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port ) or die $!;
    $socket->autoflush(1);
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    return $socket;
}

# What the server sends until it closes, or to nobody's surprise has nothing to say.
sub answer {
    my ( $socket, $seconds ) = @_;
    my $all = '';
    my $select = IO::Select->new($socket);
    while ( $select->can_read( $seconds || 3 ) ) {
        last if !sysread $socket, $all, 65536, length $all;
    }
    return $all;
}

# The same bytes get the same answer where Lua runs and where it does not.
sub same {
    my ( $name, $bytes, $like ) = @_;
    my @answers = map {
        my $socket = dial($_);
        syswrite $socket, $bytes;
        shutdown $socket, 1 if $name =~ /, the end$/;
        answer($socket);
    } $lua, $plain;
    is( unpack( 'H*', $answers[0] ), unpack( 'H*', $answers[1] ), "$name: as without Lua" );
    like( $answers[0], $like, "$name: the answer" );
    return;
}

my $alert = sub { my ($code) = @_; return qr/\A\x15\x03.\x00\x02\x02\Q$code\E\z/s };
my $hello = hello_of( sni => 'a.test' );
same( 'plain HTTP', "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", qr{^HTTP/1\.1 400 .*The plain HTTP request was sent to HTTPS port}s );
same( 'an alert', "\x15\x03\x01\x00\x02\x02\x28\r\n", qr{^HTTP/1\.1 400 } );
same( 'another record',      "\x16\x03\x01\x00\x04\x02\x00\x00\x00", $alert->("\x0a") );
same( 'a record too long',   "\x16\x03\x01\x48\x01" . 'x' x 100, $alert->("\x16") );
same( 'a message too long',  "\x16\x03\x01\x00\x04\x01\x02\x02\x01", $alert->("\x2f") );
same( 'a damaged length',    do { my $h = $hello; substr( $h, 43, 1 ) = "\xff"; $h }, $alert->("\x32") );
same( 'a damaged extension', do { my $h = $hello; $h =~ s/\x00\x00\x06a\.test/\x00\x00\x16a.test/; $h }, $alert->("\x32") );
same( 'a zero in the name',  do { my $h = $hello; $h =~ s/a\.test/a\0test/; $h }, $alert->("p") );
same( 'half a hello, the end', substr( $hello, 0, 60 ), qr/\A\z/ );
same( 'nothing, the end', '', qr/\A\z/ );
same( 'SSLv2', "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" . 'x' x 37, qr/\A\x15|\A\z/ );
same( 'garbage after 0x80', "\x80garbage that is no hello at all", qr/\A/ );

# TLS 1.2 in the format of SSLv2
my $v2 = pack( 'C n n n n', 1, 0x0303, 3 * 3, 0, 16 ) . pack( 'Cn' x 3, 0, 0xc02b, 0, 0xc02c, 0, 0x00ff ) . 'r' x 16;
same( 'a hello in the format of SSLv2', pack( 'n', 0x8000 | length $v2 ) . $v2, $alert->("\x28") );
like( $nginx->log, qr/hello of nil,/, 'and Lua has seen it' );

# A relay in between that cuts the stream up.
sub relayed {
    my ( $cut, %option ) = @_;
    socketpair my $client, my $far, IO::Socket::AF_UNIX(), IO::Socket::SOCK_STREAM(), 0 or die $!;
    my $server = dial($lua);
    my $relay  = fork // die $!;
    if ( !$relay ) {
        close $client;
        my $select = IO::Select->new( $far, $server );
        while ( my @ready = $select->can_read(5) ) {
            for my $from (@ready) {
                sysread $from, my $bytes, 65536 or POSIX::_exit(0);
                if ( $from == $server ) { syswrite $far, $bytes; next }
                for my $piece ( $cut->($bytes) ) {
                    syswrite $server, $piece;
                    sleep 0.0005;
                }
            }
        }
        POSIX::_exit(0);
    }
    close $far;
    close $server;
    bless $client, 'IO::Handle';
    my $got = tls( 0, on => $client, sni => 'a.test', path => '/t', %option );
    kill KILL => $relay;
    waitpid $relay, 0;
    return $got;
}

my $bytewise = sub { return split //, $_[0] };
# Records of 50 bytes each
my $records = sub {
    my ($bytes) = @_;
    return $bytes if $bytes !~ s/\A\x16(\x03\x01)..//s;
    my $version = $1;
    return map {"\x16$version" . pack( 'n', length ) . $_ } $bytes =~ /(.{1,50})/gs;
};
for my $version (qw( 1.2 1.3 )) {
    is( relayed( $bytewise, version => $version )->{body}, "nil 127.0.0.1\n", "a byte at a time, TLS $version" );
    is( relayed( $records, version => $version )->{body}, "nil 127.0.0.1\n", "records of 50 bytes, TLS $version" );
    is( relayed( sub { return map { split // } $records->( $_[0] ) }, version => $version )->{body},
        "nil 127.0.0.1\n", "both, TLS $version" );
}

# The hello with more extensions before its own; in records as large as may be.
sub extended {
    my (@extensions) = @_;
    my $body = substr $hello, 9;
    my $at   = 35 + ord substr $body, 34, 1;
    $at += 2 + unpack 'n', substr $body, $at, 2;
    $at += 2;
    my $list = join '', @extensions, substr $body, $at + 2;
    $body = substr( $body, 0, $at ) . pack( 'n', length $list ) . $list;
    my $message = "\x01" . substr( pack( 'N', length $body ), 1 ) . $body;
    return map {"\x16\x03\x01" . pack( 'n', length ) . $_ } $message =~ /(.{1,16384})/gs;
}

sub said {
    my ( $port, @bytes ) = @_;
    my $socket = dial($port);
    syswrite $socket, join '', @bytes;
    return answer( $socket, 1 );
}
my $padding = pack( 'nn', 21, 60_000 ) . "\0" x 60_000;
like( said( $lua, extended($padding) ), qr/\A\x16\x03\x03/, 'a ClientHello of 60 KB is answered' );
like( said( $lua, "\x16\x03\x01\x00\x00", $hello ), qr/\A\x16\x03\x03/, 'so is one after an empty record' );

# What OpenSSL takes and we do not: no handshake without the handlers
my $twice = pack( 'nn', 0xfefe, 0 );
my @cut   = map { "\x16\x03\x01" . pack( 'n', length ) . $_ } map { substr( $_, 0, 50 ), substr $_, 50 } substr $hello, 5;
like( said( $plain, extended( $twice, $twice ) ), qr/\A\x16/, 'OpenSSL takes an extension that is there twice' );
unlike( said( $_, extended( $twice, $twice ) ), qr/\A\x16/, 'where handlers are to run there is no handshake' ) for $lua, $early;
my @refusals = (
    qr/\[error\] .*ssl_certificate_by_lua: it could not run for this connection while SSL handshaking, client: 127.*:$lua/,
    qr/\[error\] .*TLS handshake refused: its ClientHello cannot be understood while SSL handshaking, client: 127.*:$early/,
);
like( $nginx->log, $_, 'error.log says why' ) for @refusals;
like( said( $early, $hello ), qr/\A\x16/, 'with others there is one' );
same( 'a warning in between', join( "\x15\x03\x01\x00\x02\x01\x5a", @cut ), qr/\A\x15/ );

# A client that ends with its hello: nobody waits for it
{
    my $socket = dial($lua);
    syswrite $socket, $hello;
    shutdown $socket, 1;
    is( answer( $socket, 2 ), '', 'a client that ends with its hello' );

    # Nor for more, where there is nothing to run. The worker sees both at once.
    my @answers = map {
        kill STOP => $pid;
        my $socket = dial($_);
        syswrite $socket, $hello;
        shutdown $socket, 1;
        sleep 0.05;
        kill CONT => $pid;
        my $start = time;
        my $said  = length answer( $socket, 4 );
        [ $said > 700, time - $start < 3 ];
    } $plain, $other;
    is_deeply( \@answers, [ ( [ 1, 1 ] ) x 2 ], 'it is answered where no handler is meant, and closed' );
}

# OpenSSL's own refusal: what client and error.log are told
{
    my $none = $hello;
    my $at   = 44 + ord substr $none, 43, 1;
    substr( $none, $at + 2, unpack 'n', substr $none, $at, 2 ) =~ s/../\x00\x05/gs;
    same( 'no cipher in common', $none, qr/\A\x15\x03.\x00\x02\x02\x28\z/s );
    my @lines = $nginx->log =~ /\[info\] .*SSL_do_handshake\(\) failed \(SSL: .*no shared cipher.*?\) while SSL handshaking, client: 127.*:(\d+)$/mg;
    is_deeply( [ @lines[ -2, -1 ] ], [ $lua, $plain ], 'and error.log, the same' );
}

# PROXY protocol
for my $version (qw( 1.2 1.3 )) {
    is( tls( $proxy, sni => 'a.test', version => $version, path => '/t', before => "PROXY TCP4 192.0.2.7 192.0.2.8 5000 443\r\n" )
            ->{body}, "192.0.2.7 127.0.0.1\n", "PROXY protocol before TLS $version" );
}

is( $nginx->get('/ok'), "$pid\n", 'the worker lives' );
like( $nginx->log, qr/hello of a\.test, context: ssl_client_hello_by_lua\*, client: 127/, 'Lua ran' );
my $rest = join '', grep { my $line = $_; !grep { $line =~ $_ } @refusals } split /^/, $nginx->log;
unlike( $rest, qr/\[alert\]|\[emerg\]|panicked|\[error\]/, 'no trouble' );
done_testing();
