# The runner itself: request building and response parsing, byte for byte.
use strict;
use warnings;
use lib 't/lib';

use Test::More;

use Test::Nginx::Leak qw( slope );
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::Request qw( exchanges_of );
use Test::Nginx::Response qw( parse_response );
use Test::Nginx::Util qw( expand_env parse_time version_cmp );

{
    package t::Block;    # a block is anything whose methods are sections
    our $AUTOLOAD;
    sub new { my ( $class, %section ) = @_; return bless {%section}, $class }
    sub name { return 'block' }
    sub DESTROY { return }
    sub AUTOLOAD { return $_[0]{ $AUTOLOAD =~ s/.*:://r } }
}

sub bytes_of {
    my (%section) = @_;
    return map {
        join '|', map { $_->[1] } @{ $_->{pieces} }
    } exchanges_of( t::Block->new(%section) );
}

is( ( bytes_of( request => "GET /t\n" ) )[0],
    "GET /t HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 'GET' );
is( ( bytes_of( request => "POST /t\nhello\n", more_headers => "A: 1\nB: 2\n" ) )[0],
    "POST /t HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nA: 1\r\nB: 2\r\n"
        . "Content-Length: 5\r\n\r\nhello",
    'header order; the last newline is no body' );
is( ( bytes_of( request => "POST /t\nhello\n", more_headers => 'Content-Length: 6' ) )[0],
    "POST /t HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n",
    'own Content-Length' );
is( ( bytes_of( request => [ [ "POST /t\nab", 'cd' ] ] ) )[0],
    "POST /t HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab|cd",
    'packets' );
is( scalar( bytes_of( request => [ 'GET /a', 'GET /b' ] ) ), 2, 'two requests, two connections' );
is( ( bytes_of( pipelined_requests => [ 'GET /a', 'GET /b' ], more_headers => [ 'A: 1', 'B: 1' ] ) )[0],
    "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\nA: 1\r\n\r\n"
        . "GET /b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nB: 1\r\n\r\n",
    'pipelined' );
my ($raw) = exchanges_of( t::Block->new( raw_request => [ 'a', { value => 'b', delay_before => '20ms' }, 'c' ],
    raw_request_middle_delay => '0.5' ) );
is_deeply( $raw->{pieces}, [ [ 0, 'a' ], [ 0.02, 'b' ], [ 0.5, 'c' ] ], 'raw pieces and their delays' );

my ( $response, $left ) = parse_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: x\r\na: y\r\n\r\nabcHTTP/1.1 201");
is( $response->content,     'abc',          'Content-Length' );
is( $response->header('A'), 'x, y',         'repeated header' );
is( $left,                  'HTTP/1.1 201', 'the next response is left' );

my $chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
($response) = parse_response( $chunked . "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n" );
is( $response->content, 'abcde', 'chunks and a trailer' );
is( $response->error,   undef,   'no error' );
my %broken = (
    'no end'         => "3\r\nabc\r\n",
    'chunk cut'      => "5\r\nabc",
    'bad size'       => "xyz\r\n",
    'chunk too long' => "2\r\nabc\r\n0\r\n\r\n",
    'end cut'        => "0\r\n",
);
for my $what ( sort keys %broken ) {
    ($response) = parse_response( $chunked . $broken{$what} );
    ok( $response->error, "$what: " . ( $response->error || 'not noticed' ) );
}
($response) = parse_response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
like( $response->error, qr/truncated/, 'short body' );
($response) = parse_response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head => 1);
is( $response->error, undef, 'HEAD has no body' );
($response) = parse_response('');
is( $response->code, '', 'nothing' );

cmp_ok( version_cmp( '1.22.1', '1.5.7' ),   '>',  0, '1.22.1 > 1.5.7' );
cmp_ok( version_cmp( '1.1.0h', '1.1.0' ),   '>',  0, '1.1.0h > 1.1.0' );
cmp_ok( version_cmp( '1.1.0a', '1.1.0h' ),  '<',  0, '1.1.0a < 1.1.0h' );
cmp_ok( version_cmp( '1.25', '1.25.0' ),    '==', 0, '1.25 = 1.25.0' );
is( parse_time('50ms'), 0.05, 'ms' );
is( parse_time('2 s'),  2,    's' );

$ENV{TEST_NGINX_FOO} = 'foo';
is( expand_env('$TEST_NGINX_FOO ${TEST_NGINX_FOO}s $TEST_NGINX_NONE'),
    'foo foos $TEST_NGINX_NONE', 'variables' );
ok( !eval { expand_env( '$TEST_NGINX_NONE', 1 ) }, 'an unset one in configuration is an error' );
is( expand_env('$TEST_NGINX_RAND_PORT_1'), expand_env('$TEST_NGINX_RAND_PORT_1'), 'a random port stays' );
isnt( expand_env('$TEST_NGINX_RAND_PORT_1'), expand_env('$TEST_NGINX_RAND_PORT_2'), 'another differs' );

my %seen;
ok( !grep( { $seen{$_}++ } map { reserve_port() } 1 .. 50 ), 'ports are given out once' );
is( slope( 1, 2, 3, 4 ), 1, 'slope of growth' );
is( slope( 5, 5, 5 ),    0, 'slope of rest' );

done_testing();
