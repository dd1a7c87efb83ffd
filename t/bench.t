# The benchmark harness works: scenarios can be read and have their place, and one of them
# runs. (Without the C module and without load, which only `make bench` has.)

use strict;
use warnings;

use Cwd qw( abs_path );
use File::Basename qw( basename dirname );
use File::Temp qw( tempdir );
use Test::More;

use Test::Nginx::Peer;

for (qw( python3 openssl strace redis-server memcached dnsmasq )) {
    plan skip_all => "$_ is not installed" if !Test::Nginx::Peer->has($_);
}

my $bench = abs_path( dirname(__FILE__) . '/../bench' );
my $out   = tempdir( 'cosocket-test-XXXXXX', TMPDIR => 1, CLEANUP => 1 );

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or return '';
    local $/;
    return scalar <$in>;
}

my @scenarios = sort map { basename( $_, '.conf' ) } glob "$bench/scenarios/*.conf";
is_deeply( [ sort split ' ', slurp("$bench/scenarios/ORDER") ], \@scenarios, 'ORDER has all scenarios' );

my $none = `python3 -B $bench/bench.py none 2>&1`;
like( $none, qr/^no scenario none; there are: .*\bhello\b/m, 'a name that is none' );

my $said = `python3 -B $bench/bench.py --module ours --rounds 0 --instructions no --output $out hello 2>&1`;
is( $?, 0, 'a scenario runs' ) or diag $said;
SKIP: {
    skip 'not permitted to trace', 1 if $said !~ /system calls/;
    like( $said, qr/^  system calls    ours +(?:2\.9|3\.0)\d\b/m, 'and is measured' );
}
like( slurp("$out/results.json"), qr/"name": "hello"/, 'with its results written' );
done_testing();
