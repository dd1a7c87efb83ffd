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
use Test::LongString ();

use Test::Nginx::Util qw( $NoLongString );

our @EXPORT_OK = qw(
    check check_str check_like check_unlike check_true flunk is_str
    set_dry_run in_dry_run failures
);

my $builder = Test::Builder->new;
my $dry_run;         # reason why tests are counted, but not run
my $failures = 0;

sub set_dry_run { ($dry_run) = @_; return }
sub in_dry_run  { return defined $dry_run }
sub failures    { return $failures }

# Runs one test, or skips it in a dry run. $code returns its verdict.
sub check {
    my ( $name, $code ) = @_;
    if ( defined $dry_run ) {
        $builder->skip("$name - $dry_run");
        return 1;
    }
    local $Test::Builder::Level = _level_of_script();
    my $ok = $code->();
    $failures++ if !$ok;
    return $ok;
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

sub check_true {
    my ( $ok, $name, @details ) = @_;
    return check(
        $name,
        sub {
            my $verdict = $builder->ok( $ok, $name );
            $builder->diag(@details) if !$ok && @details;
            return $verdict;
        }
    );
}

sub check_str {
    my ( $got, $expected, $name ) = @_;
    return check( $name, sub { _compare( $got, $expected, $name ) } );
}

sub check_like {
    my ( $got, $pattern, $name ) = @_;
    return check(
        $name,
        sub {
            $NoLongString
                ? $builder->like( $got, $pattern, $name )
                : Test::LongString::like_string( $got, $pattern, $name );
        }
    );
}

sub check_unlike {
    my ( $got, $pattern, $name ) = @_;
    return check(
        $name,
        sub {
            $NoLongString
                ? $builder->unlike( $got, $pattern, $name )
                : Test::LongString::unlike_string( $got, $pattern, $name );
        }
    );
}

# Exported to .t files: as check_str, and a regex as expectation is matched.
sub is_str {
    my ( $got, $expected, $name ) = @_;
    return ref $expected eq 'Regexp'
        ? check_like( $got, $expected, $name )
        : check_str( $got, $expected, $name );
}

# Several lines are shown as a diff, one line by Test::LongString, which points
# at the first difference.
sub _compare {
    my ( $got, $expected, $name ) = @_;
    return $builder->is_eq( $got, $expected, $name )
        if !defined $got || !defined $expected;
    return $builder->ok( 1, $name ) if $got eq $expected;

    if ( !$ENV{TEST_SHOW_NO_DIFFS} && "$got$expected" =~ /\n./s ) {
        $builder->ok( 0, $name );
        $builder->diag( _diff( $got, $expected ) );
        return 0;
    }
    return $NoLongString
        ? $builder->is_eq( $got, $expected, $name )
        : Test::LongString::is_string( $got, $expected, $name );
}

sub _diff {
    my ( $got, $expected ) = @_;
    require Text::Diff;
    my @shown = map { _printable($_) } $expected, $got;
    my $diff = Text::Diff::diff( \$shown[0], \$shown[1],
        { STYLE => 'Unified', FILENAME_A => 'expected', FILENAME_B => 'got',
          MTIME_A => 0, MTIME_B => 0 } );
    $diff =~ s/^(--- expected|\+\+\+ got)\t.*$/$1/mg;
    return $diff;
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
