# What a request with a pooled Redis GET costs in system calls: 2 epoll_wait,
# 2 recvfrom, 1 sendto, 1 writev in the worker, and nothing else. Then the same for
# other steady states, and what a fresh connection costs.

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::Peer;

plan skip_all => "$_ is not installed" for grep { !Test::Nginx::Peer->has($_) } qw( strace redis-server );

use constant { ROUNDS => 100 };

my $redis = Test::Nginx::Peer->redis->port;
my $udp   = Test::Nginx::Peer->udp( UDP => sub { return "answer to $_[0]" } )->port;
my $nginx = Test::Nginx::Instance->start( main => 'master_process off;', server => <<"END" );
        location = /hello {
            content_by_lua_block { ngx.say("hello") }
        }
        location = /pooled {
            content_by_lua_block {
                local sock = ngx.socket.tcp()
                sock:settimeout(1000)
                local ok, err = sock:connect("127.0.0.1", $redis)
                if not ok then return ngx.say(err) end
                local bytes, err = sock:send("*2\\r\\n\$3\\r\\nget\\r\\n\$3\\r\\nkey\\r\\n")
                if not bytes then return ngx.say(err) end
                local line, err = sock:receive()
                if not line then return ngx.say(err) end
                local data, err = sock:receive(5)
                if not data then return ngx.say(err) end
                sock:receive(2)
                sock:setkeepalive(10000, 10)
                ngx.say(data)
            }
        }
        location = /backlog {
            content_by_lua_block {
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $redis, { pool = "b", pool_size = 2, backlog = 2 }))
                sock:send("ping\\r\\n")
                local line = sock:receive()
                sock:setkeepalive()
                ngx.say(line)
            }
        }
        location = /udp {
            content_by_lua_block {
                local sock = ngx.socket.udp()
                assert(sock:setpeername("127.0.0.1", $udp))
                sock:send("query")
                local answer = sock:receive()
                sock:close()
                ngx.say(answer)
            }
        }
        location = /fresh {
            content_by_lua_block {
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $redis))
                sock:send("ping\\r\\n")
                local line = sock:receive()
                sock:close()
                ngx.say(line)
            }
        }
END

my $strace;

END {
    if ( defined $strace ) {
        my $status = $?;
        kill TERM => $strace;
        waitpid $strace, 0;
        $? = $status;
    }
}

my $client = $nginx->connect;

# One request over the client's only connection; returns the body.
sub get {
    my ($path) = @_;
    syswrite $client, "GET $path HTTP/1.1\r\nHost: a\r\n\r\n";
    my $response = '';
    until ( $response =~ /\r\n0\r\n\r\n\z/ ) {
        my $got = sysread $client, $response, 4096, length $response;
        die "no answer to $path: $response" if !$got;
    }
    my ($chunks) = $response =~ /\r\n\r\n(.*)\r\n0\r\n\r\n\z/s;
    $chunks =~ s/^[0-9a-f]+\r\n//;
    return $chunks;
}

# Counts the worker's system calls during ROUNDS requests; undef without the right
# to trace.
sub count {
    my ($path) = @_;
    $nginx->write( 'strace.err', '' );
    $strace = fork;
    die "fork: $!" if !defined $strace;
    if ( !$strace ) {
        open STDERR, '>', $nginx->prefix . '/strace.err' or POSIX::_exit(1);
        exec 'strace', '-f', '-o', $nginx->prefix . '/trace', '-p', $nginx->pid or POSIX::_exit(1);
    }
    my $end = time + 10;
    until ( $nginx->read('strace.err') =~ /attached/ ) {
        if ( waitpid( $strace, POSIX::WNOHANG() ) || time > $end ) {
            undef $strace;
            return;
        }
        sleep 0.02;
    }
    get($path) for 1 .. ROUNDS;
    kill INT => $strace;
    waitpid $strace, 0;
    undef $strace;

    # The calls that the attaching and detaching interrupt belong to no request, nor do
    # those by which Lua's heap grows until its next collection.
    my %calls;
    for ( split /\n/, $nginx->read('trace') ) {
        next if /strace:|resumed>|restart_syscall|<detached|^\d+\s+(?:---|\+\+\+)/;
        $calls{$1}++ if /^(?:\d+\s+)?(\w+)\(/ && $1 !~ /^(?:mmap|munmap|mremap|brk|madvise)$/;
    }
    return \%calls;
}

sub per_request {
    my ($calls) = @_;
    return { map { $_ => sprintf '%.1f', $calls->{$_} / ROUNDS } keys %$calls };
}

my $setup = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $redis ) or die "redis: $!";
print {$setup} "set key value\r\n";
<$setup>;
close $setup;

my %expected = (
    '/hello'   => { epoll_wait => '1.0', recvfrom => '1.0', writev => '1.0' },
    '/pooled'  => { epoll_wait => '2.0', recvfrom => '2.0', sendto => '1.0', writev => '1.0' },
    '/backlog' => { epoll_wait => '2.0', recvfrom => '2.0', sendto => '1.0', writev => '1.0' },
    '/udp' => {
        epoll_wait => '2.0', recvfrom => '2.0', sendto => '1.0', writev => '1.0',
        socket => '1.0', connect => '1.0', epoll_ctl => '1.0', close => '1.0',
    },
);
my %body = (
    '/hello' => "hello\n", '/pooled' => "value\n", '/backlog' => "+PONG\n", '/fresh' => "+PONG\n",
    '/udp' => "answer to query\n",
);

for my $path ( sort keys %expected ) {
    is( get($path), $body{$path}, "$path answers" ) for 1 .. 3;
    my $calls = count($path);
SKIP: {
        skip 'not permitted to trace: ' . $nginx->read('strace.err'), 1 if !$calls;
        is_deeply( per_request($calls), $expected{$path}, "$path: system calls a request" )
            or diag explain $calls;
    }
}

# A connection of its own: made, watched and closed with one call each.
get('/fresh') for 1 .. 3;
my $calls = count('/fresh');
SKIP: {
    skip 'not permitted to trace', 1 if !$calls;
    my %calls = %{ per_request($calls) };
    delete @calls{qw( epoll_wait setsockopt )};
    is_deeply(
        \%calls,
        {
            socket => '1.0', ioctl => '1.0', connect => '1.0', epoll_ctl => '1.0',
            sendto => '1.0', recvfrom => '2.0', writev => '1.0', close => '1.0',
        },
        'a fresh connection: system calls a request'
    ) or diag explain $calls;
}

unlike( $nginx->log, qr/\[(?:warn|error|crit|alert|emerg)\]/, 'error.log is clean' );
done_testing();
