# A short run of the soak test: clients that leave at random points, reloads and
# killed workers; nothing crashes, sticks or is lost. `make soak` runs it longer.
use strict;
use warnings;

use Test::More;

plan skip_all => 'needs python3, openssl'
    if grep { system("command -v $_ >/dev/null") } qw( python3 openssl );

my $seconds = $ENV{TEST_NGINX_SOAK_SECONDS} || 8;
my @lines   = `python3 t/soak/soak.py --seconds $seconds 2>&1`;
my $status  = $?;
for my $line (@lines) {
    if ( $line =~ /^(ok|FAIL) +(.*)/ ) { ok( $1 eq 'ok', $2 ) }
    else                               { diag($line) if $status }
}
is( $status, 0, 'the soak test ends well' );
done_testing();
