package Test::Nginx::Ports;

# Port numbers that no other test process uses.
#
# Probing alone races: two .t files under "prove -j" can both find the same port
# free before either nginx listens. So each number is also claimed by a lock
# file, held until the test process ends. Numbers below the kernel's ephemeral
# range are used, so that no outgoing connection takes one by chance.

use strict;
use warnings;

use Exporter qw( import );
use Fcntl qw( :flock O_CREAT O_RDWR );
use IO::Socket::INET ();

our @EXPORT_OK = qw( reserve_port port_is_free );

use constant {
    FIRST_PORT => 10_240,
    LAST_PORT  => 32_000,
};

my %claimed;

sub reserve_port {
    for ( 1 .. 500 ) {
        my $port = FIRST_PORT + int rand( LAST_PORT - FIRST_PORT );
        next if $claimed{$port};
        my $lock = _lock($port) or next;
        next if !port_is_free($port);
        $claimed{$port} = $lock;
        return $port;
    }
    die "No free port found between @{[FIRST_PORT]} and @{[LAST_PORT]}.\n";
}

sub port_is_free {
    my ($port) = @_;
    for my $proto (qw( tcp udp )) {
        IO::Socket::INET->new(
            LocalAddr => '0.0.0.0',
            LocalPort => $port,
            Proto     => $proto,
            ( $proto eq 'tcp' ? ( Listen => 1, ReuseAddr => 1 ) : () ),
        ) or return 0;
    }
    return 1;
}

sub _lock {
    my ($port) = @_;
    my $dir = "/tmp/ngx_cosocket_test_ports.$>";
    mkdir $dir, oct 700;
    sysopen my $lock, "$dir/$port", O_CREAT | O_RDWR or return;
    return flock( $lock, LOCK_EX | LOCK_NB ) ? $lock : undef;
}

1;
