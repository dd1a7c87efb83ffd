package Test::Nginx::Curl;

# Sends a request with the curl program: HTTP/2, and the command line that
# "--- curl" prints.

use strict;
use warnings;

use Exporter qw( import );
use IPC::Open3 qw( open3 );
use Symbol qw( gensym );
use Text::ParseWords qw( shellwords );

use Test::Nginx::Util qw(
    $UseHttp2 $ServerName $ServRoot section indexed spew slurp trim
);

our @EXPORT_OK = qw( wants_http2 talk_by_curl curl_command_line );

# Raw and pipelined requests, and those that ask for HTTP/1.0, stay what they are.
sub wants_http2 {
    my ( $block, @exchanges ) = @_;
    return 0 if !$UseHttp2 && !defined section( $block, 'http2' );
    return 0 if defined section( $block, 'http09' );
    return !grep { !$_->{request} || $_->{request}{version} eq 'HTTP/1.0' } @exchanges;
}

# Same result as Client::talk, plus stderr.
sub talk_by_curl {
    my ( $block, $exchange, $host, $port, $timeout ) = @_;
    my @command = _command( $block, $exchange, $host, $port, 1 );
    splice @command, 1, 0, '--max-time', $timeout;

    my $pid = open3( my $in, my $out, my $err = gensym(), @command );
    close $in;
    binmode $out;
    my ( $raw, $stderr ) = do { local $/ = undef; ( scalar <$out>, scalar <$err> ) };
    waitpid $pid, 0;
    my $code = $? >> 8;
    return {
        raw       => defined $raw ? $raw : '',
        stderr    => defined $stderr ? $stderr : '',
        timed_out => $code == 28,
        error     => $code && $code != 28 ? "curl ended with code $code" : undef,
    };
}

sub curl_command_line {
    my ( $block, $exchange, $host, $port, $http2 ) = @_;
    return join ' ', map { m{[^\w./:=-]} ? "'$_'" : $_ }
        _command( $block, $exchange, $host, $port, $http2 );
}

sub _command {
    my ( $block, $exchange, $host, $port, $http2 ) = @_;
    my $request  = $exchange->{request};
    my $protocol = trim( section( $block, 'curl_protocol' ) || 'http' );
    my @command  = qw( curl -i -sS --path-as-is );

    push @command, $protocol eq 'https' ? '--http2' : '--http2-prior-knowledge' if $http2;
    push @command, '--http1.0' if $request->{version} eq 'HTTP/1.0';
    push @command, $request->{method} eq 'HEAD' ? '--head'
        : $request->{method} eq 'GET'           ? ()
        :                                         ( '-X', $request->{method} );

    my $body = join '', $request->{body}, map { $_->[1] } @{ $request->{rest} };
    my @headers = @{ $exchange->{headers} };
    my %given = map { /^([^:]+):/ ? ( lc $1 => 1 ) : () } @headers;
    if ( $body ne '' ) {
        my $file = "$ServRoot/temp/request_body";
        spew( $file, $body );
        push @command, '--data-binary', "\@$file";
    }

    # only what the test asks for, not what curl adds
    push @command, '-H', "Host: $ServerName" if !$given{host};
    for my $default ( 'Accept', 'User-Agent', $body ne '' ? 'Content-Type' : () ) {
        push @command, '-H', "$default:" if !$given{ lc $default };
    }
    for my $header (@headers) {
        $header =~ s/:\s*\z/;/;    # curl's spelling of an empty value
        push @command, '-H', $header;
    }

    my $options = section( $block, 'curl_options' );
    push @command, shellwords($options) if defined $options;
    my $uri = $request->{uri} =~ m{^/} ? $request->{uri} : "/$request->{uri}";
    return ( @command, "$protocol://$host:$port$uri" );
}

1;
