# Early data (0-RTT): the request begins before the handshake is over.
use strict;
use warnings;

use IPC::Open3;
use Test::More;
use Time::HiRes qw( sleep time );

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Ports qw( reserve_port );

# A client that has gone is a failed test, not the end of it.
$SIG{PIPE} = 'IGNORE';

my $ca   = $ENV{TEST_NGINX_CA};
my $port = reserve_port();

sub server {
    my ( $name, $code ) = @_;
    return <<"END";
server {
    listen 127.0.0.1:$port ssl;
    server_name $name;
    ssl_certificate $ca/good.pem;
    ssl_certificate_key $ca/good.key;
    $code
    location = /t { content_by_lua_block { ngx.say("early: ", ngx.var.ssl_early_data) } }
    location = /body { content_by_lua_block {
        ngx.ctx.before = "kept"
        local body = assert(ngx.req.socket():receive("*a"))
        ngx.say(#body, " ", ngx.ctx.before, " early: ", ngx.var.ssl_early_data)
    } }
}
END
}
my $log   = 'ngx.log(ngx.WARN, ngx.get_phase(), " of ", require "ngx.ssl".server_name()) ngx.sleep(0.01)';
my $nginx = Test::Nginx::Instance->start(
    main => 'worker_processes 1;',
    http => 'error_log logs/error.log info; ssl_protocols TLSv1.3; ssl_early_data on; ssl_session_cache shared:S:1m;'
        . 'ssl_session_store_by_lua_block { local session = require "ngx.ssl.session" '
        . 'ngx.log(ngx.WARN, "store ", #session.get_session_id(), " of ", require "ngx.ssl".server_name()) }'
        . server( 'first.test', "ssl_certificate_by_lua_block { $log }" )
        . server( 'second.test', "ssl_client_hello_by_lua_block { $log } ssl_certificate_by_lua_block { $log }" ),
    server => 'location = /ok { content_by_lua_block { ngx.say(ngx.worker.pid()) } }',
);
my $pid  = $nginx->get('/ok');
my $file = "$ca/early";

# What the openssl client prints; `pieces` are sent after the handshake.
sub client {
    my ( $name, $options, @pieces ) = @_;
    my $client = open3( my $in, my $out, undef, 'openssl', 's_client', '-connect', "127.0.0.1:$port",
        '-servername', $name, '-tls1_3', '-ign_eof', @$options );
    for my $piece (@pieces) {
        sleep 0.3;
        syswrite $in, $piece;
    }
    local $SIG{ALRM} = sub { kill KILL => $client };
    alarm 10;
    my $printed = do { local $/; <$out> };
    alarm 0;
    waitpid $client, 0;
    return $printed;
}

sub early {
    my ($bytes) = @_;
    open my $fh, '>', "$file.req" or die $!;
    print {$fh} $bytes;
    close $fh;
    return [ '-sess_in', "$file.sess", '-early_data', "$file.req" ];
}

my $seen = 0;
sub ran {
    my $log = substr $nginx->log, $seen;
    $seen += length $log;
    return join ', ', $log =~ /\[lua\] \S+ (.*?), context/g;
}

for my $name (qw( first.test second.test )) {
    my $request = "GET /t HTTP/1.1\r\nHost: $name\r\nConnection: close\r\n\r\n";
    my $hello   = $name eq 'second.test' ? "ssl_client_hello of $name, " : '';
    ran();
    my $full = client( $name, [ '-sess_out', "$file.sess" ], $request );
    like( $full, qr/^New, TLSv1\.3.*^early: nil/ms, "$name: a full handshake where early data is allowed" );
    is( ran(), "${hello}ssl_cert of $name, store 64 of $name, store 64 of $name", "$name: what ran" );

    like(
        client( $name, [ '-sess_in', "$file.sess", '-sess_out', "$file.sess" ], $request ),
        qr/^Reused, TLSv1\.3.*^early: nil/ms, "$name: a session without early data"
    );
    like( ran(), qr/\A\Q$hello\Estore 64 of $name\z/, "$name: what ran with it" );

    like( client( $name, early($request) ), qr/(?=.*^Early data was accepted)(?=.*^early: (1|nil)$)/ms, "$name: early data" );
    # The request may have ended before the handshake
    like( ran() . ', ', qr/\A\Q$hello\E(store 64 of $name, |(?<=, ))?\z|\A, \z/, "$name: what ran with it" );

    my $head = "POST /body HTTP/1.1\r\nHost: $name\r\nConnection: close\r\nContent-Length: 3000\r\n\r\n";
    like( client( $name, early( $head . 'x' x 1000 ), 'y' x 1000, 'z' x 1000 ),
        qr/(?=.*^Early data was accepted)(?=.*^3000 kept early: (1|nil)$)/ms, "$name: the session is stored while Lua reads on" );
    like( ran(), qr/\A\Q$hello\Estore 64 of $name\z/, "$name: what ran meanwhile" );
}

is( $nginx->get('/ok'), $pid, 'the worker lives' );
unlike( $nginx->log, qr/\[alert\]|\[emerg\]|panicked|\[error\]/, 'no trouble' );
done_testing();
