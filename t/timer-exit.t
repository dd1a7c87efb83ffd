# Workers that end while timers and threads are there: reload, graceful quit,
# worker_shutdown_timeout, fast exit.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::Puppet;

sub start {
    my (%more) = @_;
    my $main = defined $more{main} ? $more{main} : '';
    return Test::Nginx::Instance->start(
        main   => "master_process on; worker_processes 1;\nenv TEST_NGINX_PUPPET_PORT;\n$main",
        http   => ( defined $more{http} ? $more{http} : '' ) . 'lua_socket_log_errors off;',
        server => <<'END',
        location = /pid { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
        location = /pending {
            content_by_lua_block {
                local t = require "puppet"
                local function told(premature, name)
                    local sock = t.open("line say:answer%0A hold")
                    sock:send("x\n")
                    ngx.sleep(0.02)
                    coroutine.yield()
                    ngx.log(ngx.WARN, name, ": ", tostring(premature), " ", sock:receive())
                    local ok, err = ngx.timer.at(1, told)
                    ngx.log(ngx.WARN, name, ": ", tostring(ok), " ", err)
                    if name == "at" then
                        ngx.timer.at(0, function(premature)
                            coroutine.yield()
                            ngx.sleep(0)
                            ngx.log(ngx.WARN, "last: ", tostring(premature), " ",
                                tostring(ngx.worker.exiting()))
                        end)
                    end
                end
                ngx.timer.at(1000, told, "at")
                ngx.timer.every(1000, told, "every")
                ngx.say(ngx.timer.pending_count())
            }
        }
        location = /running {
            content_by_lua_block {
                ngx.timer.at(0, function(premature)
                    ngx.sleep(1)
                    ngx.log(ngx.WARN, "done: ", tostring(premature), " ", tostring(ngx.worker.exiting()))
                end)
                ngx.timer.every(0.02, function(premature)
                    ngx.log(ngx.WARN, "every: ", tostring(premature))
                end)
                ngx.sleep(0.05)
                ngx.say("running")
            }
        }
        location = /endless {
            content_by_lua_block {
                local t = require "puppet"
                ngx.timer.at(0, function()
                    local sock = t.open("mute")
                    sock:settimeout(60000)
                    ngx.thread.spawn(function() sock:receive() end)
                    ngx.thread.spawn(function() while true do ngx.sleep(0) end end)
                    ngx.sleep(60)
                end)
                ngx.timer.at(0, function()
                    local sock = t.open("mute")
                    sock:settimeout(60000)
                    coroutine.wrap(function() sock:receive() end)()
                end)
                ngx.sleep(0.01)
                ngx.say("endless")
            }
        }
        location = /threads {
            content_by_lua_block {
                local t = require "puppet"
                local sock = t.open("wait:0.3 say:done%0A hold")
                local reader = ngx.thread.spawn(function() return sock:receive() end)
                local sleeper = ngx.thread.spawn(function() ngx.sleep(0.2) return "slept" end)
                local yielder = ngx.thread.spawn(function()
                    while not ngx.worker.exiting() do coroutine.yield() end
                    for i = 1, 100 do coroutine.yield() ngx.sleep(0) end
                    return "yielded"
                end)
                for _, thread in ipairs { yielder, sleeper, reader } do
                    ngx.print(select(2, ngx.thread.wait(thread)), " ")
                end
            }
        }
END
    );
}

my $TROUBLE = qr/\[(?:alert|emerg)\]|exited on signal|left in connection|panicked/;

sub wait_for {
    my ($condition) = @_;
    my $deadline = time + 5;
    while ( time < $deadline ) {
        return 1 if $condition->();
        sleep 0.01;
    }
    return 0;
}

sub pid { return $_[0]->get('/pid') =~ /(\d+)/ ? $1 : 0 }

sub leaves {
    my ( $nginx, $pid ) = @_;
    return wait_for( sub { !grep { $_ == $pid } $nginx->workers } );
}

# ---- pending timers fire prematurely, once, and may do all that timers may

my $nginx = start();
my $old   = pid($nginx);
is( $nginx->get('/pending'), "2\n", 'two timers wait' );
$nginx->signal('HUP');
ok( leaves( $nginx, $old ), 'the old worker does not wait for them' );
like( $nginx->log, qr/ at: true answer, context: ngx\.timer/,    'ngx.timer.at is premature' );
like( $nginx->log, qr/ every: true answer, context: ngx\.timer/, 'so is ngx.timer.every' );
like( $nginx->log, qr/ at: nil process exiting/,     'there are no new timers' );
like( $nginx->log, qr/ last: false true/, 'but for those that run at once' );
is( () = $nginx->log =~ / every: true/g, 1, 'every has ended' );
isnt( pid($nginx), $old, 'the new worker serves' );

# ---- running ones go on

$old = pid($nginx);
is( $nginx->get('/running'), "running\n", 'a timer runs' );
$nginx->signal('HUP');
ok( leaves( $nginx, $old ), 'the old worker ends' );
like( $nginx->log, qr/ done: false true/, 'after the timer' );
is( () = $nginx->log =~ / every: true, context/g, 1, 'another one was told' );

# ---- quit, with a request whose threads wait

$nginx->get('/pending');
my $threads = $nginx->begin('/threads');
sleep 0.1;
$nginx->signal('QUIT');
is( $nginx->body($threads), 'yielded slept done ', 'threads go on' );
ok( $nginx->ended(5), 'then nginx ends' );
is( $nginx->status, 0, 'with status 0' );
unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;

# ---- a request that only gives up its turn is not lost

$nginx = start();
$threads = $nginx->begin('/threads');
sleep 0.35;
$nginx->signal('QUIT');
is( $nginx->body($threads), 'yielded slept done ', 'nothing but yields holds the worker' );
ok( $nginx->ended(5), 'it ends' );
unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;

# ---- worker_shutdown_timeout

$nginx = start( main => 'worker_shutdown_timeout 200ms;' );
is( $nginx->get('/endless'), "endless\n", 'endless timers' );
my $start = time;
$nginx->signal('QUIT');
ok( $nginx->ended(3), 'do not outlive worker_shutdown_timeout' );
cmp_ok( time - $start, '>', 0.15, 'which they are given' );
unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;

# ---- fast exit

$nginx = start();
$nginx->get($_) for qw( /endless /pending /running );
$nginx->signal('TERM');
ok( $nginx->ended(3), 'terminate waits for nothing' );
unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;

# ---- a worker without helpers runs init_worker_by_lua, and nobody else does

$nginx = start( http => <<'END' );
    proxy_cache_path cache keys_zone=z:1m;
    init_worker_by_lua_block {
        ngx.log(ngx.WARN, "init_worker")
        ngx.timer.at(1000, function() end)
    }
END
pid($nginx);
sleep 0.1;
is( () = $nginx->log =~ /\] init_worker/g, 1, 'one process in which timers run' );
$nginx->signal('QUIT');
ok( $nginx->ended(3), 'quit' );
unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;

done_testing();
