# Workers that end while sockets are open, idle in pools, connecting and queued:
# reload, graceful quit, fast exit.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::Puppet;

blackhole();

sub start {
    return Test::Nginx::Instance->start(
        main   => "master_process on; worker_processes 1;\nenv TEST_NGINX_PUPPET_PORT;",
        http   => 'lua_socket_log_errors off;',
        server => <<"END",
        location = /pool {
            content_by_lua_block {
                local t = require "puppet"
                local socks = {}
                for i = 1, 5 do socks[i] = t.open("hold") end
                local limited = t.open("hold", { pool = "limited", pool_size = 1, backlog = 10 })
                for i = 1, 5 do assert(socks[i]:setkeepalive(0)) end
                ngx.say("pid ", ngx.worker.pid())
            }
        }
        location = /busy {
            content_by_lua_block {
                local t = require "puppet"
                local sock = t.open("wait:0.3 say:done%0A hold", { pool = "busy" .. ngx.now() })
                local line = sock:receive()
                ngx.say(line, " ", ngx.worker.exiting(), " ", sock:setkeepalive(), " ",
                    tostring(sock:getreusedtimes()))
            }
        }
        location = /hang {
            content_by_lua_block {
                local t = require "puppet"
                local sock, how = ngx.socket.tcp(), ngx.var.arg_how
                sock:settimeout(60000)
                if how == "connect" then
                    sock:connect("127.0.0.1", $ENV{TEST_NGINX_BLACKHOLE_PORT})
                elseif how == "queue" then
                    local one = { pool = "one", pool_size = 1, backlog = 1 }
                    local holder = t.open("hold", one)
                    sock:connect("127.0.0.1", t.port, one)
                elseif how == "sleep" then
                    t.open("hold")
                    ngx.sleep(60)
                else
                    sock:connect("127.0.0.1", t.port)
                    sock:send("mute\\n")
                    if how == "send" then
                        sock:send(("x"):rep(20000000))
                    else
                        coroutine.wrap(function() sock:receive() end)()
                    end
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

# ---- reload: idle connections do not keep the old worker, running handlers do

my $nginx = start();
my ($old) = $nginx->get('/pool') =~ /^pid (\d+)/;
is_deeply( [ $nginx->workers ], [$old], 'one worker' );
$nginx->signal('HUP');
ok( wait_for( sub { ( $nginx->workers )[0] != $old || $nginx->workers > 1 } ), 'a new worker is there' );
ok( wait_for( sub { !grep { $_ == $old } $nginx->workers } ), 'the old worker ends in spite of pooled connections' );

my ($second) = $nginx->get('/pool') =~ /^pid (\d+)/;
isnt( $second, $old, 'the new worker serves' );
my $busy = $nginx->begin('/busy');
sleep 0.1;
$nginx->signal('HUP');
sleep 0.1;
ok( scalar( grep { $_ == $second } $nginx->workers ), 'a handler that waits keeps its worker' );
is( $nginx->body($busy), "done true 1 nil\n", 'and goes on; setkeepalive closes while the worker exits' );
ok( wait_for( sub { !grep { $_ == $second } $nginx->workers } ), 'then the worker ends' );
is( $nginx->get('/busy'), "done false 1 nil\n", 'the third worker keeps connections' );

# ---- graceful quit

$busy = $nginx->begin('/busy');
sleep 0.1;
$nginx->signal('QUIT');
is( $nginx->body($busy), "done true 1 nil\n", 'quit waits for the handler' );
ok( $nginx->ended(5), 'then nginx ends' );
is( $nginx->status, 0, 'with status 0' );
unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;

# ---- fast exit, with a handler in every kind of wait

$nginx = start();
$nginx->get('/pool');
my @waiting = map { $nginx->begin("/hang?how=$_") } qw( connect queue sleep send read );
sleep 0.2;
$nginx->signal('TERM');
ok( $nginx->ended(5), 'terminate does not wait' );
is( $nginx->status, 0, 'with status 0' );
unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
close $_ for @waiting;

# ---- a worker that is killed

$nginx = start();
my ($killed) = $nginx->get('/pool') =~ /^pid (\d+)/;
kill TERM => $killed;
ok( wait_for( sub { ( $nginx->workers )[0] && ( $nginx->workers )[0] != $killed } ), 'a terminated worker is replaced' );
like( $nginx->get('/pool'), qr/^pid \d+/, 'its successor serves' );
$nginx->signal('QUIT');
ok( $nginx->ended(5), 'and quits' );
unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;

done_testing();
