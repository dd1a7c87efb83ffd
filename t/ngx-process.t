# require "ngx.process", ngx.worker.pids.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;

my %part = (
    http => <<'END',
    proxy_cache_path cache keys_zone=z:1m;
    init_by_lua_block {
        local process = require "ngx.process"
        in_init = { process.type(), tostring(ngx.worker.pids()), tostring(process.get_master_pid()),
            select(2, process.enable_privileged_agent()) }
        id_in_init = tostring(ngx.worker.id()) .. " " .. tostring(ngx.worker.count())
    }
    init_worker_by_lua_block {
        id_in_worker = tostring(ngx.worker.id())
        in_worker = require("ngx.process").type()
    }
END
    server => <<'END',
        location = /type {
            content_by_lua_block {
                local process = require "ngx.process"
                ngx.say(table.concat(in_init, "; "))
                ngx.say(in_worker, " ", process.type(), " ", tostring(process.get_master_pid()))
                ngx.say(select(2, process.enable_privileged_agent()))
            }
        }
        location = /pids {
            content_by_lua_block {
                local pids = ngx.worker.pids()
                ngx.say(pids[1] == ngx.worker.pid(), " ", table.concat(pids, " "))
            }
        }
        location = /id {
            content_by_lua_block {
                ngx.say(ngx.worker.id(), " ", id_in_worker, " ", ngx.worker.count(), " ", id_in_init)
            }
        }
        location = /leave {
            content_by_lua_block {
                require("ngx.process").signal_graceful_exit()
                ngx.sleep(0.1)
                ngx.say(ngx.worker.pid(), " ", tostring(ngx.worker.exiting()))
            }
        }
END
);

sub wait_for {
    my ($condition) = @_;
    my $deadline = time + 5;
    while ( time < $deadline ) {
        return 1 if $condition->();
        sleep 0.02;
    }
    return 0;
}

my $nginx = Test::Nginx::Instance->start( main => 'master_process on; worker_processes 2;', %part );
my $pid   = $nginx->pid;
is( $nginx->get('/type'), <<"END", 'master and worker' );
master; nil; $pid; this nginx has no privileged agent
worker worker $pid
API disabled in the current context
END

# Each worker has a number of its own; the master has none.
my %id;
my $until = time + 10;
$id{ $nginx->get('/id') } = 1 while keys %id < 2 && time < $until;
is( join( '', sort keys %id ), "0 0 2 nil 2\n1 1 2 nil 2\n", 'numbers of workers' );

# Those that serve: without nginx's cache manager and loader.
sub listed {
    my ( $own, @pids ) = split ' ', $nginx->get('/pids');
    return $own eq 'true' ? join( ' ', sort @pids ) : "own: $own";
}
my $workers = listed();
is( scalar( my @two = split ' ', $workers ), 2, 'two workers' );
my %child = map { $_ => 1 } $nginx->workers;
ok( $child{ $two[0] } && $child{ $two[1] }, 'both children of the master' );
is( listed(), $workers, 'as each of them says' ) for 1 .. 5;

my ( $left, $exiting ) = split ' ', $nginx->get('/leave');
is( $exiting, 'true', 'signal_graceful_exit lets requests end' );
ok( wait_for( sub { !grep { $_ == $left } $nginx->workers } ), 'then the worker leaves' );
ok( wait_for( sub { listed() ne $workers && 2 == split ' ', listed() } ), 'and is replaced' );

$nginx->signal('HUP');
ok( wait_for( sub { my @pids = split ' ', listed(); @pids == 2 && !grep { $workers =~ /\b$_\b/ } @pids } ),
    'after a reload: the new ones' );
$nginx->signal('QUIT');
ok( $nginx->ended(5), 'quit' );
unlike( $nginx->log, qr/\[(?:error|alert|emerg)\]|panicked/, 'error.log is clean' ) or diag $nginx->log;

$nginx = Test::Nginx::Instance->start( main => 'master_process off;', %part );
is( $nginx->get('/type'), <<"END", 'one process' );
single; nil; nil; this nginx has no privileged agent
single single nil
API disabled in the current context
END
is( $nginx->get('/pids'), 'true ' . $nginx->pid . "\n", 'which is the worker' );

done_testing();
