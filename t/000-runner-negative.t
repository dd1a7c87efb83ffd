# The runner itself: it fails when it should. Each case is a .t file of its own, run
# in a subprocess; what it prints must show a failure and its reason.
use strict;
use warnings;

use Cwd qw( abs_path );
use File::Basename qw( dirname );
use File::Temp qw( tempdir );
use Test::More;
use Time::HiRes qw( sleep time );

my $lib = abs_path( dirname(__FILE__) . '/lib' );
my $dir = tempdir( CLEANUP => 1 );
delete @ENV{ grep {/^TEST_NGINX_(?!BINARY|MODULE|LOAD_MODULES)/} keys %ENV };
delete @ENV{ grep {/^HARNESS_/} keys %ENV };
$ENV{TEST_NGINX_FAILED_DIR} = "$dir/failed";
$ENV{TEST_NGINX_LATE_LINES} = 0.05;

my $count = 0;

sub write_t {
    my ( $perl, $data ) = @_;
    my $path = sprintf '%s/case%02d.t', $dir, ++$count;
    open my $out, '>', $path or die $!;
    print {$out} "use lib '$lib';\nuse Test::Nginx::Socket::Lua;\n$perl\n__DATA__\n$data";
    close $out;
    return $path;
}

sub run_t {
    my ( $perl, $data, %env ) = @_;
    local %ENV = ( %ENV, TEST_NGINX_SERVROOT => sprintf( '%s/root%02d', $dir, $count ), %env );
    my $path   = write_t( $perl, $data );
    my $output = `cd $dir && $^X $path 2>&1`;
    return ( $output, $? );
}

# One case: its sections, patterns its output must have. The plan is left to it,
# so that a failure beyond the plan is seen as such.
sub must_fail {
    my ( $name, $data, @patterns ) = @_;
    my ( $output, $status ) = run_t( "plan 'no_plan';\nrun_tests();", "=== TEST 1: case\n$data" );
    my $ok = isnt( $status, 0, "$name: fails" );
    for my $pattern ( qr/^not ok/m, @patterns ) {
        $ok &&= like( $output, $pattern, "$name: $pattern" );
    }
    diag $output if !$ok;
    return $output;
}

my $return_ok = "--- config\n    location /t { return 200 \"one\\ntwo\\nthree\\n\"; }\n--- request\nGET /t\n";

# --- wrong expectations

my $output = must_fail( 'response_body', $return_ok . "--- response_body\none\n2\nthree\n",
    qr/^# -2$/m, qr/^# \+two$/m, qr/last lines of error\.log/, qr/case\d+\.t line \d/,
    qr/configuration and logs: \S+nginx\.conf/ );
my ($conf) = $output =~ /configuration and logs: (\S+nginx\.conf)/;
ok( $conf && -s $conf, 'the configuration of a failed block is kept' );

must_fail( 'one-line response_body', $return_ok . "--- response_body_filters\nlength\n--- response_body chomp\n15\n",
    qr/got: "14"/, qr/expected: "15"/ );
must_fail( 'response_body_like', $return_ok . "--- response_body_like: four\n", qr/does not match/ );
must_fail( 'response_body_unlike', $return_ok . "--- response_body_unlike: three\n", qr/matches/ );
must_fail( 'response_body_json_eq', $return_ok . "--- response_body_json_eq\n{}\n", qr/not JSON/ );
must_fail( 'error_code', $return_ok . "--- error_code: 404\n", qr/got: "200"/, qr/expected: "404"/ );
must_fail( 'the implicit error_code', "--- config\nlocation /t { return 500; }\n--- request\nGET /t\n", qr/got: "500"/ );
must_fail( 'response_headers', $return_ok . "--- response_headers\nX-Foo: bar\n", qr/expected: "bar"/ );
must_fail( 'absent header', $return_ok . "--- response_headers\n! Server\n", qr/Server: nginx/ );
must_fail( 'response_headers_like', $return_ok . "--- response_headers_like\nServer: ngin\n", qr/does not match/ );
must_fail( 'raw_response_headers_unlike', $return_ok . "--- raw_response_headers_unlike: nginx\n", qr/matches/ );
must_fail( 'error_log', $return_ok . "--- error_log\nnever logged\n", qr/no line matches/ );
must_fail( 'no_error_log', $return_ok . "--- no_error_log\nhttp request line\n", qr/it matches: .*GET/ );
must_fail( 'access_log', $return_ok . "--- access_log\nPOST\n", qr/no line matches/ );
must_fail( 'grep_error_log_out', $return_ok . "--- grep_error_log eval: qr/GET/\n--- grep_error_log_out\n",
    qr/GET/ );
must_fail( 'must_die', $return_ok . "--- must_die\n", qr/it started/ );
must_fail( 'must_die with a code', "--- config\nfoo;\n--- must_die: 3\n", qr/got: "1"/ );
must_fail( 'shutdown_error_log', $return_ok . "--- shutdown_error_log\nnever logged\n", qr/no line matches/ );
must_fail(
    'tcp_query',
    "--- config\nlocation /t { proxy_pass http://127.0.0.1:\$TEST_NGINX_RAND_PORT_1; }\n--- request\nGET /t\n"
        . "--- tcp_listen: \$TEST_NGINX_RAND_PORT_1\n--- tcp_reply eval\n\"HTTP/1.0 200 OK\\r\\n\\r\\n\"\n--- tcp_query: GET /u\n",
    qr{^\# -GET /u}m
);

# --- things that go wrong without being asked about

must_fail( 'client timeout',
    "--- config\nlocation /t { proxy_pass http://127.0.0.1:\$TEST_NGINX_RAND_PORT_1; }\n--- request\nGET /t\n"
        . "--- tcp_listen: \$TEST_NGINX_RAND_PORT_1\n--- tcp_no_close\n--- timeout: 0.1\n--- error_code:\n",
    qr/ERROR: client socket timed out/ );
must_fail( 'nginx that does not start', "--- config\nnonsense;\n--- request\nGET /t\n",
    qr/nginx did not start/, qr/unknown directive "nonsense"/ );
must_fail( 'an unset variable', "--- config\nset \$x \$TEST_NGINX_UNSET;\n--- request\nGET /t\n",
    qr/TEST_NGINX_UNSET defined/ );
must_fail( 'a truncated body',
    "--- config\nlocation /t { proxy_pass http://127.0.0.1:\$TEST_NGINX_RAND_PORT_1; }\n--- request\nGET /t\n"
        . "--- tcp_listen: \$TEST_NGINX_RAND_PORT_1\n--- tcp_reply eval\n\"HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nabc\"\n"
        . "--- response_body chop\nabc\n",
    qr/truncated/ );

# A block that passes by its own sections while nginx reports a defect.
sub with_trouble {
    my ( $name, $perl, $pattern, $more ) = @_;
    my ( $output, $status ) = run_t(
        "plan tests => 2;\n$perl\nrun_tests();",
        "=== TEST 1: case\n$return_ok--- response_body\none\ntwo\nthree\n" . ( $more || '' )
    );
    my $ok = isnt( $status, 0, "$name: fails" );
    $ok &&= like( $output, $pattern, "$name: $pattern" );
    $ok &&= like( $output, qr/^ok 2/m,   "$name: the block's own tests pass" );
    diag $output if !$ok;
    return;
}

my $pid_of = q{sub pid { open my $in, '<', server_root() . '/logs/nginx.pid' or die; return 0 + <$in> }};
with_trouble( 'a crash without master process',
    "$pid_of add_response_body_check( sub { kill SEGV => pid() } );", qr/exited on signal 11/ );
with_trouble( 'a crash of a worker',
    "$pid_of master_on(); add_response_body_check( sub { kill SEGV => split ' ', `cat /proc/\@{[pid()]}/task/\@{[pid()]}/children`; select undef, undef, undef, 0.2 } );",
    qr/worker process \d+ exited on signal 11/ );

sub logging {
    my ($line) = @_;
    return qq{add_response_body_check( sub { open my \$log, '>>', server_root() . '/logs/error.log' or die; print {\$log} "$line\\n" } );};
}
with_trouble( 'an alert', logging('2026/01/01 00:00:00 [alert] 1#1: *3 open socket #12 left in connection 5'),
    qr/open socket/ );
with_trouble( 'a panic', logging("thread '<unnamed>' panicked at src/lib.rs:1:1:"), qr/panicked at src/ );
with_trouble( 'AddressSanitizer', logging('==7==ERROR: AddressSanitizer: heap-use-after-free'), qr/heap-use-after-free/ );
with_trouble( 'valgrind', logging('==7== Invalid read of size 8'), qr/Invalid read/ );

my ( $fine, $status ) = run_t(
    'plan tests => 3;' . logging('2026/01/01 00:00:00 [alert] 1#1: expected') . 'run_tests();',
    "=== TEST 1: case\n$return_ok--- response_body\none\ntwo\nthree\n--- error_log\n[alert] 1#1: expected\n"
);
is( $status, 0, 'an alert that the block expects is no trouble' ) or diag $fine;
( $fine, $status ) = run_t(
    'plan tests => 2;' . logging('2026/01/01 00:00:00 [alert] 1#1: expected') . 'run_tests();',
    "=== TEST 1: case\n$return_ok--- response_body\none\ntwo\nthree\n--- allow_error_log\n[alert]\n"
);
is( $status, 0, 'nor one that allow_error_log names' ) or diag $fine;

( $fine, $status ) = run_t( 'plan tests => 5; run_tests();', "=== TEST 1: case\n$return_ok" );
isnt( $status, 0, 'a wrong plan fails' );

# --- nothing is left behind

opendir my $handle, $dir or die $!;
is( ( join ' ', grep {/^root/} readdir $handle ), '', 'all server roots are removed' );

for my $signal (qw( INT TERM KILL )) {
    my $pid_file = "$dir/nginx.pid.$signal";
    my $path = write_t(
        "plan 'no_plan'; add_response_body_check( sub { system 'cp', server_root() . '/logs/nginx.pid', '$pid_file'; sleep 20 } ); run_tests();",
        "=== TEST 1: case\n$return_ok"
    );
    my $child = fork;
    if ( !$child ) {
        chdir $dir;
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';
        exec $^X, $path or POSIX::_exit(1);
    }
    my $start = time;
    sleep 0.01 while !-s $pid_file && time < $start + 5;
    last if !-s $pid_file && fail("$signal: the case did not start");
    open my $in, '<', $pid_file or die $!;
    my $nginx = 0 + <$in>;
    ok( kill( 0, $nginx ), "$signal: nginx runs" );
    kill $signal => $child;
    waitpid $child, 0;
    my $end = time + 3;
    sleep 0.01 while kill( 0, $nginx ) && time < $end;
    ok( !kill( 0, $nginx ), "$signal: nginx ends with the test" );
}

done_testing();
