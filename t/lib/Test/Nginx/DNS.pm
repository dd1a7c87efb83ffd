package Test::Nginx::DNS;

# A small DNS server over UDP with scripted answers. A zone maps names to answers:
#
#   'a.test'    => '127.0.0.1'                    one address (A or AAAA)
#   'ab.test'   => [ '127.0.0.1', '127.0.0.2', '::1' ]
#   'no.test'   => 'NXDOMAIN'                     or SERVFAIL, REFUSED, FORMERR, EMPTY
#   'mute.test' => 'TIMEOUT'                      never answered
#   'slow.test' => { answer => '127.0.0.1', delay => 0.2 }
#   'c.test'    => { cname => 'a.test' }          with the target's own answer
#   'new.test'  => { answer => '127.0.0.1', ttl => 1 }
#   'turn.test' => { turns => [ 'SERVFAIL', '127.0.0.1' ] }   the last one stays
#   '*'         => ...                            every other name (else NXDOMAIN)

use strict;
use warnings;

use IO::Select ();
use IO::Socket::INET ();
use Socket qw( AF_INET AF_INET6 inet_pton );
use Time::HiRes qw( time );

use constant { TYPE_A => 1, TYPE_CNAME => 5, TYPE_AAAA => 28, DEFAULT_TTL => 60 };

my %RCODE = ( FORMERR => 1, SERVFAIL => 2, NXDOMAIN => 3, REFUSED => 5, EMPTY => 0 );
my %TYPE_NAME = ( TYPE_A, 'A', TYPE_AAAA, 'AAAA' );

sub listen_on {
    my ($port) = @_;
    return IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $port,
        Proto     => 'udp',
    ) || die "cannot listen on UDP port $port: $!\n";
}

# Never returns. Delayed answers wait in a list, so that they hold up no others.
sub serve {
    my ( $socket, $zone, $log_path ) = @_;
    my $select = IO::Select->new($socket);
    my %turn;
    my @waiting;    # [ due, datagram, address ]

    while (1) {
        @waiting = sort { $a->[0] <=> $b->[0] } @waiting;
        while ( @waiting && $waiting[0][0] <= time ) {
            my ( undef, $datagram, $to ) = @{ shift @waiting };
            $socket->send( $datagram, 0, $to );
        }
        my $pause = @waiting ? $waiting[0][0] - time : undef;
        next if !$select->can_read( defined $pause && $pause < 0 ? 0 : $pause );

        my $from = $socket->recv( my $query, 4096 );
        next if !defined $from;
        my ( $name, $type, $question ) = _parse_query($query) or next;
        _note( $log_path, $name . ' ' . ( $TYPE_NAME{$type} || $type ) );

        my ( $answer, $delay ) = _answer( $zone, $name, $type, $query, $question, \%turn );
        push @waiting, [ time + $delay, $answer, $from ] if defined $answer;
    }
}

sub _note {
    my ( $path, $line ) = @_;
    open my $log, '>>', $path or return;
    print {$log} "$line\n";
    close $log;
    return;
}

sub _parse_query {
    my ($query) = @_;
    return if length $query < 17;
    my ( $at, @labels ) = (12);
    while ( my $length = ord substr $query, $at, 1 ) {
        push @labels, substr $query, $at + 1, $length;
        $at += 1 + $length;
        return if $at >= length $query;
    }
    my $type = unpack 'n', substr $query, $at + 1, 2;
    return ( lc join( '.', @labels ), $type, substr $query, 12, $at + 5 - 12 );
}

# Returns the datagram and its delay, or nothing for silence.
sub _answer {
    my ( $zone, $name, $type, $query, $question, $turn ) = @_;
    my ( $records, $rcode, $delay ) = _resolve( $zone, $name, $type, $turn );
    return if !defined $rcode;

    my $data = '';
    my $count = 0;
    for my $record (@$records) {
        my ( $owner, $record_type, $ttl, $rdata ) = @$record;
        $data .= _encode_name($owner) . pack 'nnNn/a*', $record_type, 1, $ttl, $rdata;
        $count++;
    }
    my $id = substr $query, 0, 2;
    return ( $id . pack( 'nnnnn', 0x8180 | $rcode, 1, $count, 0, 0 ) . $question . $data, $delay );
}

sub _resolve {
    my ( $zone, $name, $type, $turn ) = @_;
    my $spec = exists $zone->{$name} ? $zone->{$name} : $zone->{'*'};
    $spec = 'NXDOMAIN' if !defined $spec;
    my %spec = ref $spec eq 'HASH' ? %$spec : ( answer => $spec );

    if ( my $turns = $spec{turns} ) {
        my $now = $turn->{"$name $type"}++;
        my $one = $turns->[ $now < @$turns ? $now : -1 ];
        %spec = ( %spec, ref $one eq 'HASH' ? %$one : ( answer => $one ) );
    }
    my $ttl   = defined $spec{ttl} ? $spec{ttl} : DEFAULT_TTL;
    my $delay = $spec{delay} || 0;

    if ( defined $spec{cname} ) {
        my ( $records, $rcode, $more ) = _resolve( $zone, lc $spec{cname}, $type, $turn );
        return if !defined $rcode;
        return ( [ [ $name, TYPE_CNAME, $ttl, _encode_name( $spec{cname} ) ], @$records ],
            $rcode, $delay + $more );
    }
    my $answer = $spec{answer};
    return if !defined $answer || $answer eq 'TIMEOUT';
    return ( [], $RCODE{$answer}, $delay ) if exists $RCODE{$answer};

    my @records;
    for my $address ( ref $answer ? @$answer : $answer ) {
        my $is_v6 = $address =~ /:/;
        next if $type != ( $is_v6 ? TYPE_AAAA : TYPE_A );
        push @records, [ $name, $type, $ttl, inet_pton( $is_v6 ? AF_INET6 : AF_INET, $address ) ];
    }
    return ( \@records, 0, $delay );
}

sub _encode_name {
    my ($name) = @_;
    return join( '', map { pack 'C/a*', $_ } split /\./, $name ) . "\0";
}

1;
