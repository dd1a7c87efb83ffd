# What a request with a pooled Redis GET costs in system calls: 2 epoll_wait,
# 2 recvfrom, 1 sendto, 1 writev in the worker, and nothing else. Then the same for
# other steady states, and what a fresh connection costs.

use strict;
use warnings;

use Cwd qw( abs_path );
use File::Basename qw( dirname );
use File::Temp qw( tempdir );
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Peer;
use Test::Nginx::Ports qw( reserve_port );

plan skip_all => "$_ is not installed" for grep { !Test::Nginx::Peer->has($_) } qw( strace redis-server );

use constant { ROUNDS => 100 };

my $root   = abs_path( dirname(__FILE__) . '/..' );
my $module = $ENV{TEST_NGINX_LOAD_MODULES} || "$root/target/release/libngx_http_cosocket_module.so";
my $nginx  = $ENV{TEST_NGINX_BINARY} || 'nginx';
my $prefix = tempdir( 'cosocket-syscalls-XXXXXX', TMPDIR => 1, CLEANUP => 1 );
my $port   = reserve_port();
my $redis  = Test::Nginx::Peer->redis->port;
my $udp    = Test::Nginx::Peer->udp( UDP => sub { return "answer to $_[0]" } )->port;

sub spew {
    my ( $path, $text ) = @_;
    open my $out, '>', $path or die "$path: $!";
    print {$out} $text;
    close $out or die "$path: $!";
    return;
}

sub slurp {
    open my $in, '<', $_[0] or return '';
    local $/;
    return scalar <$in> // '';
}

mkdir "$prefix/logs" or die "mkdir: $!";
spew( "$prefix/nginx.conf", <<"END" );
load_module $module;
daemon off;
master_process off;
pid logs/nginx.pid;
error_log logs/error.log warn;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path logs/body;
    proxy_temp_path logs/proxy;
    fastcgi_temp_path logs/fastcgi;
    uwsgi_temp_path logs/uwsgi;
    scgi_temp_path logs/scgi;
    keepalive_requests 100000;
    server {
        listen 127.0.0.1:$port;
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
    }
}
END

my $pid = fork // die "fork: $!";
if ( !$pid ) {
    exec $nginx, '-p', "$prefix/", '-e', "$prefix/logs/error.log", '-c', "$prefix/nginx.conf"
        or POSIX::_exit(1);
}
my $strace;

END {
    my $status = $?;
    for my $child ( grep { defined } $strace, $pid ) {
        kill TERM => $child;
        waitpid $child, 0;
    }
    $? = $status;
}

my $client;
my $deadline = time + 10;
until ($client) {
    $client = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port );
    die 'nginx did not start: ' . slurp("$prefix/logs/error.log") if !$client && time > $deadline;
    sleep 0.02 if !$client;
}
$client->autoflush(1);

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
    my $file = "$prefix/trace";
    spew( "$prefix/strace.err", '' );
    $strace = fork // die "fork: $!";
    if ( !$strace ) {
        open STDERR, '>', "$prefix/strace.err" or POSIX::_exit(1);
        exec 'strace', '-f', '-o', $file, '-p', $pid or POSIX::_exit(1);
    }
    my $end = time + 10;
    sleep 0.02 until slurp("$prefix/strace.err") =~ /attached/ || waitpid( $strace, POSIX::WNOHANG() ) || time > $end;
    if ( slurp("$prefix/strace.err") !~ /attached/ ) {
        undef $strace;
        return;
    }
    get($path) for 1 .. ROUNDS;
    kill INT => $strace;
    waitpid $strace, 0;
    undef $strace;

    # The calls that the attaching and detaching interrupt belong to no request, nor do
    # those by which Lua's heap grows until its next collection.
    my %calls;
    for ( split /\n/, slurp($file) ) {
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
        skip 'not permitted to trace: ' . slurp("$prefix/strace.err"), 1 if !$calls;
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
            socket => '1.0', ioctl => '1.0', connect => '1.0', epoll_ctl => '1.0', getsockopt => '1.0',
            sendto => '1.0', recvfrom => '2.0', writev => '1.0', close => '1.0',
        },
        'a fresh connection: system calls a request'
    ) or diag explain $calls;
}

is( slurp("$prefix/logs/error.log"), '', 'error.log is empty' );
done_testing();
