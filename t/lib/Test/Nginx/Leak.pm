package Test::Nginx::Leak;

# TEST_NGINX_CHECK_LEAK: sends the block's requests many times and watches the
# memory of the worker. Linear growth fails the block.

use strict;
use warnings;

use Exporter qw( import );
use List::Util qw( sum );
use Test::Builder ();

use Test::Nginx::Check qw( flunk );
use Test::Nginx::Client qw( talk );
use Test::Nginx::Process qw( nginx_pid worker_pids );
use Test::Nginx::Util qw( $ServerAddr $ServerPortForClient section slurp timeout );

our @EXPORT_OK = qw( check_leak slope );

use constant {
    WARM_UP          => 100,    # requests before the first sample
    PER_SAMPLE       => 10,
    MAX_SLOPE        => 2,      # KB a sample
    MIN_GROWTH       => 256,    # KB in all: less is noise
};

sub check_leak {
    my ( $block, $exchanges ) = @_;
    return if defined section( $block, 'no_check_leak' ) || !@$exchanges;
    my $samples = $ENV{TEST_NGINX_CHECK_LEAK_COUNT} || 100;

    _burst( $exchanges, WARM_UP );
    my @rss;
    for ( 1 .. $samples ) {
        _burst( $exchanges, PER_SAMPLE );
        push @rss, _rss();
    }

    # what the first requests allocate once is no leak
    my @late  = @rss[ @rss / 4 .. $#rss ];
    my $slope = slope(@late);
    my $text  = sprintf 'LeakTest: k=%.1f [%s]', $slope, join ' ', @rss;
    Test::Builder->new->note( $block->name, "\n", $text );
    flunk( $block->name . ' - memory grows', $text )
        if $slope > MAX_SLOPE && $late[-1] - $late[0] > MIN_GROWTH;
    return;
}

sub _burst {
    my ( $exchanges, $count ) = @_;
    for ( 1 .. $count ) {
        talk( $ServerAddr, $ServerPortForClient, $_->{pieces}, timeout => timeout() )
            for @$exchanges;
    }
    return;
}

sub _rss {
    my @pids = ( worker_pids(), nginx_pid() );
    my $status = slurp("/proc/$pids[0]/status");
    return defined $status && $status =~ /^VmRSS:\s+(\d+)/m ? $1 : 0;
}

# Of the regression line through equidistant points.
sub slope {
    my (@y) = @_;
    my $n = @y;
    return 0 if $n < 2;
    my $mean_x = ( $n - 1 ) / 2;
    my $mean_y = sum(@y) / $n;
    my ( $above, $below ) = ( 0, 0 );
    for my $x ( 0 .. $n - 1 ) {
        $above += ( $x - $mean_x ) * ( $y[$x] - $mean_y );
        $below += ( $x - $mean_x )**2;
    }
    return $above / $below;
}

1;
