package Test::Nginx::Runner;

# Runs the blocks of a file: one nginx a block (or one for all with HUP), its
# requests repeat_each() times, then a look at what nginx left in its log.

use strict;
use warnings;

use Exporter qw( import );
use File::Path qw( remove_tree );
use List::Util qw( shuffle );
use Test::Base ();
use Test::Builder ();

use Test::Nginx::Check qw( flunk set_dry_run in_dry_run failures );
use Test::Nginx::Client qw( talk );
use Test::Nginx::Config qw( reset_server_root write_config write_user_files );
use Test::Nginx::Curl qw( wants_http2 talk_by_curl curl_command_line );
use Test::Nginx::ErrorLog qw( reset_log_marks mark_log_end trouble_lines );
use Test::Nginx::Evidence qw( show_evidence );
use Test::Nginx::FakePeer qw( start_fake_peers stop_fake_peers verify_queries );
use Test::Nginx::Leak qw( check_leak );
use Test::Nginx::Process qw(
    start_nginx stop_nginx reload_nginx nginx_is_running take_exit_report stderr_text
);
use Test::Nginx::Request qw( exchanges_of );
use Test::Nginx::Response qw( parse_response );
use Test::Nginx::Skip qw( skip_reason todo_reason );
use Test::Nginx::Util qw(
    $ServRoot $ErrLogFile $MainPid $UseHup $NoNginxManager $NoShuffle
    $ServerAddr $ServerPortForClient @BlockPreprocessors @CleanupHandlers
    section parse_time repeat_each timeout nap slow_factor trim verbose
    nginx_version version_cmp slurp
);
use Test::Nginx::Verify qw(
    verify_response verify_logs verify_shutdown_log verify_stap verify_must_die
    verify_curl_error
);

our @EXPORT_OK = qw( run_tests run_block bail_out clean_up );

my $builder = Test::Builder->new;
my $stderr_seen = 0;   # bytes of nginx's stderr that were looked at

sub run_tests {
    _catch_signals();
    my @blocks = Test::Base::blocks();
    if ( $ENV{TEST_NGINX_SHUFFLE} && !$NoShuffle ) {
        my $seed = $ENV{TEST_NGINX_SHUFFLE} > 1 ? $ENV{TEST_NGINX_SHUFFLE} : time ^ $$;
        $builder->note("blocks shuffled with TEST_NGINX_SHUFFLE=$seed");
        srand $seed;
        @blocks = shuffle @blocks;
    }
    for my $i ( 0 .. $#blocks ) {
        my $block = $blocks[$i];
        my $ok = eval { run_block( $block, $i == $#blocks ); 1 };
        next if $ok;
        flunk( $block->name . ' - the block could not be run', $@ );
        set_dry_run(undef);
        stop_fake_peers();
        stop_nginx();
    }
    _finish_hup_mode() if $UseHup;
    return;
}

# --- one block ---------------------------------------------------------------------

sub run_block {
    my ( $block, $is_last ) = @_;
    $_->($block) for @BlockPreprocessors;
    my $name = $block->name;
    verbose("block: $name");

    my ( $count, $reason ) = skip_reason($block);
    if ($count) {
        $builder->skip("$name - $reason") for 1 .. $count * repeat_each();
        return;
    }
    my ( undef, $todo ) = todo_reason($block);
    $builder->todo_start($todo) if defined $todo;

    if ( defined( my $init = section( $block, 'init' ) ) ) {
        eval "package main; no strict; $init; 1" or die "init section: $@";
    }
    my @exchanges = exchanges_of($block);

    if ( defined section( $block, 'must_die' ) ) {
        _run_must_die($block);
    }
    else {
        _run_requests( $block, \@exchanges, $is_last );
    }
    _report_trouble($block);
    show_evidence($block);
    $builder->todo_end if defined $todo;
    return;
}

sub _run_requests {
    my ( $block, $exchanges, $is_last ) = @_;
    my $http2 = wants_http2( $block, @$exchanges );

    my $prepared = _prepare( $block, $http2 );
    for my $repeat ( 0 .. repeat_each() - 1 ) {
        mark_log_end() if $repeat;
        start_fake_peers($block) if $prepared;
        $prepared = _bring_up($block) if $prepared && !$repeat;

        _run_once( $block, $exchanges, $http2, $repeat );
        verify_queries($block);
        stop_fake_peers();
        verify_stap($block);
        verify_logs( $block, $repeat );
        show_evidence($block);
    }
    check_leak( $block, $exchanges ) if $ENV{TEST_NGINX_CHECK_LEAK} && $prepared;
    set_dry_run(undef);

    return if $UseHup || $NoNginxManager;
    return if $is_last && $ENV{TEST_NGINX_NO_CLEAN};
    if ($prepared) {
        mark_log_end();
        $builder->note( "nginx needed SIG$_: " . $block->name ) for grep {/TERM|KILL/} stop_nginx();
        verify_shutdown_log($block);
    }
    return;
}

# Writes the server root. Returns true, or in a dry run false.
sub _prepare {
    my ( $block, $http2 ) = @_;
    return 1 if $NoNginxManager;
    reset_server_root( $UseHup && nginx_is_running() );
    if ( $UseHup && nginx_is_running() ) { mark_log_end() }
    else                                 { reset_log_marks(); $stderr_seen = 0 }
    write_config( $block, $http2 );
    write_user_files($block);
    return 1;
}

# Starts or reloads nginx. When that fails the block's tests are counted as
# skipped, after one failure that says why.
sub _bring_up {
    my ($block) = @_;
    return 1 if $NoNginxManager;
    my $name = $block->name;

    if ( $UseHup && nginx_is_running() ) {
        return 1 if reload_nginx() || defined section( $block, 'reload_fails' );
        flunk("$name - nginx did not accept the new configuration");
        set_dry_run('nginx was not reloaded');
        return 0;
    }
    my ( $up, $exit_code ) = start_nginx();
    return 1 if $up;

    my $why = stderr_text() . ( slurp($ErrLogFile) || '' );
    trouble_lines( undef, '' );    # one failure is enough
    if ( $ENV{TEST_NGINX_IGNORE_MISSING_DIRECTIVES} && $why =~ /unknown directive "(.*?)"/ ) {
        set_dry_run("nginx has no directive $1");
        return 0;
    }
    flunk( "$name - nginx did not start"
            . ( defined $exit_code ? " (exit code $exit_code)" : '' ) );
    set_dry_run('nginx did not start');
    return 0;
}

sub _run_must_die {
    my ($block) = @_;
    stop_nginx();    # one of the HUP mode
    reset_server_root();
    reset_log_marks();
    $stderr_seen = 0;
    write_config( $block, 0 );
    write_user_files($block);

    my ( $up, $exit_code ) = start_nginx( must_die => 1 );
    stop_nginx( fast => 1 ) if $up;
    if ( version_cmp( nginx_version(), '1.19.5' ) < 0 ) {    # no -e option
        open my $log, '>>', $ErrLogFile or die "Cannot write $ErrLogFile: $!\n";
        print {$log} stderr_text();
        close $log;
    }
    for my $repeat ( 0 .. repeat_each() - 1 ) {
        verify_must_die( $block, $up ? undef : $exit_code );
        verify_logs( $block, $repeat );
    }
    return;
}

# --- one round of requests -----------------------------------------------------------

sub _run_once {
    my ( $block, $exchanges, $http2, $repeat ) = @_;
    my $req_idx = 0;
    my $stderr  = '';
    for my $exchange (@$exchanges) {
        my $answer = in_dry_run()
            ? { raw => '' }
            : _send( $block, $exchange, $http2 );
        $stderr .= $answer->{stderr} if defined $answer->{stderr};
        _verify_answer( $block, $exchange, $answer, $req_idx, $repeat );
        $req_idx += @{ $exchange->{heads} };
    }
    verify_curl_error( $block, $stderr );

    my $wait = section( $block, 'wait' );
    nap( parse_time($wait) ) if defined $wait && $wait =~ /\d/ && !in_dry_run();
    return;
}

sub _send {
    my ( $block, $exchange, $http2 ) = @_;
    my $timeout = parse_time( section( $block, 'timeout' ) );
    $timeout = timeout() if !defined $timeout || $timeout eq '';
    $timeout *= slow_factor() if !defined section( $block, 'abort' );

    my $host = section( $block, 'server_addr_for_client' );
    $host = defined $host ? trim($host) : $ServerAddr;

    if ( defined section( $block, 'curl' ) && $exchange->{request} ) {
        print STDERR '# ',
            curl_command_line( $block, $exchange, $host, $ServerPortForClient, $http2 ), "\n";
    }
    return talk_by_curl( $block, $exchange, $host, $ServerPortForClient, $timeout ) if $http2;

    my $shutdown = section( $block, 'shutdown' );
    $shutdown = $shutdown =~ /(\d)/ ? $1 : 1 if defined $shutdown;
    return talk( $host, $ServerPortForClient, $exchange->{pieces},
        timeout => $timeout, shutdown => $shutdown );
}

sub _verify_answer {
    my ( $block, $exchange, $answer, $req_idx, $repeat ) = @_;
    my $name = $block->name;
    my $curl_error_expected = defined section( $block, 'curl_error' );

    if ( $answer->{timed_out} && !defined section( $block, 'abort' ) && !$curl_error_expected ) {
        flunk( "ERROR: client socket timed out - $name (req $req_idx)",
            'received so far: ' . substr $answer->{raw}, 0, 500 );
    }
    flunk( "$name - request $req_idx failed", $answer->{error} )
        if $answer->{error} && $answer->{raw} eq '' && !nginx_is_running();
    return if defined section( $block, 'ignore_response' );

    my $left = $answer->{raw};
    for my $is_head ( @{ $exchange->{heads} } ) {
        ( my $response, $left ) = parse_response( $left,
            head => $is_head, http09 => defined section( $block, 'http09' ) );
        my $before = failures();
        verify_response( $block, $response, $req_idx++, $repeat );
        _verify_framing( $block, $response, $answer, failures() > $before );
    }
    return;
}

# A response whose length is announced and wrong is a defect even when what
# arrived is what the test expects, unless the test provokes it.
sub _verify_framing {
    my ( $block, $response, $answer, $failed ) = @_;
    my $error = $response->error or return;
    my $provoked = grep { defined section( $block, $_ ) }
        qw( abort error_log shutdown raw_request ignore_response_body );
    return flunk( $block->name . " - $error" ) if !$failed && !$provoked;
    $builder->diag($error) if $failed;
    $builder->diag("reading ended with: $answer->{error}") if $failed && $answer->{error};
    return;
}

# --- trouble --------------------------------------------------------------------------

sub _report_trouble {
    my ($block) = @_;
    my @lines = ( take_exit_report(), trouble_lines( $block, _new_stderr_text() ) );
    flunk( $block->name . ' - trouble with nginx', @lines ) if @lines;

    if ( my $all_logs = $ENV{TEST_NGINX_ERROR_LOG} ) {
        open my $out, '>>', $all_logs or die "Cannot write $all_logs: $!\n";
        print {$out} '=== ', $block->name, "\n", slurp($ErrLogFile) || '';
        close $out;
    }
    return;
}

# What nginx printed before its log was open (its own messages are in the log too).
sub _new_stderr_text {
    my $text = stderr_text();
    $stderr_seen = 0 if length $text < $stderr_seen;
    my $new = substr $text, $stderr_seen;
    $stderr_seen = length $text;
    return join '', map {"$_\n"} grep { !/^nginx: \[\w+\]/ } split /\n/, $new;
}

# --- the end ------------------------------------------------------------------------

sub _finish_hup_mode {
    return if $ENV{TEST_NGINX_NO_CLEAN};
    stop_nginx();
    my @lines = ( take_exit_report(), trouble_lines( undef, '' ) );
    flunk( 'trouble with nginx when it stopped', @lines ) if @lines;
    return;
}

sub _catch_signals {
    for my $signal (qw( INT TERM HUP )) {
        $SIG{$signal} = sub { exit 130 };    # END cleans up
    }
    return;
}

my $cleaned = 0;

sub clean_up {
    return if $cleaned++;
    stop_fake_peers();
    for my $handler (@CleanupHandlers) {
        eval { $handler->(); 1 } or warn "cleanup handler: $@";
    }
    return if $ENV{TEST_NGINX_NO_CLEAN};
    stop_nginx() if !$NoNginxManager;
    remove_tree($ServRoot) if -d $ServRoot;
    return;
}

sub bail_out {
    my ($message) = @_;
    clean_up();
    $builder->BAIL_OUT($message);
    return;
}

END {
    if ( $$ == $MainPid ) {
        local ( $?, $! );
        clean_up();
    }
}

1;
