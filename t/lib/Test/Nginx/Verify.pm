package Test::Nginx::Verify;

# Compares what happened with what the sections of a block expect. Which section
# makes how many tests is listed in Check.pm.

use strict;
use warnings;

use Exporter qw( import );

use Test::Nginx::Check qw(
    check_str check_like check_unlike check_true is_str in_dry_run
);
use Test::Nginx::ErrorLog qw(
    error_log_lines access_log_lines patterns_of matches_line
);
use Test::Nginx::Util qw(
    @ResponseBodyChecks section expand_env indexed poll_until slow_factor
);

our @EXPORT_OK = qw(
    verify_response verify_logs verify_shutdown_log verify_stap verify_must_die
    verify_curl_error
);

# How long log lines that a test waits for may come after the response.
use constant LATE_LINES => $ENV{TEST_NGINX_LATE_LINES} || 1;

# --- one response -----------------------------------------------------------------

sub verify_response {
    my ( $block, $response, $req_idx, $repeat_idx ) = @_;
    my $suffix = $repeat_idx ? " (req $req_idx, repeat $repeat_idx)" : " (req $req_idx)";
    my $name   = $block->name;

    _verify_status( $block, $response, $req_idx, "$name - status code$suffix" );
    _verify_raw_headers( $block, $response, $req_idx, $name, $suffix );
    _verify_headers( $block, $response, $req_idx, $name, $suffix );
    if ( !defined section( $block, 'ignore_response_body' ) ) {
        _verify_body( $block, $response, $req_idx, $repeat_idx, "$name - %s$suffix" );
    }
    return;
}

sub _verify_status {
    my ( $block, $response, $idx, $name ) = @_;
    my $like = section( $block, 'error_code_like' );
    if ( defined $like ) {
        my $pattern = indexed( $like, $idx );
        chomp $pattern if !ref $pattern;
        return check_like( $response->code, ref $pattern ? $pattern : qr/$pattern/, $name );
    }
    my $expected = indexed( section( $block, 'error_code' ), $idx );
    $expected = 200 if !defined $expected;
    $expected =~ s/\s+//g;
    return check_str( $response->code, $expected, $name );
}

sub _verify_raw_headers {
    my ( $block, $response, $idx, $name, $suffix ) = @_;
    my %check = ( like => \&check_like, unlike => \&check_unlike );
    for my $kind (qw( like unlike )) {
        my $value = section( $block, "raw_response_headers_$kind" );
        next if !defined $value;
        my $pattern = expand_env( indexed( $value, $idx ) );
        $check{$kind}->( $response->raw_headers, ref $pattern ? $pattern : qr/$pattern/s,
            "$name - raw_response_headers_$kind$suffix" );
    }
    return;
}

# "Name: value" lines; "! Name" means absent; an empty value means absent or empty.
sub _verify_headers {
    my ( $block, $response, $idx, $name, $suffix ) = @_;
    for my $header ( _expected_headers( $block, 'response_headers', $idx ) ) {
        my ( $field, $expected ) = @$header;
        if ( !defined $expected ) {
            check_true( !defined $response->header($field),
                "$name - header $field not present$suffix",
                "$field: " . ( $response->header($field) // '' ) );
            next;
        }
        check_str( $response->header($field) // '', $expected, "$name - header $field$suffix" );
    }
    for my $header ( _expected_headers( $block, 'response_headers_like', $idx ) ) {
        my ( $field, $pattern ) = @$header;
        $pattern = '' if !defined $pattern;
        check_like( $response->header($field) // '',
            qr/^$pattern$/, "$name - header $field like$suffix" );
    }
    return;
}

# The last line wins for a name given twice, as in the original.
sub _expected_headers {
    my ( $block, $section, $idx ) = @_;
    my $text = indexed( section( $block, $section ), $idx );
    return if !defined $text;

    my ( @order, %value );
    for my $line ( split /\r?\n/, expand_env($text) ) {
        next if $line !~ /\S/;
        my ( $field, $value ) =
              $line =~ /^\s*!\s*(\S+)\s*$/     ? ( $1, undef )
            : $line =~ /^\s*([^:]+?)\s*:\s*(.*?)\s*$/ ? ( $1, $2 )
            :                                    die "Bad line \"$line\" in $section of " . $block->name . "\n";
        push @order, $field if !exists $value{$field};
        $value{$field} = $value;
    }
    return map { [ $_, $value{$_} ] } @order;
}

sub _verify_body {
    my ( $block, $response, $idx, $repeat_idx, $name_format ) = @_;
    my $body = _filtered_body( $block, $response->content, $idx );
    my $name = sub { sprintf $name_format, shift };

    my $expected = _expected_body( $block, $idx, $repeat_idx );
    if ( defined $expected ) {
        is_str( $body, expand_env($expected), $name->('response_body') );
    }
    elsif ( defined( my $like = indexed( section( $block, 'response_body_like' ), $idx ) ) ) {
        check_like( $body, _pattern($like), $name->('response_body_like') );
    }
    elsif ( defined( my $unlike = indexed( section( $block, 'response_body_unlike' ), $idx ) ) ) {
        check_unlike( $body, _pattern($unlike), $name->('response_body_unlike') );
    }
    elsif ( defined( my $json = indexed( section( $block, 'response_body_json_eq' ), $idx ) ) ) {
        check_str( _canonical_json($body), _canonical_json( expand_env($json) ),
            $name->('response_body_json_eq') );
    }
    $_->( $block, $body, $idx, $repeat_idx, undef ) for @ResponseBodyChecks;
    return;
}

sub _expected_body {
    my ( $block, $idx, $repeat_idx ) = @_;
    my $value = section( $block, 'response_body' );
    if ( !defined $value && defined section( $block, 'response_body_eval' ) ) {
        $value = eval section( $block, 'response_body_eval' );
        die 'response_body_eval of ' . $block->name . ": $@" if $@;
    }
    return indexed( $value, $idx );
}

sub _pattern {
    my ($pattern) = @_;
    return $pattern if ref $pattern;
    $pattern = expand_env($pattern);
    chomp $pattern;
    return qr/$pattern/sm;
}

sub _canonical_json {
    my ($text) = @_;
    require JSON::PP;
    my $json  = JSON::PP->new->canonical->pretty->allow_nonref;
    my $value = eval { $json->decode($text) };
    return $@ ? "not JSON: $text" : $json->encode($value);
}

my %FILTER = (
    md5_hex  => sub { require Digest::MD5; Digest::MD5::md5_hex( $_[0] ) },
    sha1_hex => sub { require Digest::SHA; Digest::SHA::sha1_hex( $_[0] ) },
    length   => sub { length $_[0] },
    uc       => sub { uc $_[0] },
    lc       => sub { lc $_[0] },
    ucfirst  => sub { ucfirst $_[0] },
    lcfirst  => sub { lcfirst $_[0] },
);

sub _filtered_body {
    my ( $block, $body, $idx ) = @_;
    my $filters = section( $block, 'response_body_filters' );
    return $body if !defined $filters;

    # [[a, b], [c]] gives filters for each request, [a, b] the same for all
    $filters = $filters->[$idx] || []
        if ref $filters eq 'ARRAY' && ref( $filters->[0] ) eq 'ARRAY';
    my @list =
          ref $filters eq 'ARRAY' ? @$filters
        : ref $filters            ? ($filters)
        :                           split ' ', $filters;
    for my $filter (@list) {
        my $code = ref $filter ? $filter : $FILTER{$filter}
            or die "Unknown response_body_filters entry \"$filter\".\n";
        $body = $code->($body);
    }
    return $body;
}

# --- logs -------------------------------------------------------------------------

sub verify_logs {
    my ( $block, $repeat_idx ) = @_;
    my $name   = $block->name;
    my $suffix = " (req $repeat_idx)";

    _verify_grep( $block, $repeat_idx, "$name - grep_error_log_out$suffix" );
    _verify_patterns( $block, error_log => \&error_log_lines, 1, "$name - %s$suffix" );
    _verify_patterns( $block, no_error_log => \&error_log_lines, 0, "$name - %s$suffix" );
    _verify_patterns( $block, access_log => \&access_log_lines, 1, "$name - %s$suffix" );
    _verify_patterns( $block, no_access_log => \&access_log_lines, 0, "$name - %s$suffix" );
    return;
}

# Once a block, after nginx has stopped. no_shutdown_error_log takes part only when
# there is a shutdown_error_log section, be it empty: so plans count it.
sub verify_shutdown_log {
    my ($block) = @_;
    return if !defined section( $block, 'shutdown_error_log' );
    my $format = $block->name . ' - %s';
    _verify_patterns( $block, shutdown_error_log => \&error_log_lines, 1, $format );
    _verify_patterns( $block, no_shutdown_error_log => \&error_log_lines, 0, $format );
    return;
}

sub _verify_patterns {
    my ( $block, $section, $lines_of, $wanted, $name_format ) = @_;
    my @patterns = map { expand_env($_) } patterns_of( section( $block, $section ) );
    return if !@patterns;

    my @lines = $lines_of->();
    my $first = sub {
        my ($pattern) = @_;
        for my $line (@lines) { return $line if matches_line( $pattern, $line ) }
        return;
    };
    if ( $wanted && !in_dry_run() ) {
        poll_until(
            LATE_LINES * slow_factor(),
            sub {
                @lines = $lines_of->();
                return !grep { !defined $first->($_) } @patterns;
            },
            0.01
        );
    }

    for my $pattern (@patterns) {
        my $line = $first->($pattern);
        my $what = $wanted ? 'should match a line' : 'should not match any line';
        check_true(
            $wanted ? defined $line : !defined $line,
            sprintf( $name_format, "$section: pattern \"$pattern\" $what" ),
            defined $line ? "it matches: $line" : 'no line matches'
        );
    }
    return;
}

sub _verify_grep {
    my ( $block, $repeat_idx, $name ) = @_;
    my $pattern  = section( $block, 'grep_error_log' );
    my $expected = section( $block, 'grep_error_log_out' );
    return if !defined $pattern || !defined $expected;

    $expected = indexed( $expected, $repeat_idx );
    $expected = '' if !defined $expected;
    $expected = expand_env($expected);
    my $regex = ref $pattern ? $pattern : qr/\Q$pattern\E/;

    my $got = '';
    !in_dry_run() && poll_until(
        LATE_LINES * slow_factor() / 2,
        sub {
            $got = join '', map { _matches( $_, $regex ) } error_log_lines();
            return ref $expected ? $got =~ $expected : $got eq $expected;
        },
        0.01
    );
    return is_str( $got, $expected, $name );
}

sub _matches {
    my ( $line, $regex ) = @_;
    my @found;
    while ( $line =~ /($regex)/g ) {
        push @found, $1 =~ /\n\z/ ? $1 : "$1\n";
        last if $1 eq '';
    }
    return @found;
}

# --- the rest ------------------------------------------------------------------------

# There is no systemtap here: its expectations are counted and skipped.
sub verify_stap {
    my ($block) = @_;
    return if !defined section( $block, 'stap' );
    for my $section (qw( stap_out stap_out_like stap_out_unlike )) {
        next if !defined section( $block, $section );
        Test::Builder->new->skip( $block->name . " - $section - no systemtap" );
    }
    return;
}

sub verify_curl_error {
    my ( $block, $stderr ) = @_;
    my $expected = section( $block, 'curl_error' );
    return if !defined $expected;
    return check_like( $stderr, $expected, $block->name . ' - curl_error' ) if ref $expected;
    chomp $expected;
    return check_true( index( $stderr, $expected ) >= 0, $block->name . ' - curl_error', $stderr );
}

sub verify_must_die {
    my ( $block, $exit_code ) = @_;
    my $expected = section( $block, 'must_die' );
    $expected =~ s/\s+//g;
    my $name = $block->name . ' - nginx must die';
    return check_str( $exit_code, $expected, "$name with exit code $expected" )
        if $expected ne '' && defined $exit_code;
    return check_true( defined $exit_code && $exit_code != 0,
        $name, defined $exit_code ? 'it ended with success' : 'it started' );
}

1;
