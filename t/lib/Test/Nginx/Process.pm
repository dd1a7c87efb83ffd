package Test::Nginx::Process;

# Starts, reloads and stops the nginx under test, and notices how it ended.
#
# nginx runs with "daemon off" as a direct child, so that waitpid tells about
# every crash and no process is ever lost. On Linux it also asks the kernel to be
# terminated when this process dies, however it dies.

use strict;
use warnings;

use Exporter qw( import );
use File::Basename qw( dirname );
use POSIX qw( :sys_wait_h );

use Test::Nginx::Util qw(
    $ServRoot $LogDir $ConfFile $ErrLogFile $PidFile $NginxBinary $UseHup
    $MasterProcessEnabled $Workers $UseValgrind
    nginx_version version_cmp verbose slurp poll_until slow_factor
);

our @EXPORT_OK = qw(
    start_nginx stop_nginx reload_nginx nginx_pid worker_pids nginx_is_running
    take_exit_report stderr_text spawn_helper reap_helper
);

my $pid;            # the child: master, or the only process
my @exit_report;    # what went wrong with a process since last asked

use constant {
    PR_SET_PDEATHSIG => 1,
    SYS_PRCTL        => { x86_64 => 157, aarch64 => 167 },
};

sub nginx_pid { return $pid }

# --- starting -----------------------------------------------------------------

# Returns (1) when nginx listens, (0, exit code) when it ended instead. nginx
# writes its pid file after it has bound and opened its listening sockets, so that
# file tells "connectable" without a probe connection in the log.
sub start_nginx {
    my (%option) = @_;
    unlink $PidFile;
    $pid = _spawn( \%option );
    verbose("started nginx $pid in $ServRoot");

    my $ended;
    my $up = poll_until(
        10 * slow_factor(),
        sub {
            return 1 if -s $PidFile;
            $ended = _reap() if !defined $ended;
            return defined $ended;
        },
        0.002
    );
    if ( $up && !defined $ended ) {
        _wait_for_workers();
        return 1;
    }

    if ( !defined $ended ) {
        push @exit_report, 'nginx neither listened nor ended in time';
        stop_nginx( fast => 1 );
        return ( 0, undef );
    }
    return ( 0, $ended );
}

# With a master process the pid file comes before the workers. A reload must know
# which workers are the old ones, so all of them have to be there.
sub _wait_for_workers {
    return if !$UseHup && $MasterProcessEnabled ne 'on';
    my $expected = $Workers =~ /^\d+$/ ? $Workers : 1;
    poll_until( slow_factor(), sub { worker_pids() >= $expected || !nginx_is_running() }, 0.002 );
    return;
}

sub _spawn {
    my ($option) = @_;
    my @command = _command($option);
    my $child = fork;
    die "Cannot fork: $!\n" if !defined $child;
    return $child if $child;

    _die_with_parent() if !$ENV{TEST_NGINX_NO_CLEAN};
    open STDIN,  '<', '/dev/null';
    open STDOUT, '>>', "$LogDir/stderr.log";
    open STDERR, '>&', \*STDOUT;
    no warnings 'exec';
    exec @command;
    print STDERR "cannot run $command[0]: $!\n";
    POSIX::_exit(127);
}

sub _command {
    my ($option) = @_;
    my @command = ( ( split ' ', $NginxBinary ), '-p', "$ServRoot/", '-c', $ConfFile );

    # What fails before the configuration names a log goes where -e says.
    push @command, '-e', $ErrLogFile if version_cmp( nginx_version(), '1.19.5' ) >= 0;

    if ( $UseValgrind && !$option->{must_die} ) {
        my $flags =
            $UseValgrind =~ /^\d+$/ ? '--tool=memcheck --leak-check=full' : $UseValgrind;
        my @suppressions = map {"--suppressions=$_"} grep {-f} 'valgrind.suppress',
            dirname(__FILE__) . '/../../valgrind.suppress';
        unshift @command, 'valgrind', '-q', split( ' ', $flags ), @suppressions;
    }
    return @command;
}

sub _die_with_parent {
    my $machine = ( POSIX::uname() )[4];
    my $number  = SYS_PRCTL->{$machine};
    syscall $number, PR_SET_PDEATHSIG, POSIX::SIGTERM, 0, 0, 0 if $number;
    return;
}

# --- stopping -----------------------------------------------------------------

# Graceful first, since shutdown paths are worth testing; never leaves a process.
# Returns the last signal that was needed.
sub stop_nginx {
    my (%option) = @_;
    return if !$pid;
    my @stages = (
        [ QUIT => 1.5 ],
        [ TERM => 3 ],
        [ KILL => 5 ],
    );
    shift @stages if $option{fast} || $ENV{TEST_NGINX_FAST_SHUTDOWN};

    my @workers = worker_pids();
    my $needed  = 'none';
    for my $stage (@stages) {
        my ( $signal, $seconds ) = @$stage;
        last if !nginx_is_running();
        verbose("sending $signal to nginx $pid");
        if ( $signal eq 'KILL' ) {
            push @exit_report, "nginx $pid ignored SIGTERM and had to be killed";
            kill KILL => @workers;
        }
        kill $signal => $pid;
        $needed = $signal;
        poll_until( $seconds * slow_factor(), sub { !nginx_is_running($signal) }, 0.002 );
    }
    _kill_stray_workers(@workers);
    return $needed;
}

# Workers outlive a master that crashed or was killed.
sub _kill_stray_workers {
    my (@workers) = @_;
    for my $worker (@workers) {
        my $title = slurp("/proc/$worker/cmdline");
        next if !defined $title || $title !~ /nginx: (?:worker|cache)/;
        next if _parent_of($worker) == ( $pid || 0 );
        kill KILL => $worker;
    }
    return;
}

sub _parent_of {
    my ($process) = @_;
    my $status = slurp("/proc/$process/status");
    return defined $status && $status =~ /^PPid:\s+(\d+)/m ? $1 : 0;
}

sub nginx_is_running {
    my ($expected_signal) = @_;
    return 0 if !$pid;
    _reap($expected_signal);
    return $pid ? 1 : 0;
}

# Collects the child's end. Returns its exit code (128+signal), undef while alive.
sub _reap {
    my ($expected_signal) = @_;
    return if !$pid || waitpid( $pid, WNOHANG ) != $pid;
    my ( $signal, $code ) = ( $? & 127, $? >> 8 );
    verbose("nginx $pid ended with code $code, signal $signal");

    if ( $signal && ( $expected_signal || '' ) ne 'KILL' ) {
        push @exit_report, "nginx process $pid exited on signal $signal"
            . ( $? & 128 ? ' (core dumped)' : '' );
    }
    elsif ( $expected_signal && $code ) {
        push @exit_report, "nginx process $pid exited with code $code when stopped";
    }
    undef $pid;
    return $signal ? 128 + $signal : $code;
}

# Anything that must fail the current block, once.
sub take_exit_report {
    nginx_is_running();
    return splice @exit_report;
}

# --- workers and reload -------------------------------------------------------------

sub worker_pids { return map { $_->{pid} } grep { $_->{is_worker} } _children() }

sub _children {
    return if !$pid;
    my $list = slurp("/proc/$pid/task/$pid/children");
    $list = `ps -o pid= --ppid $pid` if !defined $list;
    return map {
        my $title = slurp("/proc/$_/cmdline");
        $title = '' if !defined $title;
        {   pid        => $_,
            is_worker  => scalar( $title =~ /worker process/ ),
            is_leaving => scalar( $title =~ /shutting down/ )
        };
    } split ' ', $list;
}

# HUP, then wait until the new workers run and the old ones have closed their
# listening sockets (their process title says so). Returns false when nginx
# refused the configuration.
sub reload_nginx {
    my %old    = map { $_->{pid} => 1 } _children();
    my $offset = -s $ErrLogFile || 0;
    kill HUP => $pid or return 0;

    my $refused;
    my $done = poll_until(
        10 * slow_factor(),
        sub {
            my @now = grep { $_->{is_worker} } _children();
            return 1
                if ( grep { !$old{ $_->{pid} } } @now )
                && !grep { $old{ $_->{pid} } && !$_->{is_leaving} } @now;
            my $log = slurp($ErrLogFile);
            $refused = defined $log && substr( $log, $offset ) =~ /\[emerg\]/;
            return $refused || !nginx_is_running();
        }
    );
    return $done && !$refused && nginx_is_running();
}

sub stderr_text {
    my $text = slurp("$LogDir/stderr.log");
    return defined $text ? $text : '';
}

# --- helper processes of the runner itself --------------------------------------------

# Forks a child that runs $code and never returns into the test script.
sub spawn_helper {
    my ($code) = @_;
    my $child = fork;
    die "Cannot fork: $!\n" if !defined $child;
    return $child if $child;

    _die_with_parent();
    @SIG{qw( INT TERM HUP CHLD __DIE__ )} = ('DEFAULT') x 5;
    my $ok = eval { $code->(); 1 };
    print STDERR "# helper process: $@" if !$ok;
    POSIX::_exit( $ok ? 0 : 1 );
}

sub reap_helper {
    my ( $child, $grace ) = @_;
    my $gone = sub { waitpid( $child, WNOHANG ) != 0 };
    return if poll_until( $grace || 0, $gone, 0.002 );
    kill TERM => $child;
    return if poll_until( 1, $gone, 0.002 );
    kill KILL => $child;
    poll_until( 2, $gone, 0.002 );
    return;
}

1;
