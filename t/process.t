# nginx as a whole: signals, reload, graceful quit, binary upgrade, with requests
# that sleep in Lua meanwhile. Runs its own nginx, with master and workers.
use strict;
use warnings;

use File::Path qw( make_path remove_tree );
use File::Spec ();
use IO::Socket::INET;
use POSIX qw( :sys_wait_h );
use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Config qw( module_paths );
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::Util qw( $NginxBinary );

my $root = File::Spec->rel2abs("t/servroot_process_$$");
my $port = reserve_port();
my @started;

# A binary upgrade needs the full path.
my ($nginx) = grep { -x } $NginxBinary =~ m{/} ? File::Spec->rel2abs($NginxBinary)
    : map {"$_/$NginxBinary"} split( /:/, $ENV{PATH} ), '/usr/sbin';

sub write_conf {
    my ( $version, $main, $daemon ) = @_;
    make_path("$root/logs");
    open my $out, '>', "$root/nginx.conf" or die $!;
    print {$out} map({"load_module $_;\n"} module_paths()), <<"CONF";
$main
daemon $daemon;
pid $root/nginx.pid;
error_log $root/logs/error.log info;
events {}
http {
    access_log off;
    lua_http10_buffering off;
    @{[ map {"${_}_temp_path $root/temp_$_;"} qw( client_body proxy fastcgi uwsgi scgi ) ]}
    init_by_lua_block { version = "$version" }
    init_worker_by_lua_block { started = ngx.worker.pid() }
    server {
        listen 127.0.0.1:$port;
        location /version { content_by_lua_block { ngx.say(version) } }
        location /sleep {
            content_by_lua_block {
                ngx.print("a")
                ngx.flush(true)
                ngx.sleep(0.5)
                ngx.say("b ", version, " ", ngx.worker.exiting())
            }
        }
        location /worker {
            content_by_lua_block {
                ngx.say(ngx.worker.id(), " ", ngx.worker.count(), " ", ngx.worker.pid() == started, " ", ngx.worker.pid())
            }
        }
    }
}
CONF
    close $out or die $!;
    return;
}

sub start {
    my $pid = fork // die $!;
    if ( !$pid ) {
        open STDERR, '>', "$root/logs/stderr.log";
        exec $nginx, '-p', "$root/", '-c', "$root/nginx.conf" or exit 127;
    }
    push @started, $pid;
    wait_for( sub { -s "$root/nginx.pid" } );
    return $pid;
}

sub wait_for {
    my ($condition) = @_;
    my $until = time + 10;
    until ( $condition->() ) {
        return 0 if time > $until;
        sleep 0.01;
    }
    return 1;
}

sub connect_to_nginx {
    my ($uri) = @_;
    my $socket;
    wait_for( sub { $socket = IO::Socket::INET->new("127.0.0.1:$port") } ) or return;
    print {$socket} "GET $uri HTTP/1.0\r\n\r\n";
    return $socket;
}

sub answer {
    my ($socket) = @_;
    return '' if !$socket;
    local $SIG{ALRM} = sub { die "no answer\n" };
    alarm 10;
    my $text = eval { local $/; <$socket> } // '';
    alarm 0;
    return $text =~ s/\A.*?\r\n\r\n//sr;
}

sub get { return answer( connect_to_nginx(shift) ) }

sub pid_of {
    my ($file) = @_;
    open my $in, '<', $file or return 0;
    chomp( my $pid = <$in> // 0 );
    return $pid;
}

sub ended {
    my ($pid) = @_;
    my $done;
    wait_for( sub { $done = waitpid $pid, WNOHANG; $done != 0 } ) or return 'runs';
    return $done == $pid ? "status $?" : 'gone';
}

# For processes that are not children of this one.
sub gone {
    my ($pid) = @_;
    return wait_for( sub { !kill 0 => $pid } );
}

sub error_log {
    open my $in, '<', "$root/logs/error.log" or return '';
    local $/;
    return scalar <$in>;
}

sub fresh {
    remove_tree($root);
    make_path("$root/logs");
    return;
}

END {
    local $?;
    kill TERM => pid_of("$root/nginx.pid") || () if -e "$root/nginx.pid" && !Test::More->builder->is_passing;
    kill KILL => pid_of("$root/nginx.pid.oldbin") || () if -e "$root/nginx.pid.oldbin";
    kill KILL => $_ for grep { waitpid( $_, WNOHANG ) == 0 } @started;
    remove_tree($root) if Test::More->builder->is_passing;
}

# --- several workers ----------------------------------------------------------
fresh();
write_conf( 'one', 'worker_processes 3;', 'off' );
my $master = start();
my %seen;
for ( 1 .. 200 ) {
    my ( $id, $count, $started, $pid ) = split ' ', get('/worker');
    $seen{$id} = $pid;
    is( "$count $started", '3 true', 'workers: count, init_worker_by_lua ran in this one' ) if $_ == 1;
    last if keys %seen == 3;
}
is( ( grep { !/^[012]$/ } keys %seen ), 0, 'workers: ids are 0 to 2' );
is( get('/version'), "one\n", 'workers: what init_by_lua made in the master is there' );

# --- reload -------------------------------------------------------------------
my @sleeping = map { connect_to_nginx('/sleep') } 1 .. 5;
sleep 0.1;
write_conf( 'two', 'worker_processes 2;', 'off' );
kill HUP => $master;
ok( wait_for( sub { get('/version') eq "two\n" } ), 'reload: new requests see the new configuration' );
is( answer($_), "ab one true\n", 'reload: a request that slept ends in the old worker' ) for @sleeping;
like( get('/worker'), qr/^[01] 2 true /, 'reload: the new number of workers' );

write_conf( 'three', 'worker_processes 2; nonsense;', 'off' );
kill HUP => $master;
wait_for( sub { error_log() =~ /unknown directive "nonsense"/ } );
is( get('/version'), "two\n", 'reload: a broken configuration leaves the old one' );

write_conf( 'two', 'worker_processes 2;', 'off' );
for ( 1 .. 5 ) {
    kill HUP => $master;
    sleep 0.05;
}
is( get('/version'), "two\n", 'reload: again and again' );

# --- graceful quit ------------------------------------------------------------
my $last = connect_to_nginx('/sleep');
sleep 0.1;
kill QUIT => $master;
is( answer($last), "ab two true\n", 'quit: a request that slept ends' );
is( ended($master), 'status 0', 'quit: the master ends well' );

# --- fast shutdown ------------------------------------------------------------
$master = start();
$last   = connect_to_nginx('/sleep');
sleep 0.1;
kill TERM => $master;
is( ended($master), 'status 0', 'term: the master ends well' );
is( answer($last),  'a',        'term: a request that slept is cut off' );

# --- a worker that dies is replaced -------------------------------------------
$master = start();
my $victim = ( split ' ', get('/worker') )[3];
kill KILL => $victim;
ok( wait_for( sub { my $pid = ( split ' ', get('/worker') )[3]; $pid && $pid != $victim } ),
    'respawn: another worker answers' );

kill QUIT => $master;
is( ended($master), 'status 0', 'respawn: the master ends well' );

# --- in the background, binary upgrade ----------------------------------------
write_conf( 'two', 'worker_processes 2;', 'on' );
is( ended( start() ), 'status 0', 'daemon: the command returns' );
is( get('/version'), "two\n", 'daemon: answers' );
$master = pid_of("$root/nginx.pid");
my $old = connect_to_nginx('/sleep');
sleep 0.1;
write_conf( 'upgraded', 'worker_processes 2;', 'on' );
kill USR2 => $master;
ok( wait_for( sub { -s "$root/nginx.pid.oldbin" && -s "$root/nginx.pid" } ), 'upgrade: a new master runs' );
my $new = pid_of("$root/nginx.pid");
isnt( $new, $master, 'upgrade: it is another one' );
kill WINCH => $master;
is( answer($old), "ab two true\n", 'upgrade: a request that slept ends in the old worker' );
ok( wait_for( sub { get('/version') eq "upgraded\n" } ), 'upgrade: the new one answers' );
kill QUIT => $master;
ok( gone($master), 'upgrade: the old master ends' );
is( get('/version'), "upgraded\n", 'upgrade: the new one still answers' );
kill QUIT => $new;
ok( gone($new), 'upgrade: and ends when asked to' );

# --- no master ----------------------------------------------------------------
my $log = error_log();
fresh();
write_conf( 'single', 'master_process off;', 'off' );
$master = start();
is( get('/version'), "single\n", 'single: answers' );
like( get('/worker'), qr/^0 1 true $master$/, 'single: one worker, this process' );
# (Even without modules, nginx does not survive a reload in this mode.)
kill QUIT => $master;
is( ended($master), 'status 0', 'single: ends well' );

$log .= error_log();
my @alerts = $log =~ /^.*\[(?:alert|crit|emerg)\].*$/mg;
@alerts = grep { !/unknown directive|exited on signal 9/ } @alerts;
is( "@alerts", '', 'no alerts' );
done_testing();
