# What else a handler of ssl_certificate_by_lua* may choose: client certificates,
# stapled OCSP answers; with certificates from variables, without the code cache; and
# what ngx.ssl tells in requests.
use strict;
use warnings;

use Test::More;

use Test::Nginx::Instance;
use Test::Nginx::CA;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::TLS;

my $ca   = $ENV{TEST_NGINX_CA};
my $port = reserve_port();

sub server {
    my ( $name, $code, $more ) = @_;
    $more = "ssl_certificate $ca/good.pem; ssl_certificate_key $ca/good.key;" if !defined $more;
    return <<"END";
server {
    listen 127.0.0.1:$port ssl;
    server_name $name;
    $more
    $code
    location = /t { return 200 "\$ssl_client_verify \$ssl_client_s_dn\\n"; }
    location = /about {
        content_by_lua_block {
            local ssl = require "ngx.ssl"
            local material = assert(ssl.export_keying_material(16, "EXPORTER-test", "context"))
            local _, kind = ssl.raw_client_addr()
            ngx.say(ssl.server_name(), " ", ssl.get_tls1_version(), " ", #ssl.get_client_random(), " ", #material, " ",
                material == ssl.export_keying_material(16, "EXPORTER-test", "context"), " ",
                material == ssl.export_keying_material(16, "EXPORTER-test"), " ", kind, " ", ssl.server_port() == $port, " ",
                type(ssl.get_req_ssl_pointer()))
        }
    }
}
END
}
my $by = sub { my ($code) = @_; return "ssl_certificate_by_lua_block { $code }" };

# Where the workers can read it
open my $out, '>', "$ca/cert\$.lua" or die $!;
print {$out} 'ngx.log(ngx.WARN, "from a file: ", ngx.get_phase())';
close $out or die $!;

my $nginx = Test::Nginx::Instance->start(
    main => 'worker_processes 1; env TEST_NGINX_CA;',
    http => <<'END'
error_log logs/error.log info;
ssl_protocols TLSv1.2 TLSv1.3;
init_by_lua_block {
    function read(name)
        return assert(io.open(os.getenv("TEST_NGINX_CA") .. "/" .. name, "rb")):read("*a")
    end
    function certificate(name)
        return assert(require "ngx.ssl".parse_pem_cert(read(name .. ".pem")))
    end
}
END
        . server( 'plain.test', $by->('ngx.sleep(0)') )
        . server( 'asked.test', $by->('assert(require "ngx.ssl".verify_client(certificate("root")) == true)') )
        . server( 'deeper.test', $by->('assert(require "ngx.ssl".verify_client(certificate("root"), 2, certificate("sub")))') )
        . server( 'unnamed.test', $by->('assert(require "ngx.ssl".verify_client(nil, nil, certificate("root")))') )
        . server( 'stapled.test', $by->('assert(require "ngx.ocsp".set_ocsp_status_resp(read("ocsp.der")) == true)') )
        . server( 'variable.test', $by->('ngx.sleep(0)'),
            "ssl_certificate \$ssl_certificate_name; ssl_certificate_key $ca/good.key;" )
        . server( 'replaced.test', $by->(<<'END'), "ssl_certificate \$ssl_certificate_name; ssl_certificate_key $ca/good.key;" )
local ssl = require "ngx.ssl"
assert(ssl.clear_certs())
assert(ssl.set_cert(certificate("rsa")))
assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(read("rsa.key")))))
END
        . server( 'fresh.test', "lua_code_cache off; " . $by->('assert(not package.loaded.count) package.loaded.count = 1 ngx.sleep(0.001)') )
        . server( 'file.test', 'ssl_certificate_by_lua_file ' . "$ca/cert\$.lua;" )
        . server( 'missing.test', 'ssl_certificate_by_lua_file logs/missing.lua;' )
        . "map x \$ssl_certificate_name { default $ca/good.pem; }",
    server => 'location = /ok { content_by_lua_block { ngx.say(ngx.worker.pid()) } }',
);

my @as = map { ( cert => "$ca/$_.pem", key => "$ca/$_.key" ) } 'client';
my %verify = (
    'plain.test'   => 'NONE ',
    'asked.test'   => 'SUCCESS CN=client',
    'deeper.test'  => 'SUCCESS CN=client',
    'unnamed.test' => 'SUCCESS CN=client',
);
for my $version (qw( 1.2 1.3 )) {
    for my $sni ( sort keys %verify ) {
        is( tls( $port, sni => $sni, version => $version, @as, path => '/t' )->{body}, "$verify{$sni}\n", "$sni, TLS $version" );
        is( tls( $port, sni => $sni, version => $version, path => '/t' )->{body}, "NONE \n", "$sni, TLS $version: no certificate" );
    }
    like( tls( $port, sni => 'asked.test', version => $version, cert => "$ca/self.pem", key => "$ca/self.key", path => '/t' )->{body},
        qr/^FAILED:.* CN=a\.test$/, "another's certificate, TLS $version" );
    is( tls( $port, sni => 'about', version => $version, path => '/about' )->{body},
        sprintf( "about %d 32 16 true false inet true cdata\n", $version eq '1.3' ? 772 : 771 ), "what is known in a request, TLS $version" );
}

# Stapling: asked by openssl, which shows it
sub stapled {
    my ($sni) = @_;
    return scalar `openssl s_client -connect 127.0.0.1:$port -servername $sni -status </dev/null 2>&1`;
}
like( stapled('stapled.test'), qr/OCSP Response Status: successful.*Cert Status: good/s, 'an OCSP answer' );
like( stapled('plain.test'), qr/OCSP response: no response sent/, 'none' );

is( tls( $port, sni => 'variable.test' )->{cn}, 'good', 'a certificate from a variable' );
is( tls( $port, sni => 'replaced.test' )->{cn}, 'rsa', 'and one that replaces it' );
for ( 1 .. 3 ) {
    is( tls( $port, sni => 'fresh.test' )->{cn}, 'good', 'lua_code_cache off' );
}
is( tls( $port, sni => 'file.test' )->{cn}, 'good', 'code in a file' );
like( $nginx->log, qr/\[lua\] cert\$\.lua:1: from a file: ssl_cert,/, 'whose name has no variables' );
like( tls( $port, sni => 'missing.test' )->{error}, qr/alert internal error/, 'a file that is missing' );
like( $nginx->log, qr/\[error\] .*missing\.lua.*context: ssl_certificate_by_lua\*/, 'is named in error.log' );
unlike( $nginx->log, qr/\[alert\]|\[emerg\]|panicked/, 'no trouble' );
done_testing();
