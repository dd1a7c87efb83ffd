# The runner itself: servers beside nginx (Test::Nginx::Peer).
use Test::Nginx::Socket::Lua;
use Test::Nginx::Peer;

plan skip_all => 'needs redis-server and memcached'
    if !Test::Nginx::Peer->has('redis-server') || !Test::Nginx::Peer->has('memcached');
plan tests => 30;

my $redis = Test::Nginx::Peer->redis;
Test::Nginx::Peer->memcached;
my $dns = Test::Nginx::Peer->dns(
    'a.test'    => '127.0.0.1',
    'two.test'  => [ '127.0.0.1', '127.0.0.2', '::1' ],
    'c.test'    => { cname => 'a.test' },
    'slow.test' => { answer => '127.0.0.1', delay => 0.1 },
    'turn.test' => { turns => [ 'SERVFAIL', '127.0.0.1' ], ttl => 0 },
    'no6.test'  => '127.0.0.1',
    'mute.test' => 'TIMEOUT',
    'fail.test' => 'SERVFAIL',
    'void.test' => 'EMPTY',
);
Test::Nginx::Peer->tcp(
    HTTP => sub {
        my ($socket) = @_;
        my $line = <$socket>;
        print {$socket} "HTTP/1.0 200 OK\r\n\r\n", $line =~ s/\r//r;
    }
);
my $sleeper = Test::Nginx::Peer->command( SLEEPER => [ 'sleep', '600' ], port => 0, ready => sub {1} );

run_tests();

# the queries it saw, and the end of peers
like( $dns->log, qr/^a\.test A$/m, 'DNS queries are recorded' );
unlike( $dns->log, qr/AAAA/, 'ipv6=off asks for no AAAA' );
for my $peer ( $redis, $sleeper ) {
    my $pid = $peer->pid;
    ok( kill( 0, $pid ), 'a peer runs' );
    $peer->stop;
    ok( !kill( 0, $pid ), 'and is gone after stop' );
}

__DATA__

=== TEST 1: names and addresses
--- config
    resolver $TEST_NGINX_RESOLVER ipv6=off;
    resolver_timeout 200ms;
    location / { set $name $arg_n; proxy_pass http://$name:$TEST_NGINX_HTTP_PORT/$arg_n; }
--- request eval
["GET /?n=a.test", "GET /?n=c.test", "GET /?n=slow.test",
 "GET /?n=none.test", "GET /?n=mute.test", "GET /?n=fail.test", "GET /?n=void.test",
 "GET /?n=two.test"]
--- error_code eval
[200, 200, 200, 502, 502, 502, 502, 200]
--- response_body_like eval
["^GET /a.test HTTP/1.0\n", "GET /c.test", "GET /slow.test", "502", "502", "502", "502", "GET /two.test"]
--- error_log
none.test could not be resolved (3: Host not found)
mute.test could not be resolved (110: Operation timed out)
fail.test could not be resolved (2: Server failure)
--- timeout: 5



=== TEST 2: memcached over TCP and over a unix socket
--- config
    set $memcached_key none;
    location /tcp { memcached_pass 127.0.0.1:$TEST_NGINX_MEMCACHED_PORT; }
    location /unix { memcached_pass unix:$TEST_NGINX_MEMCACHED_SOCK; }
--- request eval
["GET /tcp", "GET /unix"]
--- error_code eval
[404, 404]



=== TEST 3: redis over TCP and over a unix socket
--- config
    location /tcp { proxy_pass http://127.0.0.1:$TEST_NGINX_REDIS_PORT; }
    location /unix { proxy_pass http://unix:$TEST_NGINX_REDIS_SOCK; }
--- request eval
["GET /tcp", "GET /unix"]
--- error_code eval
[502, 502]
--- no_error_log eval
qr/Connection refused|No such file/
