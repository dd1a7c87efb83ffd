package Test::Nginx::Client;

# The HTTP client: sends the pieces of an exchange with their delays and reads
# until the server closes. Reading goes on while sending, so that neither side
# can block the other with full socket buffers.

use strict;
use warnings;

use Errno qw( EAGAIN EINTR EWOULDBLOCK );
use Exporter qw( import );
use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use Socket qw( IPPROTO_TCP TCP_NODELAY );
use Time::HiRes qw( time );

our @EXPORT_OK = qw( talk );

use constant READ_SIZE => 65_536;

# talk(host, port, pieces, timeout => seconds, shutdown => 0|1|2) returns
# { raw => bytes, timed_out => bool, error => text }. The timeout is that between
# two events on the socket.
sub talk {
    my ( $host, $port, $pieces, %option ) = @_;

    my $socket = IO::Socket::INET->new(
        PeerAddr => $host,
        PeerPort => $port,
        Proto    => 'tcp',
        Timeout  => $option{timeout},
    );
    return { raw => '', error => "cannot connect to $host:$port: $@" } if !$socket;

    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    $socket->blocking(0);

    local $SIG{PIPE} = 'IGNORE';
    my $state = {
        socket  => $socket,
        queue   => [@$pieces],
        out     => '',
        raw     => '',
        sending => 1,
        %option,
    };
    _next_piece($state);
    my $outcome = _exchange($state);
    close $socket;
    return { raw => $state->{raw}, %$outcome };
}

sub _exchange {
    my ($state) = @_;
    my $socket   = $state->{socket};
    my $select   = IO::Select->new($socket);
    my $deadline = time + $state->{timeout};

    while (1) {
        my $now = time;
        if ( $state->{sending} && $state->{out} eq '' && $now >= $state->{send_at} ) {
            _load_piece($state);
        }
        my $writing = $state->{sending} && $state->{out} ne '';
        my $until   = $deadline;
        $until = $state->{send_at}
            if $state->{sending} && !$writing && $state->{send_at} < $until;

        my ( $can_read, $can_write ) =
            IO::Select->select( $select, $writing ? $select : undef, undef,
            $until > $now ? $until - $now : 0 );

        if ( $can_write && @$can_write ) {
            _write($state);
            $deadline = time + $state->{timeout};
        }
        if ( $can_read && @$can_read ) {
            my $more = _read($state);
            return {} if !$more;
            return { error => $more } if $more ne '1';
            $deadline = time + $state->{timeout};
        }
        if ( $state->{sending} && !$writing ) {
            # waiting for a delayed piece is no idleness of the server
            $deadline = time + $state->{timeout};
        }
        elsif ( time >= $deadline ) {
            return { timed_out => 1 };
        }
    }
}

# Takes the next piece's delay; its bytes follow when the time has come.
sub _next_piece {
    my ($state) = @_;
    if ( @{ $state->{queue} } ) {
        $state->{send_at} = time + $state->{queue}[0][0];
        return;
    }
    $state->{sending} = 0;
    $state->{socket}->shutdown( $state->{shutdown} ) if defined $state->{shutdown};
    return;
}

sub _load_piece {
    my ($state) = @_;
    my $piece = shift @{ $state->{queue} };
    $state->{out} = $piece->[1];
    _next_piece($state) if $state->{out} eq '';
    return;
}

sub _write {
    my ($state) = @_;
    my $sent = syswrite $state->{socket}, $state->{out};
    if ( !defined $sent ) {
        return if $!{EAGAIN} || $!{EINTR};
        $state->{sending} = 0;    # the server has gone: read what it left
        return;
    }
    substr $state->{out}, 0, $sent, '';
    _next_piece($state) if $state->{out} eq '';
    return;
}

# Returns 1 for data, 0 at the end, an error text otherwise.
sub _read {
    my ($state) = @_;
    my $got = sysread $state->{socket}, $state->{raw}, READ_SIZE, length $state->{raw};
    return $got ? 1 : 0 if defined $got;
    return 1 if $!{EAGAIN} || $!{EINTR} || $!{EWOULDBLOCK};
    return "$!";
}

1;
