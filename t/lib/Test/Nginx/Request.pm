package Test::Nginx::Request;

# Turns the request sections of a block into bytes to send.
#
# An exchange is one connection: { pieces => [ [ delay, bytes ], ... ],
# heads => [ is-HEAD flag per expected response ], line/body/... of the first
# request for curl }. A block is a list of exchanges.

use strict;
use warnings;

use Exporter qw( import );

use Test::Nginx::Util qw( $ServerName section expand_env parse_time indexed trim );

our @EXPORT_OK = qw( exchanges_of header_lines );

my $DEFAULT_PIECE_DELAY = $ENV{TEST_NGINX_SLEEP} || 0.015;

sub exchanges_of {
    my ($block) = @_;

    my $raw = section( $block, 'raw_request' );
    return _raw_exchange( $block, $raw ) if defined $raw;

    my $pipelined = section( $block, 'pipelined_requests' );
    return _pipelined_exchange( $block, $pipelined ) if defined $pipelined;

    my $request = section( $block, 'request' );
    if ( !defined $request && defined section( $block, 'request_eval' ) ) {
        $request = eval section( $block, 'request_eval' );
        die "request_eval of " . $block->name . ": $@" if $@;
    }
    return if !defined $request;

    my @requests = ref $request eq 'ARRAY' ? @$request : ($request);
    return map {
        my $parsed = _parse( $requests[$_], $block );
        my ( $head, @body ) = _build( $block, $parsed, $_, 'close' );
        {   pieces  => [ $head, @body ],
            heads   => [ $parsed->{method} eq 'HEAD' ],
            request => $parsed,
            headers => [ header_lines( $block, $_ ) ],
        }
    } 0 .. $#requests;
}

sub header_lines {
    my ( $block, $idx ) = @_;
    my $more = indexed( section( $block, 'more_headers' ), $idx );
    return if !defined $more;
    return grep {length} split /\r?\n/, expand_env($more);
}

sub _raw_exchange {
    my ( $block, $raw ) = @_;
    my $delay = parse_time( section( $block, 'raw_request_middle_delay' ) );
    $delay = $DEFAULT_PIECE_DELAY if !defined $delay || $delay eq '';

    my @pieces = map { _piece( $_, $delay ) } ref $raw eq 'ARRAY' ? @$raw : ($raw);
    $pieces[0][0] = 0 if @pieces && !ref( ref $raw eq 'ARRAY' ? $raw->[0] : '' );
    my $is_head = @pieces && $pieces[0][1] =~ /^\s*HEAD\b/;
    return { pieces => \@pieces, heads => [$is_head], raw => 1 };
}

sub _pipelined_exchange {
    my ( $block, $requests ) = @_;
    my $bytes = '';
    my @heads;
    for my $i ( 0 .. $#$requests ) {
        my $parsed = _parse( $requests->[$i], $block );
        my @pieces =
            _build( $block, $parsed, $i, $i == $#$requests ? 'close' : 'keep-alive' );
        $bytes .= join '', map { $_->[1] } @pieces;
        push @heads, $parsed->{method} eq 'HEAD';
    }
    return { pieces => [ [ 0, $bytes ] ], heads => \@heads, pipelined => 1 };
}

# A piece of a split request: text, or { value => text, delay_before => seconds }.
sub _piece {
    my ( $piece, $delay ) = @_;
    my %piece = ref $piece ? %$piece : ( value => $piece );
    my $bytes = expand_env( $piece{value} );
    utf8::encode($bytes) if utf8::is_utf8($bytes);
    return [ defined $piece{delay_before} ? parse_time( $piece{delay_before} ) : $delay, $bytes ];
}

# "METHOD [URI [HTTP/x.y]]", comment lines before it, the body after it.
sub _parse {
    my ( $spec, $block ) = @_;
    my ( $first, @rest ) =
        map { _piece( $_, $DEFAULT_PIECE_DELAY ) } ref $spec eq 'ARRAY' ? @$spec : ($spec);

    my $text = $first->[1];
    1 while $text =~ s/\A\s*(?:\#[^\n]*)?(?:\n|\z)//;
    my ( $line, $body ) = split /\n/, $text, 2;
    die 'No request line in the request section of ' . $block->name . ".\n"
        if !defined $line || $line !~ /\S/;

    my @words   = split ' ', $line;
    my $method  = shift @words;
    my $version = @words && $words[-1] =~ m{^HTTP/} ? pop @words : 'HTTP/1.1';
    my $uri     = @words ? join( ' ', @words ) : '/';

    return {
        method  => $method,
        uri     => $uri,
        version => $version,
        body    => defined $body ? $body : '',
        rest    => \@rest,
    };
}

# Header order on the wire (Host, Connection, more_headers, Content-Length) is
# visible to tests of raw headers and so part of the format.
sub _build {
    my ( $block, $parsed, $idx, $connection ) = @_;
    my @more  = header_lines( $block, $idx );
    my $has   = sub {
        my ($pattern) = @_;
        return scalar grep {/^$pattern\s*:/i} @more;
    };
    my $chunked = grep {/^Transfer-Encoding\s*:\s*chunked/i} @more;

    my @head = ("$parsed->{method} $parsed->{uri} $parsed->{version}");
    push @head, "Host: $ServerName"        if !$has->('Host');
    push @head, "Connection: $connection"  if !$has->('Connection');
    push @head, @more;

    # The newline that ends the section is no part of the body.
    my @rest = @{ $parsed->{rest} };
    my $sized = !$chunked && !$has->('Content-Length');
    $parsed->{body} = trim( $parsed->{body} ) if $sized && !@rest;

    my $length = length $parsed->{body};
    $length += length $_->[1] for @rest;
    push @head, "Content-Length: $length" if $length && $sized;

    my $start = join( "\r\n", @head ) . "\r\n\r\n" . $parsed->{body};
    return ( [ 0, $start ], @rest );
}

1;
