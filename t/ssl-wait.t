# Handlers of a handshake that wait, and what may happen meanwhile.
use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Peer;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::TLS;

my $ca = $ENV{TEST_NGINX_CA};
my ( $port, $short ) = map { reserve_port() } 1 .. 2;
Test::Nginx::Peer->tcp(
    ECHO => sub {
        my ($socket) = @_;
        while ( my $line = <$socket> ) { print {$socket} $line }
    }
);

sub server {
    my ( $name, $code, %option ) = @_;
    my $listen = $option{port} || $port;
    return <<"END";
server {
    listen 127.0.0.1:$listen ssl;
    server_name $name;
    ssl_certificate $ca/good.pem;
    ssl_certificate_key $ca/good.key;
    @{[ $option{more} || '' ]}
    $code
    location = /t { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
}
END
}

my $all = <<'END';
local function all()
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", tonumber(os.getenv("TEST_NGINX_ECHO_PORT"))))
    assert(sock:send(ngx.get_phase() .. "\n"))
    local answer = assert(sock:receive())
    assert(sock:setkeepalive())
    ngx.sleep(0.001)
    local sema = assert(require "ngx.semaphore".new())
    local thread = ngx.thread.spawn(function() ngx.sleep(0.001) sema:post() return "thread" end)
    assert(sema:wait(5))
    local _, light = assert(ngx.thread.wait(thread))
    local timed = assert(require "ngx.semaphore".new())
    assert(ngx.timer.at(0, function() timed:post() end))
    assert(timed:wait(5))
    ngx.ctx.list = (ngx.ctx.list or "") .. answer .. ":" .. light .. " "
    ngx.log(ngx.WARN, "all: ", ngx.ctx.list)
end
all()
END
my $wait = 'ssl_certificate_by_lua_block { ngx.log(ngx.WARN, "waiting") ngx.sleep(tonumber(require "ngx.ssl".server_name():match("^%d+")) / 1000) ngx.log(ngx.WARN, "waited") }';

sub start {
    my (%option) = @_;
    return Test::Nginx::Instance->start(
        main => "worker_processes 1; env TEST_NGINX_ECHO_PORT; @{[ $option{main} || '' ]}",
        http => 'error_log logs/error.log info; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off;'
            . "ssl_session_fetch_by_lua_block { if not ngx.ctx.none then $all end }"
            . server( 'all.test', "ssl_client_hello_by_lua_block { $all } ssl_certificate_by_lua_block { $all }" )
            . server( '*.wait.test', "ssl_client_hello_by_lua_block { ngx.ctx.none = true } $wait" )
            . server( 'short.test', "ssl_client_hello_by_lua_block { ngx.ctx.none = true } $wait",
                port => $short, more => 'client_header_timeout 1s;' ),
        server => 'location = /ok { content_by_lua_block { ngx.say(ngx.worker.pid()) } }',
    );
}

sub eventually {
    my ($check) = @_;
    my $deadline = time + 5;
    until ( $check->() ) {
        return 0 if time > $deadline;
        sleep 0.02;
    }
    return 1;
}

my $nginx = start();
chomp( my $pid = $nginx->get('/ok') );

sub descriptors {
    my ($pid) = @_;
    return scalar( my @all = glob "/proc/$pid/fd/*" );
}

# All that can wait, in all phases that can
{
    my $first = tls( $port, sni => 'all.test', version => '1.2' );
    my $got   = tls( $port, sni => 'all.test', version => '1.2', session => $first->{session}, path => '/t' );
    is( $got->{body}, "$pid\n", 'all three phases waited' );
    like( $nginx->log, qr/all: ssl_client_hello:thread ssl_session_fetch:thread ssl_cert:thread ,/,
        'for all there is, in their order, with one ngx.ctx' );
    is( tls( $port, sni => 'all.test', version => '1.3', path => '/t' )->{body}, "$pid\n", 'TLS 1.3' );
}

# A client that goes
{
    my $before = descriptors($pid);
    for my $way (qw( close reset )) {
        my $client = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port );
        syswrite $client, hello_of( sni => '60000.wait.test' );
        sleep 0.3;
        is( descriptors($pid), $before + 1, "$way: the handler waits" );
        setsockopt $client, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack 'ii', 1, 0 if $way eq 'reset';
        close $client;
        ok( eventually( sub { descriptors($pid) == $before } ), "$way: the connection is closed at once" );
    }
    unlike( $nginx->log, qr/waited/, 'its handler ended' );
}

# One that sends more than it should before it goes
{
    my $before = descriptors($pid);
    my $client = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port );
    syswrite $client, hello_of( sni => '60000.wait.test' ) . 'x' x 10000;
    sleep 0.2;
    syswrite $client, 'y' x 10000;
    sleep 0.1;
    is( descriptors($pid), $before + 1, 'more bytes: the handler waits' );
    close $client;
    ok( eventually( sub { descriptors($pid) == $before } ), 'more bytes: the connection is closed' );
}

# client_header_timeout
for my $case ( [ 'a client that says nothing', '' ], [ 'half a ClientHello', substr( hello_of(), 0, 50 ) ],
    [ 'a handler that takes too long', hello_of( sni => '60000.wait.test' ) ] )
{
    my ( $name, $bytes ) = @$case;
    my $client = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $short );
    my $start = time;
    syswrite $client, $bytes if $bytes ne '';
    # No virtual server but short.test there: its handler reads the name
    my $closed = !sysread $client, my $answer, 100;
    ok( $closed && time - $start > 0.8 && time - $start < 4, "$name: closed after client_header_timeout" );
}
like( $nginx->log, qr/client timed out \(110: Connection timed out\) while SSL handshaking/, 'and error.log says so' );

# A reload in between: the old worker finishes its handshakes
{
    my $child = fork // die $!;
    if ( !$child ) {
        $nginx->{status} = 0;    # not ours to stop
        my $got = tls( $port, sni => '1500.wait.test', path => '/t' );
        POSIX::_exit( ( $got->{body} || '' ) eq "$pid\n" ? 0 : 1 );
    }
    sleep 0.5;
    $nginx->signal('HUP');
    ok( eventually( sub { my $new = $nginx->get('/ok'); defined $new && $new ne "$pid\n" } ), 'reload: there is a new worker' );
    waitpid $child, 0;
    is( $?, 0, 'reload: the handshake went on in the old one' );
    ok( eventually( sub { !kill 0 => $pid } ), 'reload: which ended then' );
    chomp( $pid = $nginx->get('/ok') );
}

# QUIT in between
{
    my $child = fork // die $!;
    if ( !$child ) {
        $nginx->{status} = 0;
        my $got = tls( $port, sni => '1000.wait.test', path => '/t' );
        POSIX::_exit( ( $got->{body} || '' ) eq "$pid\n" ? 0 : 1 );
    }
    sleep 0.5;
    $nginx->signal('QUIT');
    waitpid $child, 0;
    is( $?, 0, 'QUIT: the handshake went on' );
    ok( $nginx->ended(5), 'QUIT: nginx ended' );
}
my $log = $nginx->log;
unlike( $log, qr/\[alert\]|\[emerg\]|panicked|\[error\]/, 'no trouble' );

# worker_shutdown_timeout, and a fast end
for my $case ( [ 'worker_shutdown_timeout', 'worker_shutdown_timeout 1s;', 'QUIT' ], [ 'a fast end', '', 'TERM' ] ) {
    my ( $name, $main, $signal ) = @$case;
    my $nginx  = start( main => $main );
    my $client = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port );
    syswrite $client, hello_of( sni => '60000.wait.test' );
    ok( eventually( sub { $nginx->log =~ /waiting/ } ), "$name: the handler waits" );
    $nginx->signal($signal);
    ok( $nginx->ended(6), "$name: nginx ends" );
    unlike( $nginx->log, qr/\[alert\]|waited/, "$name: nothing is left open" );
}
done_testing();
