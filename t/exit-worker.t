# exit_worker_by_lua: what runs when a worker leaves, and how long.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::Peer;

Test::Nginx::Peer->redis;

my $TROUBLE = qr/\[(?:alert|emerg|crit|error)\]|signal 11|panicked|open socket/;

sub start {
    my ( $code, %more ) = @_;
    my $main = defined $more{main} ? $more{main} : "master_process on; worker_processes 1;\n";
    my $http = defined $more{http} ? $more{http} : '';
    return Test::Nginx::Instance->start(
        main   => $main,
        http   => "exit_worker_by_lua_block {$code}\n$http",
        server => <<'END' . ( defined $more{server} ? $more{server} : '' ),
        location = /pid { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
        location = /busy {
            content_by_lua_block {
                ngx.timer.at(0, function()
                    ngx.sleep(0.2)
                    ngx.log(ngx.WARN, "timer done")
                end)
                ngx.sleep(0.3)
                ngx.say("busy")
            }
            log_by_lua_block { ngx.sleep(0.1) ngx.log(ngx.WARN, "log done") }
        }
END
    );
}

# The messages of Lua code, in order.
sub said {
    my ($nginx) = @_;
    return join '; ', $nginx->log =~ /\[lua\] \S+:\d+: (?:\w+\(\): )?(.*?)(?: while|, client|, context|$)/mg;
}

# Each kind of end: the code runs once, and does not have to wait.

for my $signal (qw( QUIT TERM INT )) {
    my $nginx = start('ngx.log(ngx.WARN, ngx.get_phase(), " ", ngx.worker.id())');
    $nginx->get('/pid');
    $nginx->signal($signal);
    ok( $nginx->ended(5), "$signal" );
    is( said($nginx), 'exit_worker 0', 'runs once, in the worker' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

{
    my $nginx = start('ngx.log(ngx.WARN, "leaves")');
    my $old   = $nginx->get('/pid');
    $nginx->signal('HUP');
    my $deadline = time + 5;
    sleep 0.05 until said($nginx) eq 'leaves' || time > $deadline;
    is( said($nginx), 'leaves', 'HUP: in the old worker' );
    isnt( $nginx->get('/pid'), $old, 'a new one serves' );
    $nginx->signal('QUIT');
    ok( $nginx->ended(5), 'QUIT' );
    is( said($nginx), 'leaves; leaves', 'then in the new one' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

for my $signal (qw( QUIT TERM )) {
    my $nginx = start(
        'ngx.log(ngx.WARN, "leaves") ngx.sleep(0.05) ngx.log(ngx.WARN, "left")',
        main => 'master_process off;'
    );
    $nginx->get('/pid');
    $nginx->signal($signal);
    ok( $nginx->ended(5), "without a master: $signal" );
    is( said($nginx), 'leaves; left', 'runs, and waits' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

{
    my $nginx = start(
        'ngx.log(ngx.WARN, "leaves")',
        http => 'proxy_cache_path cache keys_zone=z:1m;',
        main => 'master_process on; worker_processes 3;'
    );
    $nginx->get('/pid');
    $nginx->signal('QUIT');
    ok( $nginx->ended(5), 'QUIT' );
    is( said($nginx), 'leaves; leaves; leaves', 'three workers, no helper' );
}

# It comes last.

{
    my $nginx  = start('ngx.log(ngx.WARN, "last")');
    my $client = $nginx->begin('/busy');
    sleep 0.1;
    $nginx->signal('QUIT');
    is( $nginx->body($client), "busy\n", 'a request in flight is answered' );
    ok( $nginx->ended(5), 'QUIT' );
    is( said($nginx), 'timer done; log done; last', 'after timers, requests and their logs' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

# What waits works.

for my $signal (qw( QUIT TERM )) {
    my $nginx = start(<<"END");
        local sem = require("ngx.semaphore").new()
        local thread = ngx.thread.spawn(function()
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $ENV{TEST_NGINX_REDIS_PORT}))
            assert(sock:send("PING\\r\\n"))
            local line = sock:receive()
            assert(sock:setkeepalive())
            ngx.sleep(0.1)
            sem:post()
            return line
        end)
        assert(sem:wait(1))
        ngx.log(ngx.WARN, select(2, ngx.thread.wait(thread)), " ", ngx.get_phase())
END
    $nginx->get('/pid');
    my $idle = $signal eq 'TERM' ? $nginx->connect : undef;
    $nginx->signal($signal);
    ok( $nginx->ended(5), "$signal" );
    is( said($nginx), '+PONG exit_worker', 'cosocket, thread, semaphore, sleep' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

# Bounded.

{
    my $nginx = start('ngx.sleep(100)');
    $nginx->get('/pid');
    my $start = time;
    $nginx->signal('QUIT');
    ok( $nginx->ended(10), 'a second by default' );
    cmp_ok( time - $start, '>', 0.9, 'not less' );
    like( $nginx->log, qr/\[warn\] .*exit_worker_by_lua\* ended: it waited longer than 1000 ms/, 'with a warning' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

{
    my $nginx = start(
        'local sock = ngx.socket.tcp() sock:settimeout(60000) sock:connect("127.0.0.1", ' . $ENV{TEST_NGINX_REDIS_PORT}
            . ') ngx.thread.spawn(ngx.sleep, 100) sock:receive()',
        http => 'lua_exit_worker_timeout 200ms;'
    );
    $nginx->get('/pid');
    my $start = time;
    $nginx->signal('TERM');
    ok( $nginx->ended(10), 'lua_exit_worker_timeout' );
    my $took = time - $start;
    cmp_ok( $took, '>', 0.15, 'is granted' );
    cmp_ok( $took, '<', 0.9,  'and holds' );
    like( $nginx->log, qr/\[warn\] .*exit_worker_by_lua\* ended: it waited longer than 200 ms/, 'with a warning' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

# A second signal.

for my $main ( 'master_process on; worker_processes 1;', 'master_process off;' ) {
    my $nginx = start( 'ngx.log(ngx.WARN, "waits") ngx.sleep(100)', http => 'lua_exit_worker_timeout 60s;', main => $main );
    $nginx->get('/pid');
    $nginx->signal('QUIT');
    my $deadline = time + 5;
    sleep 0.05 until said($nginx) eq 'waits' || time > $deadline;
    my $start = time;
    $nginx->signal('TERM');
    ok( $nginx->ended(10), 'TERM during QUIT' );
    cmp_ok( time - $start, '<', 1, 'ends it at once' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

# Nobody is served meanwhile, and nothing else goes on.

{
    my $nginx = start(
        'ngx.log(ngx.WARN, "waits") ngx.sleep(0.5) ngx.log(ngx.WARN, "left")',
        server => <<'END',
        location = /slow { content_by_lua_block { ngx.sleep(0.3) ngx.log(ngx.WARN, "went on") } }
        location = /now { content_by_lua_block { ngx.log(ngx.WARN, "served") } }
END
    );
    my $slow = $nginx->begin('/slow');
    my $open = $nginx->connect;
    sleep 0.1;
    $nginx->signal('TERM');
    my $deadline = time + 5;
    sleep 0.02 until said($nginx) eq 'waits' || time > $deadline;
    print {$open} "GET /now HTTP/1.0\r\n\r\n";
    ok( $nginx->ended(5), 'TERM' );
    is( said($nginx), 'waits; left', 'requests stand still' );
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
}

# Errors; what has no place there.

{
    my $nginx = start(<<'END');
        local function try(f, ...) return (select(2, pcall(f, ...))) end
        ngx.log(ngx.WARN, try(ngx.timer.at, 0, print))
        ngx.log(ngx.WARN, try(ngx.say, "x"))
        ngx.log(ngx.WARN, try(function() return ngx.var.uri end))
        ngx.log(ngx.WARN, try(ngx.exit, 0))
        ngx.sleep(0.01)
        ngx.ctx.a = 1
        error("no luck")
END
    $nginx->get('/pid');
    $nginx->signal('QUIT');
    ok( $nginx->ended(5), 'QUIT' );
    is( () = $nginx->log =~ /API disabled in the context of exit_worker_by_lua\*/g, 4, 'what is disabled' );
    like( $nginx->log, qr/\[error\] .*exit_worker_by_lua error: exit_worker_by_lua\(nginx\.conf:\d+\):8: no luck\nstack traceback:/,
        'an error is logged' );
}

{
    my $nginx = Test::Nginx::Instance->start(
        main   => 'user root; master_process on; worker_processes 1;',
        http   => 'exit_worker_by_lua_file bye.lua; init_worker_by_lua_block { ngx.log(ngx.WARN, "come") }',
        server => 'location = /pid { return 200; }'
    );
    $nginx->write( 'bye.lua', 'ngx.log(ngx.WARN, "gone")' );
    $nginx->get('/pid');
    $nginx->signal('QUIT');
    ok( $nginx->ended(5), 'QUIT' );
    is( said($nginx), 'come; gone', 'a file' );
}

done_testing();
