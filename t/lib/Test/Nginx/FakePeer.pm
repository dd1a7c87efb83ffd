package Test::Nginx::FakePeer;

# The small servers of tcp_listen and udp_listen. Each serves one connection (or
# datagram) in a process of its own and records what it was sent in a file.

use strict;
use warnings;

use Errno qw( EADDRINUSE );
use Exporter qw( import );
use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use Socket qw( SOCK_DGRAM SOCK_STREAM IPPROTO_TCP TCP_NODELAY );

use Test::Nginx::Check qw( check_str is_str in_dry_run );
use Test::Nginx::Process qw( spawn_helper reap_helper );
use Test::Nginx::Util qw(
    $LogDir section expand_env parse_time poll_until nap slurp trim slow_factor
);

our @EXPORT_OK = qw( start_fake_peers stop_fake_peers verify_queries );

my @running;    # { kind, pid, file, path }

sub start_fake_peers {
    my ($block) = @_;
    for my $kind (qw( tcp udp )) {
        my $where = section( $block, "${kind}_listen" );
        next if !defined $where;
        my ( $socket, $path ) = _listen( $kind, trim( expand_env( $where, 1 ) ) );
        my $file = "$LogDir/${kind}_query";
        unlink $file;
        my $serve = $kind eq 'tcp' ? \&_serve_tcp : \&_serve_udp;
        my $pid = spawn_helper( sub { $serve->( $block, $socket, $file ) } );
        close $socket;
        push @running, { kind => $kind, pid => $pid, file => $file, path => $path };
    }
    return;
}

sub stop_fake_peers {
    while ( my $peer = shift @running ) {
        reap_helper( $peer->{pid} );
        unlink $peer->{path} if defined $peer->{path};
    }
    return;
}

# Tests of other files may use the same fixed port in parallel: wait for it.
sub _listen {
    my ( $kind, $where ) = @_;
    my $path = $where =~ /\D/ ? $where : undef;
    unlink $path if defined $path;
    my $socket;
    poll_until(
        10,
        sub {
            $socket = defined $path
                ? IO::Socket::UNIX->new(
                    Local => $path,
                    Type  => $kind eq 'tcp' ? SOCK_STREAM : SOCK_DGRAM,
                    ( $kind eq 'tcp' ? ( Listen => 16 ) : () ),
                )
                : IO::Socket::INET->new(
                    LocalAddr => '127.0.0.1',
                    LocalPort => $where,
                    Proto     => $kind,
                    ( $kind eq 'tcp' ? ( Listen => 16, ReuseAddr => 1 ) : () ),
                );
            return $socket || !$!{EADDRINUSE};
        },
        0.02
    );
    die "${kind}_listen: cannot listen on $where: $!\n" if !$socket;
    return ( $socket, $path );
}

sub _record {
    my ( $file, $bytes ) = @_;
    open my $out, '>>:raw', $file or die "Cannot write $file: $!\n";
    syswrite $out, $bytes;
    close $out;
    return;
}

sub _replies {
    my ( $reply, $query ) = @_;
    return if !defined $reply;
    $reply = $reply->($query) if ref $reply eq 'CODE';
    return if !defined $reply;
    return map { ref $_ ? $_ : expand_env($_) } ref $reply eq 'ARRAY' ? @$reply : ($reply);
}

sub _serve_tcp {
    my ( $block, $listener, $file ) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $socket = $listener->accept or return;
    close $listener;
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;

    my $shutdown = section( $block, 'tcp_shutdown' );
    $socket->shutdown( trim($shutdown) ) if defined $shutdown && $shutdown =~ /\d/;

    my $query = '';
    my $want  = _query_length($block);
    while ( !defined $want || length $query < $want ) {
        my $got = sysread $socket, my $bytes, 65_536;
        last if !$got;
        $query .= $bytes;
        _record( $file, $bytes );
        last if !defined $want;
    }

    my $delay = parse_time( section( $block, 'tcp_reply_delay' ) );
    for my $reply ( _replies( section( $block, 'tcp_reply' ), $query ) ) {
        nap($delay) if $delay;
        _write_all( $socket, $reply );
    }

    if ( defined section( $block, 'tcp_no_close' ) ) {
        1 while sysread $socket, my $more, 65_536;
        sleep 3600;    # until the runner ends this process
    }
    _drain($socket);
    close $socket;
    return;
}

sub _write_all {
    my ( $socket, $bytes ) = @_;
    while ( length $bytes ) {
        my $sent = syswrite $socket, $bytes or return;
        substr $bytes, 0, $sent, '';
    }
    return;
}

# Closing with unread data would send a reset, which can overtake the reply.
sub _drain {
    my ($socket) = @_;
    my $select = IO::Select->new($socket);
    while ( $select->can_read(0) ) {
        last if !sysread $socket, my $rest, 65_536;
    }
    return;
}

sub _serve_udp {
    my ( $block, $socket, $file ) = @_;
    my $reply = section( $block, 'udp_reply' );
    my $delay = parse_time( section( $block, 'udp_reply_delay' ) );
    while (1) {
        my $from = $socket->recv( my $query, 65_536 );
        return if !defined $from;
        _record( $file, $query );
        for my $datagram ( _replies( $reply, $query ) ) {
            nap($delay) if $delay;
            $socket->send( $datagram, 0, $from );
        }
        return if ref $reply ne 'CODE';    # a fixed reply answers once
    }
}

sub _query_length {
    my ($block) = @_;
    my $length = section( $block, 'tcp_query_len' );
    return trim($length) if defined $length;
    my $query = section( $block, 'tcp_query' );
    return defined $query && !ref $query ? length expand_env($query) : undef;
}

# Gives the peer a moment to receive what nginx sent last, then compares.
sub verify_queries {
    my ($block) = @_;
    my $name = $block->name;

    for my $kind (qw( tcp udp )) {
        my $expected = section( $block, "${kind}_query" );
        my $length = $kind eq 'tcp' ? section( $block, 'tcp_query_len' ) : undef;
        next if !defined $expected && !defined $length;
        $expected = expand_env($expected);
        my $want = defined $length ? trim($length) : ref $expected ? 1 : length $expected;

        my ($peer) = grep { $_->{kind} eq $kind } @running;
        my $file = $peer ? $peer->{file} : "$LogDir/${kind}_query";
        poll_until( in_dry_run() ? 0 : slow_factor(), sub { ( -s $file || 0 ) >= $want } );
        my $got = slurp($file);
        $got = '' if !defined $got;

        is_str( $got, $expected, "$name - ${kind}_query" ) if defined $expected;
        check_str( length $got, $want, "$name - tcp_query_len" ) if defined $length;
    }
    return;
}

1;
