package Test::Nginx::Peer;

# Real and scripted servers beside nginx, on random loopback ports and private unix
# sockets, started by a .t file before run_tests() and stopped when it ends:
#
#   use Test::Nginx::Socket::Lua 'no_plan';
#   use Test::Nginx::Peer;
#
#   Test::Nginx::Peer->redis;        # $TEST_NGINX_REDIS_PORT, _REDIS_SOCK
#   Test::Nginx::Peer->memcached;    # $TEST_NGINX_MEMCACHED_PORT, _MEMCACHED_SOCK
#   Test::Nginx::Peer->dns( 'a.test' => '127.0.0.1' );      # $TEST_NGINX_DNS_PORT
#   Test::Nginx::Peer->tcp( ECHO => sub { my ($socket) = @_; ... } );
#   Test::Nginx::Peer->udp( ECHO => sub { my ($datagram) = @_; return $datagram } );
#   Test::Nginx::Peer->command( FOO => [ 'food', '--port', '%PORT%' ] );
#
# Each sets the environment variables named above, which blocks use as they are.

use strict;
use warnings;

use File::Path qw( remove_tree );
use File::Temp qw( tempdir );
use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::IP ();
use IO::Socket::UNIX ();
use POSIX ();
use Socket qw( SOCK_DGRAM );
use Time::HiRes qw( time );

use Test::Nginx::DNS ();
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::Process qw( spawn_helper reap_helper );
use Test::Nginx::Util qw( @CleanupHandlers $MainPid poll_until slurp );

my @running;
my $dir;

# Whether a program is installed, for "plan skip_all".
sub has {
    my ( undef, $program ) = @_;
    return scalar grep { -x "$_/$program" } split( /:/, $ENV{PATH} ), qw( /usr/sbin /usr/local/sbin );
}

sub redis {
    my ($class) = @_;
    my $sock = _dir() . '/redis.sock';
    return $class->command(
        REDIS => [
            qw( redis-server --bind 127.0.0.1 --port %PORT% --appendonly no
                --daemonize no --loglevel warning ), '--save', '',
            '--unixsocket', $sock, '--dir', _dir(),
        ],
        sock => $sock,
    );
}

# memcached listens either on TCP or on a unix socket: two processes, two stores.
sub memcached {
    my ($class) = @_;
    my @common = ( qw( memcached -m 64 -t 1 ), $> == 0 ? qw( -u root ) : () );
    $class->command( MEMCACHED => [ @common, qw( -l 127.0.0.1 -U 0 -p %PORT% ) ] );
    my $sock = _dir() . '/memcached.sock';
    return $class->command( MEMCACHED => [ @common, '-s', $sock, '-a', '0777' ],
        sock => $sock, port => 0 );
}

# Runs any server in the foreground. "%PORT%" in its arguments is a free port.
# Options: port (0: none), sock (path it will listen on), ready (sub telling when).
# Sets TEST_NGINX_<NAME>_PORT and _SOCK; returns an object with port, sock, pid,
# log and stop.
sub command {
    my ( $class, $name, $command, %option ) = @_;
    my $port = defined $option{port} ? $option{port} : reserve_port();
    my @argv = map { my $arg = $_; $arg =~ s/%PORT%/$port/g; $arg } @$command;
    my $log  = _dir() . '/' . lc($name) . ( $port ? '' : '_sock' ) . '.log';

    die "$argv[0] is not installed.\n" if $argv[0] !~ m{/} && !$class->has( $argv[0] );
    my $pid = spawn_helper(
        sub {
            open STDIN,  '<', '/dev/null';
            open STDOUT, '>', $log;
            open STDERR, '>&', \*STDOUT;
            exec {$argv[0]} @argv or die "cannot run $argv[0]: $!\n";
        }
    );
    my $self = $class->_remember( $name, pid => $pid, port => $port, sock => $option{sock}, log => $log );
    my $ready = $option{ready} || sub { $self->_listens };
    poll_until( 10, sub { $ready->($self) || waitpid( $pid, POSIX::WNOHANG() ) == $pid } );
    die "$name did not start: " . ( slurp($log) || '' ) . "\n" if !$ready->($self);
    return $self;
}

# A scripted TCP server that serves any number of connections at once, each by
# one call of $serve with the connected socket in a process of its own.
sub tcp {
    my ( $class, $name, $serve ) = @_;
    my $port     = reserve_port();
    my $listener = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $port,
        Listen    => 128,
        ReuseAddr => 1,
    ) or die "cannot listen on $port: $!\n";

    my $pid = spawn_helper(
        sub {
            $SIG{CHLD} = 'IGNORE';
            while ( my $socket = $listener->accept ) {
                $socket->autoflush(1);
                spawn_helper( sub { $serve->($socket) } );
                close $socket;
            }
        }
    );
    close $listener;
    return $class->_remember( $name, pid => $pid, port => $port );
}

# A scripted datagram server on 127.0.0.1, [::1] where there is IPv6, and a unix
# socket. Each datagram is one call of $answer with it and its sender's address as
# text, which returns the datagrams to send back; [ SECONDS, DATAGRAM ] is sent later.
sub udp {
    my ( $class, $name, $answer ) = @_;
    my $port = reserve_port();
    my $path = _dir() . '/' . lc($name) . '.dgram';
    my @sockets = map { IO::Socket::IP->new( LocalHost => $_, LocalPort => $port, Proto => 'udp' ) || () }
        qw( 127.0.0.1 ::1 );
    push @sockets, IO::Socket::UNIX->new( Local => $path, Type => SOCK_DGRAM ) || ();
    die "cannot listen on UDP port $port and $path: $!\n" if @sockets < 2;
    my $pid = spawn_helper( sub { _serve_datagrams( $answer, @sockets ) } );
    close $_ for @sockets;
    return $class->_remember( $name, pid => $pid, port => $port, sock => $path );
}

sub _serve_datagrams {
    my ( $answer, @sockets ) = @_;
    my $select = IO::Select->new(@sockets);
    my @later;    # [ due, socket, address, datagram ]
    while (1) {
        @later = sort { $a->[0] <=> $b->[0] } @later;
        while ( @later && $later[0][0] <= time ) {
            my ( undef, $socket, $to, $datagram ) = @{ shift @later };
            $socket->send( $datagram, 0, $to );
        }
        my $pause = @later ? $later[0][0] - time : undef;
        for my $socket ( $select->can_read( defined $pause && $pause < 0 ? 0 : $pause ) ) {
            my $from = $socket->recv( my $datagram, 65_536 );
            next if !defined $from;
            my $sender = $socket->isa('IO::Socket::IP') ? $socket->peerhost . ' ' . $socket->peerport : 'unix';
            for ( $answer->( $datagram, $sender ) ) {
                my ( $delay, $text ) = ref $_ ? @$_ : ( 0, $_ );
                push @later, [ time + $delay, $socket, $from, $text ];
            }
        }
    }
    return;
}

# A DNS server with scripted answers: see Test::Nginx::DNS for their forms. Sets
# TEST_NGINX_DNS_PORT and, unless set, TEST_NGINX_RESOLVER.
sub dns {
    my ( $class, %zone ) = @_;
    my $port   = reserve_port();
    my $socket = Test::Nginx::DNS::listen_on($port);
    my $log    = _dir() . '/dns_queries';
    my $pid = spawn_helper( sub { Test::Nginx::DNS::serve( $socket, \%zone, $log ) } );
    close $socket;
    $ENV{TEST_NGINX_RESOLVER} = "127.0.0.1:$port" if !$ENV{TEST_NGINX_RESOLVER};
    return $class->_remember( 'DNS', pid => $pid, port => $port, log => $log );
}

sub port { return $_[0]{port} }
sub sock { return $_[0]{sock} }
sub pid  { return $_[0]{pid} }

# What the server printed; for dns one "name type" line a query.
sub log {
    my ($self) = @_;
    my $text = slurp( $self->{log} );
    return defined $text ? $text : '';
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill TERM => $pid;
    reap_helper( $pid, 1 );
    return;
}

sub _remember {
    my ( $class, $name, %self ) = @_;
    push @CleanupHandlers, \&stop_all if !@running;
    $ENV{"TEST_NGINX_${name}_PORT"} = $self{port} if $self{port};
    $ENV{"TEST_NGINX_${name}_SOCK"} = $self{sock} if $self{sock};
    my $self = bless {%self}, $class;
    push @running, $self;
    return $self;
}

sub _listens {
    my ($self) = @_;
    return 0 if $self->{sock} && !IO::Socket::UNIX->new( Peer => $self->{sock} );
    return 1 if !$self->{port};
    return IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $self->{port} ) ? 1 : 0;
}

sub _dir { return $dir ||= tempdir( 'ngx_peer_XXXXXX', TMPDIR => 1 ) }

sub stop_all {
    while ( my $peer = shift @running ) { $peer->stop }
    remove_tree($dir) if defined $dir;
    undef $dir;
    return;
}

END {
    if ( $$ == $MainPid ) {
        local ( $?, $! );
        stop_all();
    }
}

1;
