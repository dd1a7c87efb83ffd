# A worker that is told to end gracefully, or is replaced, lets those sleep on who
# sleep, and nobody holds it up who does not sleep any more.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;

for my $signal (qw( QUIT HUP )) {
    my $nginx = Test::Nginx::Instance->start(
        main   => 'worker_processes 1;',
        server => <<'END' );
location = /sleeps {
    content_by_lua_block {
        local first = ngx.thread.spawn(ngx.sleep, 60)
        local order, threads = {}, {}
        for i = 1, 3 do
            threads[i] = ngx.thread.spawn(function()
                ngx.sleep(i == 3 and 0.7 or 0.5)
                if i == 2 then ngx.sleep(0.5) end
                order[#order + 1] = i
            end)
        end
        for i = 1, 3 do ngx.thread.wait(threads[i]) end
        ngx.thread.kill(first)
        ngx.say(ngx.worker.pid(), ": ", table.concat(order, " "))
    }
}
location = /pid {
    content_by_lua_block { ngx.say(ngx.worker.pid()) }
}
END
    my $pid = $nginx->body( $nginx->begin('/pid') );
    chomp $pid;
    my @clients = map { $nginx->begin('/sleeps') } 1 .. 3;
    sleep 0.1;
    my $then = time;
    $nginx->signal($signal);
    is( $nginx->body($_), "$pid: 1 3 2\n", "$signal: a handler ran to its end" ) for @clients;
    my $ended;
    if ( $signal eq 'QUIT' ) {
        $ended = $nginx->ended(10);
    }
    else {
        my $until = time + 10;
        sleep 0.05 while kill( 0, $pid ) && time < $until;
        $ended = !kill 0, $pid;
    }
    ok( $ended, "$signal: the worker ended" );
    cmp_ok( time - $then, '<', 20, "$signal: not held up by a thread that was killed" );
    unlike( $nginx->log, qr/\[alert\]/, "$signal: nothing is left open" );
}
done_testing();
