package Test::Nginx::Puppet;

# A TCP server that does what its client asks for, and short blocks that use it:
#
#   use Test::Nginx::Socket::Lua 'no_plan';
#   use Test::Nginx::Puppet;
#
#   run_tests();
#   __DATA__
#   === TEST 1: a line
#   --- lua
#   local sock = open("say:hello%0A hold")
#   show(sock:receive())
#   --- response_body
#   "hello"
#
# The first line that the client sends is a script of commands, done in order;
# then the server closes. "%0A" stands for a byte.
#
#   say:TEXT         sends TEXT          fill:N           sends N bytes
#   drip:SEC:TEXT    byte by byte        repeat:SEC:TEXT  without end
#   wait:SEC         does nothing        line, read:N     receives
#   sip:SEC:N        receives N bytes, at most 64 KB each SEC
#   echo             sends back what it receives
#   count            receives to the end of file, sends how many bytes came
#   half             ends its own sending        hold     waits for the client's end
#   mute             neither receives nor ends   reset    closes with RST
#
#   tls:NAME[:1.2|:1.3][:client]   begins TLS with a certificate of Test::Nginx::CA
#                    (to be used before this module);
#                    "client" wants one of root's from the client, too
#   about            sends what it knows of the TLS connection
#   renegotiate      asks for a new handshake (TLS 1.2)
#   cut              closes without a farewell of TLS
#
# A block with a "lua" section is a location /t with that code and one request for it;
# t/lib/lua/puppet.lua has what the code may call; `talk` and `post`, and `c` for the
# rest of t/lib/lua/client.lua, send requests to the nginx that runs the code. Unless such a block says what
# error.log holds, nothing at "error" or above may be in it.

use strict;
use warnings;

use Cwd qw( abs_path );
use Exporter qw( import );
use File::Basename qw( dirname );
use Socket qw( IPPROTO_TCP SOL_SOCKET SO_LINGER SO_RCVBUF SO_REUSEADDR TCP_NODELAY
    AF_INET SOCK_STREAM inet_aton pack_sockaddr_in unpack_sockaddr_in );
use Time::HiRes qw( sleep );

use Test::Nginx::Peer ();
use Test::Nginx::Socket ();

our @EXPORT = qw( blackhole lua_library );

my $ROOT    = abs_path( dirname(__FILE__) . '/../../../..' );
my @LUA_DIR = ( "$ROOT/t/lib/lua", $ENV{TEST_NGINX_LUA_DIR} || "$ROOT/build/lua" );
my $PATH    = join ';', map( {"$_/?.lua"} @LUA_DIR ), ';';
my $PREFIX  = 'local t = require "puppet"; '
    . 'local open, show, fails, port, eventually = t.open, t.show, t.fails, t.port, t.eventually; '
    . 'local shook = t.shook; local c = require "client"; local talk, post = c.talk, c.post; ';

Test::Nginx::Socket::add_block_preprocessor(
    sub {
        my ($block) = @_;
        my $lua = $block->lua;
        my $http = defined $block->http_config ? $block->http_config : '';
        $http = qq{lua_package_path "$PATH";\n$http} if $http !~ /lua_package_path/;
        $block->set_value( 'http_config', $http );
        return if !defined $lua;

        my $before = defined $block->location_config ? $block->location_config : '';
        my $config = defined $block->config ? $block->config : '';
        my $own    = "location = /t {\n$before\ncontent_by_lua_block { $PREFIX\n$lua } }\n";
        $block->set_value( 'config',  $own . $config );
        $block->set_value( 'request', 'GET /t' ) if !defined $block->request;
        my $says = grep { defined $block->$_ } qw( error_log no_error_log grep_error_log );
        $block->set_value( 'no_error_log', "[error]\n[crit]\n[alert]" ) if !$says;
        return;
    }
);

# Whether a library that is not part of this project was unpacked for the tests.
sub lua_library {
    my ($name) = @_;
    return scalar grep { -e "$_/$name" } @LUA_DIR;
}

# A loopback port at which a connect gets no answer: its queue of connections that
# wait to be accepted is full. Sets TEST_NGINX_BLACKHOLE_PORT.
my @plugs;

sub blackhole {
    socket my $listener, AF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
    bind $listener, pack_sockaddr_in( 0, inet_aton('127.0.0.1') ) or die "bind: $!\n";
    listen $listener, 0 or die "listen: $!\n";
    my $address = getsockname $listener;
    for ( 1 .. 4 ) {
        socket my $plug, AF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
        $plug->blocking(0);
        connect $plug, $address;
        push @plugs, $plug;
    }
    push @plugs, $listener;
    ( $ENV{TEST_NGINX_BLACKHOLE_PORT} ) = unpack_sockaddr_in($address);
    Test::Nginx::Socket::env_to_nginx('TEST_NGINX_BLACKHOLE_PORT');
    return;
}

my %COMMAND = (
    say    => sub { _send( $_[0], $_[1] ) },
    fill   => \&_fill,
    drip   => sub {
        my ( $socket, $pause, $text ) = @_;
        _send( $socket, $_ ), sleep $pause for split //, $text;
    },
    repeat => sub {
        my ( $socket, $pause, $text ) = @_;
        return _fill( $socket, 1e15, $text x 64 ) if !$pause;
        sleep $pause while _send( $socket, $text );
    },
    wait  => sub { sleep $_[1] },
    line  => sub { _line( $_[0] ) },
    read  => sub { _receive( $_[0], $_[1] ) },
    sip   => sub {
        my ( $socket, $pause, $n ) = @_;
        while ( $n > 0 ) {
            sleep $pause;
            my $got = sysread $socket, my $bytes, $n < 65_536 ? $n : 65_536;
            last if !$got;
            $n -= $got;
        }
    },
    echo  => sub {
        my ($socket) = @_;
        while ( sysread $socket, my $bytes, 65_536 ) { _send( $socket, $bytes ) }
    },
    count => sub {
        my ($socket) = @_;
        my $n = 0;
        while ( my $got = sysread $socket, my $bytes, 65_536 ) { $n += $got }
        _send( $socket, "$n\n" );
    },
    half  => sub { shutdown $_[0], 1 },
    hold  => sub { _receive( $_[0] ) },
    mute  => sub { sleep 3600 },
    reset => sub { setsockopt $_[0], SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 },
    tls   => \&_tls,
    about => sub {
        my ($socket) = @_;
        my $client = $socket->peer_certificate('commonName');
        my $name   = $socket->get_servername;
        $_ = defined $_ ? $_ : '-' for $client, $name;
        _send( $socket, $socket->get_sslversion . " name=$name client=$client\n" );
    },
    renegotiate => sub {
        my $ssl = $_[0]->_get_ssl_object;
        Net::SSLeay::renegotiate($ssl);
        Net::SSLeay::do_handshake($ssl);
    },
    cut => sub { $_[0]->close( SSL_no_shutdown => 1 ) },
);

sub _serve {
    my ($socket) = @_;
    local $SIG{PIPE} = 'IGNORE';
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    my $script = _line($socket);
    for ( split ' ', $script ) {
        my ( $name, @arguments ) = split /:/, $_, -1;
        # TEXT may have colons in it.
        @arguments = ( shift @arguments, join ':', @arguments ) if $name =~ /^(?:drip|repeat)$/;
        @arguments = join ':', @arguments if $name eq 'say';
        s/%([0-9A-F]{2})/chr hex $1/ge for @arguments;
        my $command = $COMMAND{$name} or die "no command \"$name\"\n";
        $command->( $socket, @arguments );
    }
    close $socket;
    return;
}

sub _tls {
    my ( $socket, $name, @options ) = @_;
    my $files = "$ENV{TEST_NGINX_CA}/$name";
    my ($version) = map { tr/./_/r } grep {/^1/} @options;
    my $client = grep { $_ eq 'client' } @options;
    IO::Socket::SSL->start_SSL(
        $socket,
        SSL_server      => 1,
        SSL_cert_file   => "$files.pem",
        SSL_key_file    => "$files.key",
        SSL_version     => $version ? "TLSv$version" : 'SSLv23:!SSLv3:!SSLv2',
        # With the authority at hand the server would send it along.
        $client
        ? ( SSL_verify_mode => 3, SSL_ca_file => "$ENV{TEST_NGINX_CA}/root.pem" )
        : ( SSL_verify_mode => 0 ),
    ) or exit;
    return;
}

sub _send {
    my ( $socket, $bytes ) = @_;
    my $at = 0;
    while ( $at < length $bytes ) {
        my $sent = syswrite $socket, $bytes, length($bytes) - $at, $at or return 0;
        $at += $sent;
    }
    return 1;
}

sub _fill {
    my ( $socket, $n, $chunk ) = @_;
    $chunk = '0123456789abcdef' x 65_536 if !defined $chunk;
    while ( $n > 0 ) {
        my $size = $n < length $chunk ? $n : length $chunk;
        _send( $socket, substr $chunk, 0, $size ) or return;
        $n -= $size;
    }
    return;
}

# Byte by byte: what follows the line is for the commands.
sub _line {
    my ($socket) = @_;
    my $line = '';
    while ( sysread $socket, my $byte, 1 ) {
        return $line if $byte eq "\n";
        $line .= $byte;
    }
    return $line;
}

sub _receive {
    my ( $socket, $n ) = @_;
    while ( !defined $n || $n > 0 ) {
        my $got = sysread $socket, my $bytes, defined $n && $n < 65_536 ? $n : 65_536;
        return if !$got;
        $n -= $got if defined $n;
    }
    return;
}

# Begun last: the server, and its processes, are copies of this one.
require IO::Socket::SSL if $INC{'Test/Nginx/CA.pm'};
Test::Nginx::Peer->tcp( PUPPET => \&_serve );
Test::Nginx::Socket::env_to_nginx('TEST_NGINX_PUPPET_PORT');
Test::Nginx::Socket::timeout(10);

1;
