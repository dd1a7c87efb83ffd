# ssl_client_hello_by_lua* and the module ngx.ssl.clienthello.
use strict;
use warnings;

use Test::More;

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::TLS;

my $ca = $ENV{TEST_NGINX_CA};
my ( $port, $inherited ) = map { reserve_port() } 1 .. 2;

sub server {
    my ( $listen, $name, $code ) = @_;
    return <<"END";
server {
    listen 127.0.0.1:$listen ssl;
    server_name $name;
    ssl_certificate $ca/good.pem;
    ssl_certificate_key $ca/good.key;
    $code
    location = /t { return 200 "\$ssl_server_name \$ssl_protocol\\n"; }
}
END
}

my $first = <<'END';
ssl_client_hello_by_lua_block {
    local clt = require "ngx.ssl.clienthello"
    local name = clt.get_client_hello_server_name()
    ngx.log(ngx.WARN, "first: ", name or "none", " ", ngx.get_phase())
    if name == "old.test" then
        assert(clt.set_protocols({ "TLSv1.2" }) == true)
    elseif name == "new.test" then
        assert(clt.set_protocols({ "TLSv1.3" }))
    elseif name == "error.test" then
        ngx.sleep(0.001)
        error("not this one")
    elseif name == "exit.test" then
        ngx.exit(ngx.ERROR)
    elseif name == "bad.test" then
        clt.set_protocols({ "TLSv1.2", "TLSv9" })
    elseif name == "look.test" then
        local ext = assert(clt.get_client_hello_ext(0))
        local versions = clt.get_supported_versions()
        local present = assert(clt.get_client_hello_ext_present())
        local ciphers = assert(clt.get_client_hello_ciphers())
        local seen = {}
        for _, kind in ipairs(present) do seen[kind] = true end
        ngx.log(ngx.WARN, "ext ", ext:sub(6), " ", #ext, " ", tostring(clt.get_client_hello_ext(0xfefe)), " ",
            tostring(seen[0]), " ", tostring(seen[10]), " ", tostring(seen[0xfefe]), " ciphers ", type(ciphers[1]), " ",
            #ciphers > 5 and "many" or "few", " versions ", versions and table.concat(versions, ",") or "none")
        ngx.log(ngx.WARN, "masked: ", select(2, pcall(require "ngx.ssl".clear_certs)))
    end
}
END
my $nginx = Test::Nginx::Instance->start(
    main => 'worker_processes 1;',
    http => 'error_log logs/error.log info; ssl_protocols TLSv1.2 TLSv1.3;'
        . 'ssl_client_hello_by_lua_block { ngx.log(ngx.WARN, "inherited: ", require "ngx.ssl".server_name()) }'
        . server( $port, 'first.test', $first )
        . server( $port, 'own.test', 'ssl_client_hello_by_lua_block { ngx.log(ngx.WARN, "own: ", require "ngx.ssl".server_name()) }' )
        . server( $inherited, 'any.test', '' ),
    server => 'location = /t { content_by_lua_block {
        local clt = require "ngx.ssl.clienthello"
        ngx.say((select(2, pcall(clt.get_client_hello_server_name)):gsub("^.-: ", "")))
    } }',
);

for my $case (
    [ '1.2', 'old.test' => "old.test TLSv1.2\n" ],
    [ undef, 'old.test' => "old.test TLSv1.2\n" ],
    [ '1.3', 'old.test' => qr/alert protocol version/ ],
    [ '1.3', 'new.test' => "new.test TLSv1.3\n" ],
    [ '1.2', 'new.test' => qr/alert protocol version/ ],
    [ undef, undef,        " TLSv1.3\n" ],
    [ undef, 'error.test' => qr/alert internal error/ ],
    [ '1.2', 'exit.test'  => qr/alert internal error/ ],
    [ undef, 'bad.test'   => qr/alert internal error/ ],
    [ undef, 'look.test'  => "look.test TLSv1.3\n" ],
    [ '1.2', 'look.test'  => "look.test TLSv1.2\n" ],
    )
{
    my ( $version, $sni, $expected ) = @$case;
    my $name = join ' ', map { defined ? $_ : 'any' } $sni, $version;
    my $got = tls( $port, sni => $sni, version => $version, path => '/t' );
    ref $expected ? like( $got->{error}, $expected, $name ) : is( $got->{body}, $expected, $name );
}
my $log = $nginx->log;
like( $log, qr/first: none ssl_client_hello, context: ssl_client_hello_by_lua\*, client: 127\.0\.0\.1, server: 127\.0\.0\.1:$port/, 'no name' );
like( $log, qr/ext look\.test 14 nil true true nil ciphers number many versions TLSv1\.3,/, 'TLS 1.3: what the client says' );
like( $log, qr/ext look\.test 14 nil true true nil ciphers number (?:many|few) versions none,/, 'TLS 1.2: what the client says' );
like( $log, qr/masked: .*API disabled in the context of ssl_client_hello_by_lua\*/, 'certificates are set later' );
like( $log, qr/runtime error: ssl_client_hello_by_lua\(nginx\.conf:\d+\):\d+: not this one/, 'an error' );
like( $log, qr/bad argument #1 to 'set_protocols' \(unknown protocol in the list\)/, 'an unknown protocol' );

# A session cannot be resumed past the handler
my $got = tls( $port, sni => 'first.test', version => '1.2' );
like( tls( $port, sni => 'exit.test', version => '1.2', session => $got->{session} )->{error},
    qr/alert internal error/, 'a session does not help' );
ok( tls( $port, sni => 'first.test', version => '1.2', session => $got->{session} )->{reused}, 'where it is wanted it does' );

# Whose code runs
tls( $port, sni => 'own.test' );
tls( $inherited, sni => 'any.test' );
like( $nginx->log, qr/own: own\.test/, "the virtual server's" );
unlike( $nginx->log, qr/first: own\.test/, "and not the default server's" );
like( $nginx->log, qr/inherited: any\.test/, 'that of http' );
is( $nginx->get('/t'), "API disabled in the context of content_by_lua*\n", 'not in requests' );
unlike( $nginx->log, qr/\[alert\]|\[emerg\]|panicked/, 'no trouble' );
done_testing();
