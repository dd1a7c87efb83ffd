# ssl_certificate_by_lua*: the certificate is chosen while OpenSSL waits.
use strict;
use warnings;

use IO::Socket::INET;
use Net::SSLeay;
use Test::More;

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::TLS;

my $ca   = $ENV{TEST_NGINX_CA};
my $port = reserve_port();
my $file = <<'END';
local function read(name)
    local file = assert(io.open(os.getenv("TEST_NGINX_CA") .. "/" .. name, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end
END

# A server with its own code for certificates.
sub server {
    my ( $name, $code, %option ) = @_;
    my $more = $option{more} || '';
    return <<"END";
server {
    listen 127.0.0.1:$port ssl http2;
    server_name $name;
    ssl_certificate $ca/@{[ $option{cert} || 'expired' ]}.pem;
    ssl_certificate_key $ca/@{[ $option{cert} || 'expired' ]}.key;
    $more
    @{[ defined $code ? "ssl_certificate_by_lua_block { $file $code }" : '' ]}
    location = /t {
        content_by_lua_block {
            local ssl = require "ngx.ssl"
            ngx.say("$option{tag} ", ngx.var.server_protocol, " ", ssl.server_name() or "none", " ",
                ssl.get_tls1_version_str())
        }
    }
}
END
}

my $set = sub {
    my ($name) = @_;
    return <<"END";
local ssl = require "ngx.ssl"
ngx.sleep(0.01)
assert(ssl.clear_certs())
assert(ssl.set_cert(assert(ssl.parse_pem_cert(read("$name.pem")))))
assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(read("$name.key")))))
END
};

my $nginx = Test::Nginx::Instance->start(
    main => "worker_processes 1; env TEST_NGINX_CA;",
    http => "error_log logs/error.log info; ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve X25519:P-256;"
        . server( 'first.test', undef, tag => 'first', cert => 'under' )
        . server( 'exact.test', $set->('good'), tag => 'exact' )
        . server( '*.star.test', $set->('cn'), tag => 'wildcard' )
        . server( '~^r\d+\.test$', $set->('self'), tag => 'regex' )
        . server( 'chain.test', $set->('deep'), tag => 'chain' )
        . server( 'kept.test', 'ngx.exit(ngx.OK) error("not here")', tag => 'kept', cert => 'rsa' )
        . server( 'der.test', <<'END', tag => 'der' )
local ssl = require "ngx.ssl"
assert(ssl.clear_certs() == true)
assert(ssl.set_der_cert(assert(ssl.cert_pem_to_der(read("good.pem")))) == true)
assert(ssl.set_der_priv_key(assert(ssl.priv_key_pem_to_der(read("good.key")))) == true)
END
        . server( 'both.test', <<'END', tag => 'both' )
local ssl = require "ngx.ssl"
assert(ssl.clear_certs())
for _, name in ipairs { "rsa", "good" } do
    assert(ssl.set_cert(assert(ssl.parse_pem_cert(read(name .. ".pem")))))
    assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(read(name .. ".key")))))
end
END
        . server( 'none.test', 'assert(require "ngx.ssl".clear_certs())', tag => 'none' )
        . server( 'mismatch.test', <<'END', tag => 'mismatch' )
local ssl = require "ngx.ssl"
assert(ssl.clear_certs())
assert(ssl.set_cert(assert(ssl.parse_pem_cert(read("good.pem")))))
ngx.log(ngx.WARN, "mismatch: ", select(2, ssl.set_priv_key(assert(ssl.parse_pem_priv_key(read("root.key"))))))
ngx.log(ngx.WARN, "no DER: ", select(2, ssl.set_der_cert("bad")), " ", select(2, ssl.set_der_priv_key("bad")))
assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(read("good.key")))))
END
        . server( 'late.test', <<'END', tag => 'late' )
local ssl = require "ngx.ssl"
assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(read("root.key")))))
END
        . server( 'error.test', 'error("no such luck")', tag => 'error' )
        . server( 'exit.test', 'ngx.sleep(0) ngx.exit(ngx.ERROR)', tag => 'exit' )
        . server( 'forbidden.test', 'ngx.exit(ngx.HTTP_FORBIDDEN)', tag => 'forbidden' )
        . server( 'mask.test', <<'END', tag => 'mask' )
ngx.ctx.a = 1
for _, name in ipairs { "say", "redirect" } do
    ngx.log(ngx.WARN, "mask: ", select(2, pcall(ngx[name], "x")))
end
ngx.log(ngx.WARN, "mask: ", select(2, pcall(function() return ngx.var.uri end)))
local ssl = require "ngx.ssl"
ngx.log(ngx.WARN, "phase ", ngx.get_phase(), " ctx ", ngx.ctx.a, " ", type(ssl.get_req_ssl_pointer()), " random ",
    #ssl.get_client_random(), " ", #ssl.get_client_random(4), " ", ssl.get_client_random(0))
local addr, kind = ssl.raw_client_addr()
local there, thatkind = ssl.raw_server_addr()
ngx.log(ngx.WARN, "addresses ", kind, " ", table.concat({ addr:byte(1, -1) }, "."), " ", thatkind, " ",
    table.concat({ there:byte(1, -1) }, "."))
ngx.log(ngx.WARN, "port ", ssl.server_port(), " version ", ssl.get_tls1_version(), " ", ssl.export_keying_material(8, "x"))
END
    ,
    server => 'location = /t { content_by_lua_block {
        local ssl = require "ngx.ssl"
        local _, masked = pcall(ssl.clear_certs)
        ngx.say(select(2, ssl.server_name()), ", ", (masked:gsub("^.-: ", "")))
    } }',
);

for my $version (qw( 1.2 1.3 )) {
    for my $case (
        [ 'exact.test',   'good' ],
        [ 'a.star.test',  'a.test', 'wildcard' ],
        [ 'r12.test',     'a.test', 'regex' ],
        [ 'EXACT.Test',   'good', 'exact' ],
        [ 'first.test',   'under' ],
        [ 'another.test', 'under', 'first' ],
        [ undef,          'under', 'first' ],
        [ 'der.test',     'good' ],
        [ 'kept.test',    'rsa' ],
        )
    {
        my ( $sni, $cn, $tag ) = @$case;
        my $name = ( defined $sni ? $sni : 'no name' ) . " with TLS $version";
        my $got  = tls( $port, sni => $sni, version => $version, path => '/t' );
        is( $got->{error}, undef, "$name: connected" );
        is( $got->{cn}, $cn, "$name: certificate" );
        $tag ||= $sni =~ s/\.test//r;
        my $asked = defined $sni ? $sni : 'none';
        is( $got->{body}, "$tag HTTP/1.0 $asked TLSv$version\n", "$name: server" );
    }
}

is( tls( $port, sni => 'chain.test' )->{chain}, 3, 'a chain is sent' );

# HelloRetryRequest: the server does not take the group of the key share.
my $got = tls( $port, sni => 'exact.test', version => '1.3', groups => 'P-384:X25519', path => '/t' );
is( "$got->{cn} $got->{body}", "good exact HTTP/1.0 exact.test TLSv1.3\n", 'HelloRetryRequest' );

# A client that asks for another server in its second ClientHello, whose code has not
# run: what the server answers to that
sub switched {
    my ( $first, $second ) = @_;
    my $ctx = Net::SSLeay::CTX_new();
    Net::SSLeay::CTX_set1_groups_list( $ctx, 'P-384:X25519' );
    my $ssl = Net::SSLeay::new($ctx);
    Net::SSLeay::set_tlsext_host_name( $ssl, $first );
    my ( $in, $out ) = map { Net::SSLeay::BIO_new( Net::SSLeay::BIO_s_mem() ) } 1 .. 2;
    Net::SSLeay::set_bio( $ssl, $in, $out );
    my $socket = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port ) or die $!;
    my $answer;
    for ( 1 .. 2 ) {
        Net::SSLeay::connect($ssl);
        my $hello = Net::SSLeay::BIO_read($out);
        $hello =~ s/$first/$second/ if $_ == 2;
        syswrite $socket, $hello;
        sysread $socket, $answer, 16384;
        Net::SSLeay::BIO_write( $in, $answer );
    }
    Net::SSLeay::free($ssl);
    Net::SSLeay::CTX_free($ctx);
    return $answer;
}
like( switched( 'exact.test', 'exact.test' ), qr/\A\x16/, 'a second ClientHello for the same server' );
like( switched( 'exact.test', 'error.test' ), qr/\A\x15\x03\x03\x00\x02\x02\x50\z/, 'one for another server is refused' );
like( $nginx->log, qr/\[error\] .*ssl_certificate_by_lua: it could not run for this connection/, 'and error.log says why' );

# Two kinds of certificates
is( tls( $port, sni => 'both.test', version => '1.2', ciphers => "ECDHE-$_-AES128-GCM-SHA256" )->{cn},
    { RSA => 'rsa', ECDSA => 'good' }->{$_}, "$_ client" )
    for qw( RSA ECDSA );

# HTTP/2
is( tls( $port, sni => 'exact.test', alpn => [ 'h2', 'http/1.1' ] )->{alpn}, 'h2', 'HTTP/2 is negotiated' );
my $curl = `curl -sk --http2 --resolve exact.test:$port:127.0.0.1 https://exact.test:$port/t`;
is( $curl, "exact HTTP/2.0 exact.test TLSv1.3\n", 'HTTP/2' );

# Ends
for my $case (
    [ 'none.test'      => qr/alert|handshake failure/,                     undef ],
    [ 'error.test'     => qr/alert internal error/, qr/runtime error: ssl_certificate_by_lua\(nginx\.conf:\d+\):\d+: no such luck\nstack traceback:.*?, context: ssl_certificate_by_lua\*, client: 127\.0\.0\.1, server: 127\.0\.0\.1:$port/s ],
    [ 'exit.test'      => qr/alert internal error/, qr/\[info\] .*handshake rejected while SSL handshaking, client: 127\.0\.0\.1, server: 127\.0\.0\.1:$port/ ],
    [ 'forbidden.test' => qr/alert internal error/, undef ],
    [ 'late.test'      => qr/alert internal error/, qr/\[error\] .*ssl_certificate_by_lua: SSL_use_PrivateKey\(\) failed while SSL handshaking/ ],
    )
{
    my ( $sni, $error, $log ) = @$case;
    my $got = tls( $port, sni => $sni );
    like( $got->{error} || '', $error, "$sni: refused" );
    like( $nginx->log, $log, "$sni: error.log" ) if $log;
}

is( tls( $port, sni => 'mismatch.test' )->{cn}, 'good', 'a refused key leaves the rest' );
like( $nginx->log, qr/mismatch: SSL_use_PrivateKey\(\) failed,/, 'a key that does not fit is an error' );
like( $nginx->log, qr/no DER: d2i_X509_bio\(\) failed d2i_PrivateKey_bio\(\) failed,/, 'no DER is an error' );

# What the handler may do
is( tls( $port, sni => 'mask.test', version => '1.3' )->{cn}, 'expired', 'the configured certificate stays' );
my $log = $nginx->log;
is( scalar( () = $log =~ /mask: .*API disabled in the context of ssl_certificate_by_lua\*/g ), 3, 'functions of requests are disabled' );
like( $log, qr/phase ssl_cert ctx 1 cdata random 32 4 32, context: ssl_certificate_by_lua\*, client/, 'phase, ngx.ctx, random' );
like( $log, qr/addresses inet 127\.0\.0\.1 inet 127\.0\.0\.1,/, 'addresses' );
like( $log, qr/port $port version 772 nilSSL_export_keying_material\(\) failed/, 'port, version' );
is( $nginx->get('/t'), "no TLS on this connection, API disabled in the context of content_by_lua*\n", 'plain connections' );
unlike( $log, qr/\[alert\]|\[emerg\]|panicked/, 'no trouble' );

done_testing();
