package Test::Nginx::Response;

# Parses what came back: status line, headers, body (chunked or not). It never
# refuses: a broken response becomes an object whose error() says what is wrong.

use strict;
use warnings;

use Exporter qw( import );

our @EXPORT_OK = qw( parse_response );

# Returns a response and the bytes that follow it (the next pipelined one).
sub parse_response {
    my ( $raw, %option ) = @_;
    my $self = bless { raw_headers => '', headers => {}, content => '', code => '' },
        __PACKAGE__;
    return ( $self, '' ) if $raw eq '';

    if ( $option{http09} ) {
        @$self{qw( code content )} = ( 200, $raw );
        return ( $self, '' );
    }

    my ( $head, $rest ) = $raw =~ /\A(.*?\r?\n)\r?\n(.*)\z/s;
    if ( !defined $head ) {
        $self->{error}       = 'response header is incomplete';
        $self->{raw_headers} = $raw;
        ( $self->{code} ) = $raw =~ m{\AHTTP/[\d.]+\s+(\d+)};
        $self->{code} = '' if !defined $self->{code};
        return ( $self, '' );
    }
    $self->{raw_headers} = $head;

    my ( $status, @lines ) = split /\r?\n/, $head;
    if ( $status =~ m{\AHTTP/[\d.]+\s+(\d+)\s*(.*)} ) {
        @$self{qw( code reason )} = ( $1, $2 );
    }
    else {
        $self->{error} = "bad status line \"$status\"";
    }
    for my $line (@lines) {
        my ( $name, $value ) = $line =~ /\A([^:\s]+)\s*:\s*(.*?)\s*\z/ or next;
        push @{ $self->{headers}{ lc $name } }, $value;
    }

    my $left = $option{head} ? $rest : $self->_take_body($rest);
    return ( $self, $left );
}

sub _take_body {
    my ( $self, $rest ) = @_;
    my $encoding = $self->header('Transfer-Encoding');
    return $self->_take_chunks($rest) if defined $encoding && lc $encoding eq 'chunked';

    my $length = $self->header('Content-Length');
    if ( defined $length && $length =~ /^\d+$/ ) {
        $self->{error} = "response body is truncated: $length bytes expected, "
            . length($rest) . ' received'
            if length $rest < $length;
        $self->{content} = substr $rest, 0, $length;
        return length $rest > $length ? substr $rest, $length : '';
    }
    return '' if $self->{code} eq '204' && $rest eq '';

    # 304 and 204 carry no body: what follows is another response
    return $rest if $self->{code} =~ /^(?:204|304)$/ && $rest =~ m{\AHTTP/};
    $self->{content} = $rest;
    return '';
}

sub _take_chunks {
    my ( $self, $rest ) = @_;
    while (1) {
        if ( $rest !~ /\G[ \t]*([0-9A-Fa-f]+)[^\r\n]*\r\n/gc ) {
            $self->{error} = 'chunked response body is incomplete or broken near "'
                . substr( $rest, pos($rest) || 0, 40 ) . '"';
            return '';
        }
        my $size  = hex $1;
        my $start = pos $rest;
        if ( $size == 0 ) {
            # trailers end with an empty line
            $rest =~ /\G(?:[^\r\n]+\r\n)*\r\n/gc
                or $self->{error} = 'chunked response body has no end';
            return substr $rest, pos($rest) || $start;
        }
        my $available = length($rest) - $start;
        $self->{content} .= substr $rest, $start, $size < $available ? $size : $available;
        if ( $available < $size + 2 ) {
            $self->{error} = 'chunked response body ends inside a chunk';
            return '';
        }
        pos($rest) = $start + $size;
        if ( $rest !~ /\G\r\n/gc ) {
            $self->{error} = 'a chunk of the response body is longer than its size says';
            return '';
        }
    }
}

# All values of a header, joined as HTTP allows; undef when absent.
sub header {
    my ( $self, $name ) = @_;
    my $values = $self->{headers}{ lc $name };
    return $values && join ', ', @$values;
}

sub code        { return $_[0]{code} }
sub content     { return $_[0]{content} }
sub raw_headers { return $_[0]{raw_headers} }
sub error       { return $_[0]{error} }

1;
