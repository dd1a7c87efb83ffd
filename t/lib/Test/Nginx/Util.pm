package Test::Nginx::Util;

# Settings and small helpers shared by every part of the runner.
#
# Everything a .t file may tune lives here as a package variable, because
# existing test files (and their helper packages) read and write them by name,
# as in $Test::Nginx::Util::ServRoot. The functions below are the polite way.

use strict;
use warnings;

use Cwd qw( cwd );
use Exporter qw( import );
use File::Spec ();
use List::Util qw( max );
use POSIX      ();
use Time::HiRes ();

use Test::Nginx::Ports qw( reserve_port );

our @EXPORT_OK = qw(
    $ServRoot $HtmlDir $LogDir $ConfDir $ConfFile $ErrLogFile $AccLogFile
    $PidFile $ServerPort $ServerPortForClient $ServerName $ServerAddr
    $NginxBinary $RepeatEach $Workers $WorkerConnections $LogLevel
    $MasterProcessEnabled $UseHup $UseValgrind $UseHttp2 $NoNginxManager
    $NoRootLocation $NoShuffle $NoLongString $CheckAccumErrLog $ConfigPreamble
    $Verbose $MainPid @EnvToNginx @BlockPreprocessors @CleanupHandlers
    @ResponseBodyChecks
    section expand_env parse_time trim nginx_version openssl_version
    nginx_supports_debug version_cmp verbose slurp spew indexed slow_factor
    nap poll_until timeout repeat_each
);

our $MainPid = $$;

our $NginxBinary = $ENV{TEST_NGINX_BINARY} || 'nginx';
our $Verbose     = $ENV{TEST_NGINX_VERBOSE};

our $RepeatEach           = 1;
our $Workers              = 1;
our $WorkerConnections    = 64;
our $LogLevel             = $ENV{TEST_NGINX_LOG_LEVEL} || 'debug';
our $MasterProcessEnabled = $ENV{TEST_NGINX_MASTER_PROCESS} || 'off';
our $UseHup               = $ENV{TEST_NGINX_USE_HUP};
our $UseValgrind          = $ENV{TEST_NGINX_USE_VALGRIND};
our $UseHttp2             = $ENV{TEST_NGINX_USE_HTTP2};
our $NoNginxManager       = $ENV{TEST_NGINX_NO_NGINX_MANAGER};
our $NoRootLocation       = 0;
our $NoShuffle            = $ENV{TEST_NGINX_NO_SHUFFLE};
our $NoLongString         = 0;
our $CheckAccumErrLog     = 0;
our $ConfigPreamble       = '';
our $Timeout              = $ENV{TEST_NGINX_TIMEOUT} || 3;

our @EnvToNginx;
our @BlockPreprocessors;
our @CleanupHandlers;
our @ResponseBodyChecks;

our $ServerName = 'localhost';
our $ServerAddr = '127.0.0.1';
our $ServerPort =
       $ENV{TEST_NGINX_SERVER_PORT}
    || $ENV{TEST_NGINX_PORT}
    || reserve_port();
our $ServerPortForClient =
       $ENV{TEST_NGINX_CLIENT_PORT}
    || $ENV{TEST_NGINX_PORT}
    || $ServerPort;

our $ServRoot = _choose_server_root();
our ( $HtmlDir, $LogDir, $ConfDir, $ConfFile, $ErrLogFile, $AccLogFile, $PidFile );
_derive_paths();

# Sections evaluated by "eval" filters and Perl code in the .t file read these.
$ENV{TEST_NGINX_SERVER_PORT} = $ServerPort;
$ENV{TEST_NGINX_CLIENT_PORT} = $ServerPortForClient;
$ENV{TEST_NGINX_HTML_DIR}    = $HtmlDir;
$ENV{TEST_NGINX_SERVER_ROOT} = $ServRoot;

# Unix socket paths are limited to about 100 bytes and tests put sockets below
# the server root, hence the fallback to /tmp for deep working directories.
sub _choose_server_root {
    return File::Spec->rel2abs( $ENV{TEST_NGINX_SERVROOT} )
        if $ENV{TEST_NGINX_SERVROOT};

    my $leaf = sprintf 'servroot_%d_%04x', $$, int rand 65536;
    my $near = cwd() . '/t';
    return length($near) < 60 && -d $near && -w $near ? "$near/$leaf" : "/tmp/$leaf";
}

sub _derive_paths {
    $HtmlDir    = "$ServRoot/html";
    $LogDir     = "$ServRoot/logs";
    $ConfDir    = "$ServRoot/conf";
    $ConfFile   = "$ConfDir/nginx.conf";
    $ErrLogFile = "$LogDir/error.log";
    $AccLogFile = "$LogDir/access.log";
    $PidFile    = "$LogDir/nginx.pid";
    return;
}

# --- sections -----------------------------------------------------------------

# Test::Base's accessors return lists in list context and vanish when the
# section is absent; this one always yields exactly one scalar.
sub section {
    my ( $block, $name ) = @_;
    my $value = $block->$name;
    return $value;
}

# Multi-request blocks give one expectation per request as an array. A plain
# value applies to every request.
sub indexed {
    my ( $value, $idx ) = @_;
    return ref $value eq 'ARRAY' ? $value->[$idx] : $value;
}

my %rand_port;

# Expands $TEST_NGINX_* and the runner's own $ServRoot-like names. In
# configuration an unset variable is a mistake to report ($strict); in
# expectations it is left alone, it may be literal text.
sub expand_env {
    my ( $text, $strict ) = @_;
    return $text if !defined $text || ref $text;

    $text =~ s/\$(TEST_NGINX_[_A-Z0-9]+|\{TEST_NGINX_[_A-Z0-9]+\})/
        _env_value( $1, $strict )/gex;

    $text =~ s/\$Serv(?:er)?Root\b/$ServRoot/g;
    $text =~ s/\$ServerPortForClient\b/$ServerPortForClient/g;
    $text =~ s/\$ServerPort\b/$ServerPort/g;
    $text =~ s/\$ServerName\b/$ServerName/g;
    $text =~ s/\$HtmlDir\b/$HtmlDir/g;
    return $text;
}

sub _env_value {
    my ( $spelled, $strict ) = @_;
    ( my $name = $spelled ) =~ tr/{}//d;

    return $ENV{$name} if defined $ENV{$name};
    return $rand_port{$1} ||= reserve_port() if $name =~ /^TEST_NGINX_RAND_PORT_(\d+)$/;
    die "No environment variable \$$name defined, but the test uses it.\n" if $strict;
    return "\$$spelled";
}

sub parse_time {
    my ($text) = @_;
    return $text if !defined $text || $text eq '';
    return $1 / 1000 if $text =~ /^\s*([\d.]+)\s*ms\s*$/;
    return $1 if $text =~ /^\s*([\d.]+)\s*s?\s*$/;
    die "Cannot parse the time \"$text\".\n";
}

sub trim {
    my ($text) = @_;
    $text =~ s/\A\s+|\s+\z//g;
    return $text;
}

# --- versions -----------------------------------------------------------------

my $version_text;

sub _version_text {
    return $version_text if defined $version_text;
    open my $pipe, '-|', "$NginxBinary -V 2>&1"
        or die "Cannot run $NginxBinary -V: $!\n";
    local $/ = undef;
    $version_text = <$pipe> // '';
    close $pipe;
    return $version_text;
}

sub nginx_version {
    return _version_text() =~ m{(?:openresty|nginx|tengine)/(\d+\.\d+\.\d+)} ? $1 : '0.0.0';
}

sub openssl_version {
    return _version_text() =~ /built with OpenSSL (\d+\.\d+\.\d+[a-z]?)/ ? $1 : '0.0.0';
}

sub nginx_supports_debug { return _version_text() =~ /--with-debug/ ? 1 : 0 }

# Compares 1.1.0h-like versions part by part.
sub version_cmp {
    my ( $left, $right ) = map { [ /(\d+|[a-z])/g ] } @_;
    for my $i ( 0 .. max( $#$left, $#$right ) ) {
        my ( $l, $r ) = map { defined $_ ? $_ : 0 } $left->[$i], $right->[$i];
        ( $l, $r ) = map { /[a-z]/ ? ord : $_ } $l, $r;
        return $l <=> $r if $l != $r;
    }
    return 0;
}

# --- odds and ends ------------------------------------------------------------

sub verbose {
    my (@words) = @_;
    print STDERR '# ', @words, "\n" if $Verbose;
    return;
}

sub slurp {
    my ($path) = @_;
    open my $in, '<:raw', $path or return;
    local $/ = undef;
    my $text = <$in>;
    return defined $text ? $text : '';
}

sub spew {
    my ( $path, $text ) = @_;
    open my $out, '>', $path or die "Cannot write $path: $!\n";
    binmode $out, utf8::is_utf8($text) ? ':utf8' : ':raw';
    print {$out} $text;
    close $out or die "Cannot write $path: $!\n";
    return;
}

sub slow_factor { return $UseValgrind ? 15 : $ENV{NGX_COSOCKET_GC_STRESS} ? 5 : 1 }

sub nap {
    my ($seconds) = @_;
    Time::HiRes::sleep($seconds);
    return;
}

# Polls a condition in short steps: the whole suite's speed rests on never
# sleeping longer than needed. Returns the condition's value, or false when
# the time is over.
sub poll_until {
    my ( $seconds, $condition, $step ) = @_;
    my $deadline = Time::HiRes::time() + $seconds;
    while (1) {
        my $value = $condition->();
        return $value if $value;
        return if Time::HiRes::time() >= $deadline;
        nap( $step || 0.004 );
    }
}

# --- functions offered to .t files ----------------------------------------------

sub repeat_each {
    $RepeatEach = shift if @_;
    return $RepeatEach * ( $ENV{TEST_NGINX_REPEAT} || 1 );
}

sub workers            { $Workers            = shift if @_; return $Workers }
sub worker_connections { $WorkerConnections  = shift if @_; return $WorkerConnections }
sub log_level          { $LogLevel           = shift if @_; return $LogLevel }
sub server_name        { $ServerName         = shift if @_; return $ServerName }
sub server_addr        { $ServerAddr         = shift if @_; return $ServerAddr }
sub config_preamble    { $ConfigPreamble     = shift if @_; return $ConfigPreamble }
sub timeout            { $Timeout            = shift if @_; return $Timeout }
sub use_hup            { $UseHup             = @_ ? shift : 1; return $UseHup }
sub use_http2          { $UseHttp2           = @_ ? shift : 1; return $UseHttp2 }
sub no_shuffle         { $NoShuffle          = 1; return }
sub no_long_string     { $NoLongString       = 1; return }
sub no_root_location   { $NoRootLocation     = 1; return }
sub no_nginx_manager   { $NoNginxManager     = 1; return }
sub check_accum_error_log { $CheckAccumErrLog = 1; return }
sub html_dir           { return $HtmlDir }

sub master_on { $MasterProcessEnabled = 'on'; return }

sub master_process_enabled {
    $MasterProcessEnabled = shift() ? 'on' : 'off' if @_;
    return $MasterProcessEnabled;
}

sub server_root {
    if (@_) { $ServRoot = shift; _derive_paths() }
    return $ServRoot;
}

sub server_port {
    if (@_) {
        $ServerPortForClient = $ServerPort = shift;
        $ENV{TEST_NGINX_SERVER_PORT} = $ENV{TEST_NGINX_CLIENT_PORT} = $ServerPort;
    }
    return $ServerPort;
}

sub server_port_for_client {
    $ServerPortForClient = shift if @_;
    return $ServerPortForClient;
}

sub env_to_nginx           { push @EnvToNginx,         @_; return }
sub add_block_preprocessor { push @BlockPreprocessors, @_; return }
sub add_cleanup_handler    { push @CleanupHandlers,    @_; return }
sub add_response_body_check { push @ResponseBodyChecks, @_; return }

1;
