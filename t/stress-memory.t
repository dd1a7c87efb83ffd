# A worker that runs out of memory in Lua fails the requests that wanted it, frees
# what they held, and goes on. Under a limit of address space, with one worker.
use strict;
use warnings;

use File::Temp qw( tempdir );
use Test::More;

use Test::Nginx::Instance;

plan skip_all => 'the limit of address space is not for this mode'
    if $ENV{TEST_NGINX_USE_VALGRIND};

my $limit   = 300_000;                          # KB
my $dir     = tempdir( CLEANUP => 1 );
my $binary  = $ENV{TEST_NGINX_BINARY} || 'nginx';
open my $out, '>', "$dir/nginx" or die $!;
print {$out} "#!/bin/sh\nulimit -v $limit\nexec $binary \"\$@\"\n";
close $out or die $!;
chmod 0755, "$dir/nginx" or die $!;

# What fills memory in each function, to be repeated without end.
my %fill = (
    strings   => 'string.rep("x", 1e6) .. i',
    tables    => '{ i, tostring(i), {} }',
    escape    => 'ngx.escape_uri(string.rep("%", 1e5) .. i)',
    headers   => 'ngx.req.get_headers()',
    var       => 'ngx.var.request_id .. string.rep("x", 1e4)',
    coroutine => 'coroutine.wrap(function() coroutine.yield(string.rep("x", 1e4)) end)',
    waits     => '(function() ngx.sleep(0) return string.rep("x", 1e6) .. i end)()',
    caught    => 'select(2, pcall(string.rep, "x", 1e6)) .. i',
);
my $server = 'location = /ok { content_by_lua_block { ngx.sleep(0) ngx.say(ngx.worker.pid()) } }';
for my $name ( sort keys %fill ) {
    $server .= <<"END";
location = /$name {
    content_by_lua_block {
        local kept = {}
        for i = 1, 1e9 do kept[i] = $fill{$name} end
    }
}
END
}

local $ENV{TEST_NGINX_BINARY} = "$dir/nginx";
my $nginx = Test::Nginx::Instance->start( main => 'worker_processes 1;', server => $server );
my $pid   = $nginx->get('/ok');
for my $name ( sort keys %fill ) {
    my $client = $nginx->begin("/$name");
    my $answer = do { local $/; <$client> };
    # Variables take nginx's own memory: where that runs out first, nginx closes the connection.
    my $failed = $name eq 'var' ? qr{^(?:HTTP/1\.1 500 |\z)} : qr{^HTTP/1\.1 500 };
    like( $answer, $failed, "$name: the request fails" );
    is( $nginx->get('/ok'), $pid, "$name: the worker goes on" );
}
my $log = $nginx->log;
like( $log, qr/lua entry thread aborted: .*not enough memory/, 'error.log says why' );
unlike( $log, qr/\[alert\]|exited on signal/, 'no worker crashed' );
done_testing();
