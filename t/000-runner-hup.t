# The runner itself: reloading instead of restarting between blocks.
use Test::Nginx::Socket::Lua;

BEGIN { use_hup() }
workers(2);
repeat_each(2);
plan tests => repeat_each() * ( blocks() * 3 - 1 );

our $master;

# all blocks but the one after must_die run in the same master process
add_response_body_check(
    sub {
        my ($block) = @_;
        open my $in, '<', server_root() . '/logs/nginx.pid' or die $!;
        chomp( my $pid = <$in> );
        $master = $pid if !$master || defined $block->new_master;
        is_str( $pid, $master, $block->name . ' - master process' );
    }
);

run_tests();

__DATA__

=== TEST 1: the first configuration
--- config
    location /t { return 200 "one"; }
--- request
GET /t
--- response_body chop
one



=== TEST 2: the second
--- config
    location /t { return 200 "two"; }
--- request
GET /t
--- response_body chop
two



=== TEST 3: a reload that fails leaves the old one
--- config
    location /t { nonsense; }
--- reload_fails
--- request
GET /t
--- response_body chop
two



=== TEST 4: must_die stops the running nginx
--- config
    location /t { nonsense; }
--- must_die
--- error_log
unknown directive



=== TEST 5: and the next block starts it again
--- config
    location /t { return 200 "five"; }
--- request
GET /t
--- new_master
--- response_body chop
five
