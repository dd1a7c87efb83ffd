package Test::Nginx::CA;

# Certificates for the servers and clients of a .t file, made with openssl in a
# directory of its own, $TEST_NGINX_CA:
#
#   use Test::Nginx::Socket::Lua 'no_plan';
#   use Test::Nginx::CA;
#
# NAME.pem there is a certificate, with the chain that a server sends; NAME.key its
# key; NAME.der and NAME.key.der the same in DER.
#
#   root       the authority that is to be trusted      other      one that is not
#   good       a.test, *.wild.test, 127.0.0.1, ::1      rsa        the same with RSA
#   expired    a.test, until 2001                       self       a.test, self-signed
#   future     a.test, from 2099                        revoked    a.test, in crl.pem
#   stranger   a.test, signed by other                  cn         CN = a.test, no other name
#   under      a.test, signed by sub, signed by root    deep       ... by sub2 by sub by root
#   client     for clients only                         guest      the same, signed by sub
#
# crl.pem is root's list of revoked certificates; ocsp.der and ocsp-revoked.der are
# OCSP answers for good and for revoked.

use strict;
use warnings;

use File::Temp qw( tempdir );

use Test::Nginx::Socket ();
use Test::Nginx::Util qw( slurp );

my $NAMES = 'DNS:a.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1';
my $DIR = tempdir( 'ngx_ca_XXXXXX', TMPDIR => 1, CLEANUP => 1 );

my $AUTHORITY = <<'_';
database = $dir/index.txt
new_certs_dir = $dir
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
unique_subject = no
rand_serial = yes
_

my $CONFIG = <<"_";
dir = $DIR
[root]
$AUTHORITY
certificate = \$dir/root.pem
private_key = \$dir/root.key
[other]
$AUTHORITY
certificate = \$dir/other.pem
private_key = \$dir/other.key
[sub]
$AUTHORITY
certificate = \$dir/sub.pem
private_key = \$dir/ec.key
[sub2]
$AUTHORITY
certificate = \$dir/sub2.pem
private_key = \$dir/ec.key
[any]
commonName = supplied
[req]
distinguished_name = any
[authority]
basicConstraints = critical,CA:true
subjectKeyIdentifier = hash
[server]
subjectAltName = $NAMES
extendedKeyUsage = serverAuth
[nameless]
basicConstraints = CA:false
[client]
extendedKeyUsage = clientAuth
_

# Runs openssl there.
sub openssl {
    my @arguments = @_;
    my $log = "$DIR/log";
    my $pid = fork;
    die "fork: $!\n" if !defined $pid;
    if ( !$pid ) {
        open STDIN,  '<', '/dev/null';
        open STDOUT, '>', $log;
        open STDERR, '>&', \*STDOUT;
        chdir $DIR;
        exec 'openssl', @arguments;
        exit 127;
    }
    waitpid $pid, 0;
    die "openssl @arguments: " . slurp($log) if $?;
    return;
}

sub _write {
    my ( $name, $text ) = @_;
    open my $file, '>', "$DIR/$name" or die "$name: $!\n";
    print {$file} $text;
    close $file;
    return;
}

sub _key {
    my ( $name, @kind ) = @_;
    @kind = qw( EC -pkeyopt ec_paramgen_curve:P-256 ) if !@kind;
    openssl( qw( genpkey -algorithm ), @kind, '-out', "$name.key" );
    return;
}

sub _self_signed {
    my ( $name, $key, $common_name, $extensions ) = @_;
    openssl( qw( req -new -x509 -config config -days 30 -key ), "$key.key", '-subj',
        "/CN=$common_name", '-extensions', $extensions, '-out', "$name.pem" );
    return;
}

sub _signed {
    my ( $name, %option ) = @_;
    my $key = $option{key} || 'ec';
    my $by  = $option{by}  || 'root';
    openssl(
        qw( ca -batch -notext -config config -name ), $by, '-in', "$key.csr",
        '-subj', '/CN=' . ( $option{cn} || $name ), '-extensions', $option{as} || 'server',
        $option{dates} ? ( '-startdate', $option{dates}[0], '-enddate', $option{dates}[1] ) : (),
        '-out', "$name.pem"
    );
    my @chain = @{ $option{chain} || [] };
    _write( "$name.pem", join '', map { slurp("$DIR/$_.pem") } $name, @chain ) if @chain;
    _write( "$name.key", slurp("$DIR/$key.key") );
    return;
}

sub _ocsp {
    my ( $name, $answer ) = @_;
    my @issuer = qw( -issuer root.pem -no_nonce );
    openssl( 'ocsp', @issuer, '-cert', "$name.pem", '-reqout', 'request.der' );
    openssl( 'ocsp', qw( -index index.txt -CA root.pem -rsigner root.pem -rkey root.key
        -reqin request.der -ndays 1 -respout ), $answer );
    return;
}

sub _make {
    _write( 'config', $CONFIG );
    _write( 'index.txt', '' );
    _write( 'index.txt.attr', "unique_subject = no\n" );
    _key($_) for qw( root other ec );
    _key( 'rsa', qw( RSA -pkeyopt rsa_keygen_bits:2048 ) );
    for my $key (qw( ec rsa )) {
        openssl( qw( req -new -config config -subj /CN=any -key ), "$key.key", '-out', "$key.csr" );
    }
    _self_signed( 'root',  'root',  'root',   'authority' );
    _self_signed( 'other', 'other', 'other',  'authority' );
    _self_signed( 'self',  'ec',    'a.test', 'server' );
    _write( 'self.key', slurp("$DIR/ec.key") );

    _signed( 'sub',  as => 'authority' );
    _signed( 'sub2', as => 'authority', by => 'sub' );
    _signed('good');
    _signed( 'rsa', key => 'rsa' );
    _signed( 'expired', dates => [qw( 20000101000000Z 20010101000000Z )] );
    _signed( 'future',  dates => [qw( 20990101000000Z 20990201000000Z )] );
    _signed('revoked');
    _signed( 'stranger', by => 'other' );
    _signed( 'cn',    cn => 'a.test', as    => 'nameless' );
    _signed( 'under', by => 'sub',    chain => ['sub'] );
    _signed( 'deep',  by => 'sub2',   chain => [ 'sub2', 'sub' ] );
    _signed( 'client', as => 'client' );
    _signed( 'guest',  as => 'client', by => 'sub', chain => ['sub'] );

    openssl( qw( ca -config config -name root -revoke revoked.pem ) );
    openssl( qw( ca -config config -name root -gencrl -out crl.pem ) );
    _ocsp( 'good',    'ocsp.der' );
    _ocsp( 'revoked', 'ocsp-revoked.der' );

    openssl( qw( x509 -in client.pem -outform DER -out client.der ) );
    openssl( qw( pkey -in client.key -outform DER -out client.key.der ) );
    chmod 0755, $DIR;
    chmod 0644, glob "$DIR/*";
    $ENV{TEST_NGINX_CA} = $DIR;
    Test::Nginx::Socket::env_to_nginx('TEST_NGINX_CA');
    return;
}

_make();

1;
