package Test::Nginx::ErrorLog;

# Reads error.log (and access.log) of the nginx under test, one request's share at
# a time, and finds the lines that mean trouble whatever the test expects.

use strict;
use warnings;

use Exporter qw( import );

use Test::Nginx::Util qw( $ErrLogFile $AccLogFile $CheckAccumErrLog section );

our @EXPORT_OK = qw(
    error_log_lines error_log_text access_log_lines mark_log_end reset_log_marks
    trouble_lines patterns_of matches_line log_tail error_log_data
);

my $shared_offset  = 0;    # error_log & co. look at what follows
my $access_offset  = 0;
my $trouble_offset = 0;    # trouble is looked for in what follows

sub reset_log_marks { $shared_offset = $access_offset = $trouble_offset = 0; return }

# To be called between two requests of the same nginx: what has been logged so
# far belongs to the past.
sub mark_log_end {
    $access_offset = -s $AccLogFile || 0;
    $shared_offset = -s $ErrLogFile || 0 if !$CheckAccumErrLog;
    return;
}

sub _text_from {
    my ( $path, $offset ) = @_;
    open my $log, '<:raw', $path or return '';
    seek $log, $offset, 0 if $offset <= -s $log;    # else the file was replaced
    local $/ = undef;
    my $text = <$log>;
    return defined $text ? $text : '';
}

sub _lines { return $_[0] =~ /([^\n]*\n|[^\n]+\z)/g }

sub error_log_text   { return _text_from( $ErrLogFile, $shared_offset ) }
sub error_log_lines  { return _lines( error_log_text() ) }
sub access_log_lines { return _lines( _text_from( $AccLogFile, $access_offset ) ) }

# The original's name for it, used by some test files.
sub error_log_data { return [ error_log_lines() ] }

# A section's patterns: one a line, or an array, or a regex.
sub patterns_of {
    my ($value) = @_;
    return if !defined $value;
    return grep { defined && length } @$value if ref $value eq 'ARRAY';
    return $value if ref $value;
    return grep {length} split /\n+/, $value;
}

sub matches_line {
    my ( $pattern, $line ) = @_;
    return ref $pattern ? scalar( $line =~ $pattern ) : index( $line, $pattern ) >= 0;
}

# --- trouble --------------------------------------------------------------------

my @TROUBLE = (
    qr/\[(?:alert|emerg)\]/,
    qr/exited on (?:fatal )?signal \d+/,
    qr/open socket \#\d+ left in connection/,
    qr/panicked at/,
    qr/(?:Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer/,
    qr/\.(?:c|h|rs):\d+:\d+: runtime error:/,
    qr/^(?:==|--)\d+(?:==|--)\s.*(?:Invalid\ (?:read|write|free)|ninitiali[sz]ed
        |definitely\ lost|Mismatched\ free|points\ to\ un|Process\ terminating
        |Source\ and\ destination\ overlap|unrecoverable)/x,
);

# Alerts that are no defect: what OpenResty logs for lua_code_cache off, and
# what a test's own Lua code logs at that level.
my @HARMLESS = (
    qr/lua_code_cache is off/,
    qr/\[(?:alert|emerg)\] \d+\#\d+: (?:\*\d+ )?\[lua\] /,
    qr/\[(?:alert|emerg)\] \d+\#\d+: (?:\*\d+ )?stream \[lua\] /,
);

# A report of several lines ends with the next log entry or valgrind's empty line.
my $REPORT_END = qr{^(?:\d{4}/\d\d/\d\d |(?:==|--)\d+(?:==|--)\s*$)};
use constant FOLLOWING => 20;

# Lines since the last call that fail the block, except those it asks for.
sub trouble_lines {
    my ( $block, $extra_text ) = @_;
    my $text = _text_from( $ErrLogFile, $trouble_offset );
    $trouble_offset = -s $ErrLogFile || 0;
    $text .= $extra_text if defined $extra_text;

    my @expected = $block ? _expected_by($block) : ();
    my @found;
    my $follow = 0;    # lines of a report that belong to the one found
    for my $line ( _lines($text) ) {
        my $is_new = grep { $line =~ $_ } @TROUBLE;
        $is_new = 0 if grep { $line =~ $_ } @HARMLESS;
        $is_new = 0 if grep { matches_line( $_, $line ) } @expected;

        $follow = $is_new ? FOLLOWING : $line =~ $REPORT_END ? 0 : $follow;
        push @found, $line if $is_new || $follow-- > 0;
    }
    return @found;
}

sub _expected_by {
    my ($block) = @_;
    my @refused = grep { defined section( $block, $_ ) } qw( must_die reload_fails );
    return ( @refused ? qr/\[(?:emerg|alert)\](?!.*(?:panicked|signal))/ : () ),
        map { patterns_of( section( $block, $_ ) ) }
        qw( error_log shutdown_error_log grep_error_log allow_error_log );
}

# The lines a person wants to see when a test fails: the last ones, debug lines
# only when there is little else.
sub log_tail {
    my ($count) = @_;
    my @all   = _lines( _text_from( $ErrLogFile, 0 ) );
    my $in_debug = 0;    # an entry may have several lines
    my @plain = grep {
        $in_debug = /\[debug\]/ ? 1 : 0 if m{^\d{4}/};
        !$in_debug;
    } @all;
    my @shown = @plain >= 3 ? @plain : @all;
    splice @shown, 0, @shown - $count if @shown > $count;
    return @shown;
}

1;
