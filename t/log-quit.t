# log_by_lua that waits, when the worker leaves; and many of them.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::Peer;

Test::Nginx::Peer->redis;

my $TROUBLE = qr/\[(?:alert|emerg|crit|error)\]|signal 11|panicked|open socket/;

sub start {
    my (%more) = @_;
    my $main = defined $more{main} ? $more{main} : '';
    return Test::Nginx::Instance->start(
        main   => $main || "master_process on; worker_processes 1;\n",
        http   => defined $more{http} ? $more{http} : '',
        server => <<"END",
        location = /pid { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
        location = /rss {
            content_by_lua_block {
                collectgarbage() collectgarbage()
                local f = io.open("/proc/self/status")
                ngx.say(f:read("*a"):match("VmRSS:%s*(%d+)"), " ", collectgarbage("count"))
                f:close()
            }
        }
        location = /slow {
            return 200 "ok\\n";
            log_by_lua_block {
                ngx.sleep(0.4)
                ngx.log(ngx.WARN, "done ", ngx.var.uri, " ", tostring(ngx.worker.exiting()))
            }
        }
        location = /endless {
            return 200 "ok\\n";
            log_by_lua_block {
                local sock = ngx.socket.tcp()
                sock:settimeout(100000)
                assert(sock:connect("127.0.0.1", $ENV{TEST_NGINX_REDIS_PORT}))
                ngx.thread.spawn(function() ngx.sleep(100) end)
                ngx.timer.at(0, function() end)
                sock:receive()
            }
        }
        location = /redis {
            content_by_lua_block { ngx.ctx.a = { ngx.var.arg_n } ngx.header.x = "y" ngx.say("ok") }
            log_by_lua_block {
                local sock = ngx.socket.tcp()
                sock:settimeout(30000)
                assert(sock:connect("127.0.0.1", $ENV{TEST_NGINX_REDIS_PORT}, { pool = "logs", pool_size = 20, backlog = 10000 }))
                assert(sock:send("INCR logged\\r\\n"))
                assert(sock:receive())
                assert(sock:setkeepalive(10000, 100))
                if ngx.var.arg_n ~= ngx.ctx.a[1] or ngx.status ~= 200 then error("mixed up") end
            }
        }
        location = /count {
            content_by_lua_block {
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", $ENV{TEST_NGINX_REDIS_PORT}))
                assert(sock:send("GETSET logged 0\\r\\n"))
                ngx.say(sock:receive() == "\$-1" and 0 or sock:receive())
                sock:setkeepalive(10000, 100)
            }
        }
END
    );
}

# ---- leaving

for my $end (qw( QUIT HUP )) {
    my $nginx = start();
    is( $nginx->get('/slow'), "ok\n", "$end" );
    my ($old) = $nginx->workers;
    $nginx->signal($end);
    if ( $end eq 'HUP' ) {
        my $deadline = time + 5;
        sleep 0.05 while kill( 0, $old ) && time < $deadline;
        is( $nginx->get('/slow'), "ok\n", 'the new worker' );
        $nginx->signal('QUIT');
    }
    ok( $nginx->ended(5), 'the worker leaves' );
    like( $nginx->log, qr/done \/slow true while logging request, client/, 'when the log is written' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

{
    my $nginx = start( main => "worker_shutdown_timeout 200ms; master_process on; worker_processes 1;\n" );
    $nginx->get('/endless') for 1 .. 3;
    my $start = time;
    $nginx->signal('QUIT');
    ok( $nginx->ended(5), 'worker_shutdown_timeout' );
    cmp_ok( time - $start, '>', 0.15, 'is granted' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

for my $main ( '', "master_process off;\n" ) {
    my $nginx = start( main => $main );
    $nginx->get('/endless') for 1 .. 3;
    $nginx->signal('TERM');
    ok( $nginx->ended(5), 'TERM waits for nothing' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

# ---- many

# N requests on one connection, pipelined; the bodies of the answers must be right.
sub requests {
    my ( $nginx, $path, $n ) = @_;
    my $client = $nginx->connect;
    my $good   = 0;
    for my $batch ( 1 .. $n / 20 ) {
        print {$client} map {"GET $path?n=$_ HTTP/1.1\r\nHost: a\r\nCookie: c=$_; d=e\r\nX-Fill: " . 'f' x $_ . "\r\n\r\n"} 1 .. 20;
        for ( 1 .. 20 ) {
            local $/ = "0\r\n\r\n";
            my $answer = <$client>;
            $good++ if defined $answer && $answer =~ /\r\n\r\n3\r\nok\n\r\n0\r\n\r\n\z/;
        }
    }
    return $good;
}

sub counted {
    my ( $nginx, $n ) = @_;
    my $sum      = 0;
    my $deadline = time + 20;
    while ( $sum < $n && time < $deadline ) {
        my $more = $nginx->get('/count');
        $sum += $more =~ /^(\d+)/ ? $1 : 0;
        sleep 0.01;
    }
    return $sum;
}

{
    my $nginx = start();
    $nginx->get('/count');
    is( requests( $nginx, '/redis', 1000 ), 1000, 'a first round' );
    is( counted( $nginx, 1000 ), 1000, 'each is logged once' );
    my ($before) = $nginx->get('/rss') =~ /^(\d+)/;
    my ( $answered, $logged ) = ( 0, 0 );
    for ( 1 .. 50 ) {
        $answered += requests( $nginx, '/redis', 200 );
        $logged += counted( $nginx, 200 );
    }
    is( $answered, 10000, 'more rounds' );
    is( $logged,   10000, 'each is logged once' );
    my ($after) = $nginx->get('/rss') =~ /^(\d+)/;
    cmp_ok( $after - $before, '<', 3000, 'kilobytes that it took' );
    $nginx->signal('QUIT');
    ok( $nginx->ended(5), 'QUIT' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

{
    my $nginx = start( http => 'lua_max_waiting_logs 10;' );
    my $client = $nginx->connect;
    print {$client} "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n" x 30;
    sleep 0.5;
    is( $nginx->get('/pid') =~ /^\d+$/ ? 1 : 0, 1, 'a log server that hangs: others are served' );
    is( () = $nginx->log =~ /10 lua_max_waiting_logs are not enough/g, 20, 'the rest are ended' );
    is( () = $nginx->log =~ /128 worker_connections are not enough/g,  0,  'connections do not run out' );
    $nginx->signal('TERM');
    ok( $nginx->ended(5), 'TERM' );
    unlike( $nginx->log, qr/signal 11|panicked|open socket|\[(?:error|crit|emerg)\]/, 'error.log is clean but for that' )
        or diag $nginx->log;
}

done_testing();
