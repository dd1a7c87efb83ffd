# Workers that are told to leave while filters in Lua hold back responses.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep );

use Test::Nginx::Instance;

sub start {
    my ($main) = @_;
    return Test::Nginx::Instance->start(
        main   => "master_process on; worker_processes 1; $main",
        server => <<'END' );
        location /header {
            content_by_lua_block { ngx.say("header") }
            header_filter_by_lua_block { ngx.sleep(0.5) ngx.log(ngx.WARN, "held header goes out") }
        }
        location /body {
            content_by_lua_block { ngx.say("body") }
            body_filter_by_lua_block { if ngx.arg[1] ~= "" then ngx.sleep(0.5) end }
        }
        location /threads {
            return 200 "threads\n";
            header_filter_by_lua_block {
                for i = 1, 3 do ngx.thread.spawn(function() ngx.sleep(i / 10) end) end
            }
        }
        location /long {
            return 200 "long\n";
            header_filter_by_lua_block { ngx.sleep(60) }
        }
        location /long/body {
            return 200 "long\n";
            body_filter_by_lua_block { ngx.sleep(60) }
        }
END
}

for my $signal (qw( QUIT HUP )) {
    my $nginx   = start('');
    my @workers = $nginx->workers;
    my %clients = map { $_ => $nginx->begin("/$_") } qw( header body threads );
    sleep 0.1;
    $nginx->signal($signal);
    is( $nginx->body( $clients{$_} ), "$_\n", "$signal: the response of /$_ came" ) for sort keys %clients;
    if ( $signal eq 'QUIT' ) {
        ok( $nginx->ended(5), "$signal: nginx ended" );
    }
    else {
        my $left = 1;
        for ( 1 .. 50 ) {
            last if !( $left = grep { kill 0, $_ } @workers );
            sleep 0.1;
        }
        ok( !$left, "$signal: the old worker left" );
        is( $nginx->get('/body'), "body\n", "$signal: the new one answers" );
    }
    unlike( $nginx->log, qr/\[(?:alert|crit|error)\]/, "$signal: nothing went wrong" );
}

{
    my $nginx   = start('worker_shutdown_timeout 300ms;');
    my @clients = map { $nginx->begin($_) } '/long', '/long/body';
    sleep 0.1;
    $nginx->signal('QUIT');
    ok( $nginx->ended(5), 'worker_shutdown_timeout: nginx ended' );
    ok( !$nginx->body( $clients[0] ), 'worker_shutdown_timeout: the response did not come' );
    unlike( $nginx->log, qr/\[(?:crit|error)\]|panicked|signal 11/, 'worker_shutdown_timeout: nothing went wrong' );
}

{
    my $nginx   = start('');
    my @clients = map { $nginx->begin($_) } '/long', '/long/body', '/header';
    sleep 0.1;
    $nginx->signal('TERM');
    ok( $nginx->ended(5), 'TERM: nginx ended' );
    unlike( $nginx->log, qr/\[(?:crit|error)\]|panicked|signal 11/, 'TERM: nothing went wrong' );
}
done_testing();
