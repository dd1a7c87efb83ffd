# How many heap allocations a request costs beyond those of a `return 200`: asserted
# exactly, so that none is added unnoticed. If you saved one, lower the number. They are
# counted in the worker by a library that is loaded before the C one. LuaJIT takes its
# memory from the kernel and hands it out itself; what Lua code allocates is not counted.

use strict;
use warnings;

use File::Basename qw( dirname );
use File::Temp qw( tempdir );
use IO::Socket::INET;
use Test::More;

use Test::Nginx::Instance;
use Test::Nginx::Peer;

plan skip_all => 'redis-server is not installed' if !Test::Nginx::Peer->has('redis-server');

my $dir     = tempdir( 'cosocket-test-XXXXXX', TMPDIR => 1, CLEANUP => 1 );
my $library = "$dir/count_allocations.so";
my $source  = dirname(__FILE__) . '/lib/count_allocations.c';
my $said    = `gcc -O1 -shared -fPIC -fno-builtin -o $library $source 2>&1`;
plan skip_all => "the counting library needs gcc and glibc: $said" if $? != 0;

my $redis = Test::Nginx::Peer->redis->port;
my $nginx;
{
    local @ENV{qw( LD_PRELOAD COUNT_ALLOCATIONS )} = ( $library, "$dir/count" );
    $nginx = Test::Nginx::Instance->start( main => 'master_process off;', server => <<"END" );
        location = /nginx {
            return 200 "hello\\n";
        }
        location = /hello {
            content_by_lua_block { ngx.say("hello") }
        }
        location = /pooled {
            content_by_lua_block {
                local sock = ngx.socket.tcp()
                sock:settimeout(1000)
                assert(sock:connect("127.0.0.1", $redis))
                assert(sock:send("*2\\r\\n\$3\\r\\nget\\r\\n\$3\\r\\nkey\\r\\n"))
                assert(sock:receive() == "\$5")
                local data = sock:receive(5)
                sock:receive(2)
                sock:setkeepalive(10000, 10)
                ngx.say(data)
            }
        }
END
}
my $client = $nginx->connect;

# One request over the client's only connection.
sub get {
    my ( $path, $body ) = @_;
    syswrite $client, "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
    my $response = '';
    until ( $response =~ /\Q$body\E(?:\r\n0\r\n\r\n)?\z/ ) {
        sysread $client, $response, 4096, length $response or die "no answer to $path: $response";
    }
    return;
}

sub allocated {
    open my $in, '<:raw', "$dir/count" or die "count: $!";
    read $in, my $bytes, 8;
    return unpack 'Q', $bytes;
}

# Allocations of so many requests. nginx's clean-up after a request comes when its answer
# is out already; that allocates nothing.
sub cost {
    my ( $path, $body, $requests ) = @_;
    my $before = allocated();
    get( $path, $body ) for 1 .. $requests;
    return allocated() - $before;
}

my $setup = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $redis ) or die "redis: $!";
print {$setup} "set key value\r\n";
<$setup>;
close $setup;

# Allocations a request, the same in each of three hundreds.
sub each_costs {
    my ( $path, $body ) = @_;
    cost( $path, $body, 3000 );    # collections of Lua's garbage fill the module's free lists
    my @counts = map { cost( $path, $body, 100 ) } 1 .. 3;
    is_deeply( \@counts, [ ( $counts[0] ) x 3 ], "$path: each request costs the same" ) or diag "@counts";
    return $counts[0] / 100;
}

my $own = each_costs( '/nginx', "hello\n" );
is( each_costs( '/hello',  "hello\n" ) - $own, 0, 'a handler: allocations beyond nginx\'s own' );
is( each_costs( '/pooled', "value\n" ) - $own, 0, 'a pooled GET: allocations beyond nginx\'s own' );

unlike( $nginx->log, qr/\[(?:warn|error|crit|alert|emerg)\]/, 'error.log is clean' );
done_testing();
