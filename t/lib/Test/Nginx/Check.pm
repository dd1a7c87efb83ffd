package Test::Nginx::Check;

# The assertions. All tests of a block are counted here and nowhere else:
#
#   per request: status 1; raw_response_headers_like 1, _unlike 1;
#     response_headers 1 a line, response_headers_like 1 a line;
#     response_body or _like or _unlike or _json_eq 1
#   per repeat: grep_error_log_out 1; error_log, no_error_log, access_log,
#     no_access_log 1 a pattern; tcp_query, tcp_query_len, udp_query 1 each;
#     stap_out* 1 each (skipped); curl_error 1; must_die 1 (instead of responses)
#   per block: shutdown_error_log and, with it, no_shutdown_error_log 1 a pattern

use strict;
use warnings;

use Exporter qw( import );
use Test::Builder ();

use Test::Nginx::Util qw( $NoLongString );

our @EXPORT_OK = qw(
    check_str check_like check_unlike check_true flunk is_str
    set_dry_run in_dry_run failures
);

my $builder = Test::Builder->new;
my $dry_run;         # reason why tests are counted, but not run
my $failures = 0;

sub set_dry_run { ($dry_run) = @_; return }
sub in_dry_run  { return defined $dry_run }
sub failures    { return $failures }

# One test, or a skipped one in a dry run. The details are shown when it fails; they
# may be a sub, so that they cost nothing otherwise.
sub check_true {
    my ( $ok, $name, @details ) = @_;
    if ( defined $dry_run ) {
        $builder->skip("$name - $dry_run");
        return 1;
    }
    local $Test::Builder::Level = _level_of_script();
    $builder->ok( $ok, $name );
    return 1 if $ok;
    $builder->diag($_) for map { ref $_ ? $_->() : $_ } @details;
    $failures++;
    return 0;
}

# A failure beyond the plan: something is wrong that no section asked about.
sub flunk {
    my ( $name, @details ) = @_;
    local $Test::Builder::Level = _level_of_script();
    $builder->ok( 0, $name );
    $builder->diag($_) for map { chomp( my $line = $_ ); $line } @details;
    $failures++;
    return;
}

sub check_str {
    my ( $got, $expected, $name ) = @_;
    my $same =
        defined $got && defined $expected ? $got eq $expected : !defined $got && !defined $expected;
    return check_true( $same, $name, sub { _difference( $got, $expected ) } );
}

sub check_like {
    my ( $got, $pattern, $name ) = @_;
    my $matches = defined $got && $got =~ $pattern ? 1 : 0;
    return check_true( $matches, $name,
        sub { '     got: ' . _quoted($got) . "\ndoes not match: $pattern" } );
}

sub check_unlike {
    my ( $got, $pattern, $name ) = @_;
    my $matches = defined $got && $got =~ $pattern ? 1 : 0;
    return check_true( !$matches, $name,
        sub { '     got: ' . _quoted($got) . "\nmatches: $pattern" } );
}

# Exported to .t files: as check_str, and a regex as expectation is matched.
sub is_str {
    my ( $got, $expected, $name ) = @_;
    return ref $expected eq 'Regexp'
        ? check_like( $got, $expected, $name )
        : check_str( $got, $expected, $name );
}

# Several lines are shown as a diff, one line around the first difference.
sub _difference {
    my ( $got, $expected ) = @_;
    my $several = defined $got && defined $expected && "$got\n$expected" =~ /\n.*\n./s;
    return _diff( $got, $expected ) if $several && !$ENV{TEST_SHOW_NO_DIFFS};

    my $at = 0;
    if ( defined $got && defined $expected ) {
        ( $got ^ $expected ) =~ /[^\0]/ and $at = $-[0];
    }
    my $where = $at ? "\n  differ at offset $at" : '';
    return '     got: ' . _quoted( $got, $at ) . "\nexpected: " . _quoted( $expected, $at ) . $where;
}

use constant { SHOWN => 300, BEFORE => 60 };

# Unless no_long_string is set, a long text is cut to what surrounds $at.
sub _quoted {
    my ( $text, $at ) = @_;
    return 'nothing' if !defined $text;
    my ( $head, $tail ) = ( '', '' );
    if ( !$NoLongString && length $text > SHOWN ) {
        my $start = ( $at || 0 ) > BEFORE ? $at - BEFORE : 0;
        $head = '...' if $start;
        $tail = '... (' . length($text) . ' bytes)' if length $text > $start + SHOWN;
        $text = substr $text, $start, SHOWN;
    }
    $text =~ s/\n/\\n/g;
    $text =~ s/\r/\\r/g;
    $text =~ s/([\x00-\x1f\x7f-\xff])/sprintf '\\x%02x', ord $1/ge;
    return qq{$head"$text"$tail};
}

sub _diff {
    my ( $got, $expected ) = @_;
    require Text::Diff;
    my @shown = map { _printable($_) } $expected, $got;
    my $diff = Text::Diff::diff( \$shown[0], \$shown[1], { STYLE => 'Unified' } );
    return "--- expected\n+++ got\n$diff";
}

# Control characters and a missing last newline must be visible in a diff.
sub _printable {
    my ($text) = @_;
    $text =~ s/\r/\\r/g;
    $text =~ s/([\x00-\x08\x0b-\x1f\x7f-\xff])/sprintf '\\x%02x', ord $1/ge;
    $text .= "\\ no newline at the end\n" if $text !~ /\n\z/;
    return $text;
}

# Failures are reported for the line of the .t file that called run_tests().
sub _level_of_script {
    my $level = 0;
    while ( my @frame = caller $level ) {
        last if $frame[1] !~ m{/Test/Nginx/};
        $level++;
    }
    return $level;
}

1;
