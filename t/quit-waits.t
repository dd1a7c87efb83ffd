# Workers that are to leave while handlers and timers wait in every way there is
# (t/lib/lua/waits.lua): they leave when worker_shutdown_timeout has passed, at once when they are
# terminated, and with master_process off as well.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::CA;
use Test::Nginx::Instance;
use Test::Nginx::Peer;
use Test::Nginx::Puppet;

blackhole();
my $dns = Test::Nginx::Peer->dns( 'mute.test' => 'TIMEOUT' );

sub start {
    my (%more) = @_;
    my $main = defined $more{main} ? $more{main} : '';
    return Test::Nginx::Instance->start(
        main => "worker_processes 1;\nenv TEST_NGINX_PUPPET_PORT;\nenv TEST_NGINX_CA;\n$main",
        http => <<"END",
        resolver 127.0.0.1:$ENV{TEST_NGINX_DNS_PORT};
        lua_socket_log_errors off;
        lua_check_client_abort on;
        lua_max_running_timers 1000;
        init_by_lua_block { require("waits").blackhole = $ENV{TEST_NGINX_BLACKHOLE_PORT} }
END
        server => <<'END',
        location = /pid { content_by_lua_block { ngx.say(ngx.worker.pid()) } }
        location = /request { content_by_lua_block { require("waits").all() } }
        location = /timers {
            content_by_lua_block {
                local waits = require "waits"
                ngx.timer.at(0, waits.all)
                ngx.timer.at(1000, waits.all)
                ngx.timer.every(1000, function(premature)
                    ngx.log(ngx.WARN, "told: ", tostring(premature))
                end)
                require("puppet").eventually(1, ngx.timer.running_count)
                ngx.sleep(0.1)
                ngx.say(ngx.timer.running_count(), " ", ngx.timer.pending_count())
            }
        }
END
    );
}

my $TROUBLE = qr/\[(?:alert|emerg|crit)\]|exited on signal|left in connection|panicked|ran on/;

sub leaves {
    my ( $nginx, $pid ) = @_;
    my $deadline = time + 10;
    while ( time < $deadline ) {
        return 1 if !grep { $_ == $pid } $nginx->workers;
        sleep 0.01;
    }
    return 0;
}

sub pid { return $_[0]->get('/pid') =~ /(\d+)/ ? $1 : 0 }

# Requests that wait, and timers.
sub fill {
    my ($nginx) = @_;
    my @clients = map { $nginx->begin('/request') } 1 .. 2;
    is( $nginx->get('/timers'), "1 2\n", 'timers run and wait' );
    return @clients;
}

sub clean {
    my ($nginx) = @_;
    unlike( $nginx->log, $TROUBLE, 'error.log is clean' ) or diag $nginx->log;
    return;
}

# ---- reload: the old worker leaves when it must

my $nginx   = start( main => "master_process on;\nworker_shutdown_timeout 500ms;" );
my $old     = pid($nginx);
my @clients = fill($nginx);
my $begun   = time;
$nginx->signal('HUP');
ok( leaves( $nginx, $old ), 'reload: the old worker leaves' );
cmp_ok( time - $begun, '>', 0.4, 'when worker_shutdown_timeout has passed' );
like( $nginx->log, qr/told: true/, 'timers have been told' );
isnt( pid($nginx), $old, 'there is a new worker' );

# ---- quit, of the second one

@clients = fill($nginx);
$nginx->signal('QUIT');
ok( $nginx->ended(10), 'quit: nginx ends' );
clean($nginx);

# ---- fast exit

$nginx   = start( main => 'master_process on;' );
@clients = fill($nginx);
$nginx->signal('TERM');
ok( $nginx->ended(10), 'terminate: nginx ends' );
clean($nginx);

# ---- one process

for my $how ( [ QUIT => 'worker_shutdown_timeout 300ms;' ], [ TERM => '' ] ) {
    my ( $signal, $main ) = @{$how};
    $nginx   = start( main => "master_process off;\n$main" );
    @clients = fill($nginx);
    $nginx->signal($signal);
    ok( $nginx->ended(10), "one process, $signal: nginx ends" );
    clean($nginx);
}

done_testing();
