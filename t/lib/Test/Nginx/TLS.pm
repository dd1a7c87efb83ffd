package Test::Nginx::TLS;

# A TLS client for tests of nginx's TLS servers.
#
#   my $got = tls( $port, sni => 'a.test', version => '1.3', path => '/t' );
#   $got->{error}       why there is no connection, else undef
#   $got->{cn}          whom the server's certificate is for
#   $got->{version}     TLSv1.3
#   $got->{chain}       how many certificates it sent
#   $got->{reused}      whether a session was resumed
#   $got->{session}     one to resume: session => $got->{session}
#   $got->{body}        the answer to GET path, if one was asked for
#   $got->{alpn}        what was chosen of the list alpn
#
# Further options: groups (the list, whose first one gets a key share), ciphers,
# cert and key (files), before (bytes sent in the clear), timeout (seconds, 10),
# on (a socket), keep: leaves the connection open, for $got->get('/t') and
# $got->close.

use strict;
use warnings;

use Exporter qw( import );
use IO::Socket::INET ();
use Net::SSLeay ();

our @EXPORT = qw( tls hello_of );

Net::SSLeay::initialize();
# A farewell to a server that has gone
$SIG{PIPE} = "IGNORE";

sub tls {
    my ( $port, %option ) = @_;
    my $got = bless {}, __PACKAGE__;
    my $alive = eval {
        local $SIG{ALRM} = sub { die "timeout\n" };
        alarm( $option{timeout} || 10 );
        _connect( $got, $port, \%option );
        alarm 0;
        1;
    };
    my $died = $@;
    alarm 0;
    $got->{error} = $died if !$alive;
    $got->close       if !$option{keep};
    return $got;
}

sub _context {
    my ( $got, $option ) = @_;
    my $ctx = $got->{ctx} = Net::SSLeay::CTX_new();
    if ( my $version = $option->{version} ) {
        $version = $version eq '1.3' ? Net::SSLeay::TLS1_3_VERSION() : Net::SSLeay::TLS1_2_VERSION();
        Net::SSLeay::CTX_set_min_proto_version( $ctx, $version );
        Net::SSLeay::CTX_set_max_proto_version( $ctx, $version );
    }
    Net::SSLeay::CTX_set1_groups_list( $ctx, $option->{groups} ) if $option->{groups};
    Net::SSLeay::CTX_set_cipher_list( $ctx, $option->{ciphers} ) if $option->{ciphers};
    Net::SSLeay::set_cert_and_key( $ctx, $option->{cert}, $option->{key} ) if $option->{cert};
    Net::SSLeay::CTX_set_alpn_protos( $ctx, $option->{alpn} ) if $option->{alpn};
    Net::SSLeay::CTX_set_session_cache_mode( $ctx, Net::SSLeay::SESS_CACHE_CLIENT() );
    Net::SSLeay::CTX_sess_set_new_cb(
        $ctx,
        sub {
            # A copy: the one of the connection goes with it.
            $got->{session} = Net::SSLeay::i2d_SSL_SESSION( $_[1] );
            return 0;
        }
    );
    return $ctx;
}

sub _connect {
    my ( $got, $port, $option ) = @_;
    my $socket = $got->{socket} = $option->{on}
        || IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $port )
        || die "connect: $!\n";
    $socket->autoflush(1);
    print {$socket} $option->{before} if defined $option->{before};

    my $ssl = $got->{ssl} = Net::SSLeay::new( _context( $got, $option ) );
    Net::SSLeay::set_tlsext_host_name( $ssl, $option->{sni} ) if defined $option->{sni};
    if ( $option->{session} ) {
        my $session = Net::SSLeay::d2i_SSL_SESSION( $option->{session} );
        Net::SSLeay::set_session( $ssl, $session );
        Net::SSLeay::SESSION_free($session);
    }
    Net::SSLeay::set_fd( $ssl, fileno $socket );
    if ( Net::SSLeay::connect($ssl) != 1 ) {
        my $why = Net::SSLeay::ERR_error_string( Net::SSLeay::ERR_get_error() );
        die "$why\n";
    }

    $got->{version} = Net::SSLeay::get_version($ssl);
    $got->{reused}  = Net::SSLeay::session_reused($ssl);
    if ( my $certificate = Net::SSLeay::get_peer_certificate($ssl) ) {
        my $subject = Net::SSLeay::X509_get_subject_name($certificate);
        $got->{cn} = Net::SSLeay::X509_NAME_get_text_by_NID( $subject, Net::SSLeay::NID_commonName() );
        Net::SSLeay::X509_free($certificate);
    }
    $got->{chain} = () = Net::SSLeay::get_peer_cert_chain($ssl);
    $got->{alpn}  = Net::SSLeay::P_alpn_selected($ssl) if $option->{alpn};
    $got->get( $option->{path}, $option->{sni} ) if defined $option->{path};
    return;
}

# Asks for `path` and takes the answer up to the end of the connection.
sub get {
    my ( $self, $path, $host ) = @_;
    $host = 'none' if !defined $host;
    Net::SSLeay::write( $self->{ssl}, "GET $path HTTP/1.0\r\nHost: $host\r\n\r\n" );
    my $answer = '';
    while ( defined( my $piece = Net::SSLeay::read( $self->{ssl} ) ) ) {
        last if $piece eq '';
        $answer .= $piece;
    }
    return $self->{body} = $answer =~ /\r\n\r\n(.*)\z/s ? $1 : undef;
}

sub close {
    my ($self) = @_;
    if ( my $ssl = delete $self->{ssl} ) {
        Net::SSLeay::shutdown($ssl);
        Net::SSLeay::free($ssl);
    }
    if ( my $ctx = delete $self->{ctx} ) {
        Net::SSLeay::CTX_sess_set_new_cb( $ctx, undef );
        Net::SSLeay::CTX_free($ctx);
    }
    delete $self->{socket};
    return;
}

sub DESTROY { return $_[0]->close }

# The bytes that a client begins with: its ClientHello, in one record.
sub hello_of {
    my (%option) = @_;
    my $version  = $option{version} || '1.3';
    my $ctx      = Net::SSLeay::CTX_new();
    Net::SSLeay::CTX_set_max_proto_version( $ctx, Net::SSLeay::TLS1_2_VERSION() ) if $version eq '1.2';
    my $ssl = Net::SSLeay::new($ctx);
    Net::SSLeay::set_tlsext_host_name( $ssl, $option{sni} ) if defined $option{sni};
    my ( $in, $out ) = map { Net::SSLeay::BIO_new( Net::SSLeay::BIO_s_mem() ) } 1 .. 2;
    Net::SSLeay::set_bio( $ssl, $in, $out );
    Net::SSLeay::connect($ssl);
    my $hello = Net::SSLeay::BIO_read($out);
    Net::SSLeay::free($ssl);
    Net::SSLeay::CTX_free($ctx);
    return $hello;
}

1;
