# A worker that is told to end gracefully waits for handlers that wait for nothing
# but their next turn: no timer of theirs holds it up.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep );

use Test::Nginx::Instance;

my %turns = ( 'coroutine.yield' => 'coroutine.yield()', 'ngx.sleep' => 'ngx.sleep(0)' );
for my $name ( sort keys %turns ) {
    my $nginx = Test::Nginx::Instance->start(
        main   => 'worker_processes 1;',
        server => <<"END" );
location = /t {
    content_by_lua_block {
        local until_then = ngx.now() + 0.4
        while ngx.now() < until_then do $turns{$name} end
        ngx.say("done")
    }
}
END
    my @clients = map { $nginx->begin('/t') } 1 .. 3;
    sleep 0.1;
    $nginx->signal('QUIT');
    is( $nginx->body($_), "done\n", "$name: the handler ran to its end" ) for @clients;
    ok( $nginx->ended(5), "$name: nginx ended" );
    unlike( $nginx->log, qr/\[alert\]/, "$name: nothing is left open" );
}
done_testing();
