package Test::Nginx::Instance;

# One nginx for a test that is no list of blocks: it decides itself when nginx is
# reloaded, stopped or traced.
#
#   my $nginx = Test::Nginx::Instance->start(
#       main => 'worker_processes 1;', http => '...', server => 'location ...' );
#   $nginx->port; $nginx->pid; $nginx->workers; $nginx->log;
#   $nginx->signal('QUIT'); $nginx->ended(5);

use strict;
use warnings;

use Cwd qw( abs_path );
use File::Basename qw( dirname );
use File::Temp qw( tempdir );
use IO::Socket::INET ();
use POSIX qw( WNOHANG );
use Time::HiRes qw( sleep time );

use Test::Nginx::Ports qw( reserve_port );

my $ROOT = abs_path( dirname(__FILE__) . '/../../../..' );

sub start {
    my ( $class, %part ) = @_;
    my $prefix = tempdir( 'cosocket-test-XXXXXX', TMPDIR => 1, CLEANUP => 1 );
    my $self = bless { prefix => $prefix, port => reserve_port() }, $class;
    my $module = $ENV{TEST_NGINX_LOAD_MODULES} || "$ROOT/target/release/libngx_http_cosocket_module.so";
    my $lua    = $ENV{TEST_NGINX_LUA_DIR} || "$ROOT/build/lua";
    my %text = map { $_ => defined $part{$_} ? $part{$_} : '' } qw( main http server );

    mkdir "$prefix/logs" or die "mkdir: $!";
    $self->write( 'nginx.conf', <<"END" );
load_module $module;
daemon off;
pid logs/nginx.pid;
error_log logs/error.log warn;
$text{main}
events { worker_connections 128; }
http {
    access_log off;
    client_body_temp_path logs/body;
    proxy_temp_path logs/proxy;
    fastcgi_temp_path logs/fastcgi;
    uwsgi_temp_path logs/uwsgi;
    scgi_temp_path logs/scgi;
    keepalive_requests 100000;
    lua_package_path "$ROOT/t/lib/lua/?.lua;$lua/?.lua;;";
    $text{http}
    server {
        listen 127.0.0.1:$self->{port};
        $text{server}
    }
}
END
    $self->{pid} = fork;
    die "fork: $!" if !defined $self->{pid};
    if ( !$self->{pid} ) {
        open STDERR, '>', "$prefix/logs/stderr";
        my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
        exec $nginx, '-p', "$prefix/", '-e', "$prefix/logs/error.log", '-c', "$prefix/nginx.conf"
            or POSIX::_exit(1);
    }
    # It listens before its master can take signals: one that comes too early is seen with the next.
    my $has_master = $text{main} !~ /master_process off/;
    my $deadline   = time + 10;
    until ( $self->connect && ( !$has_master || $self->workers ) ) {
        die 'nginx did not start: ' . $self->log if $self->ended(0) || time > $deadline;
        sleep 0.02;
    }
    return $self;
}

sub prefix { return $_[0]{prefix} }
sub port   { return $_[0]{port} }
sub pid    { return $_[0]{pid} }

sub write {
    my ( $self, $name, $text ) = @_;
    open my $out, '>', "$self->{prefix}/$name" or die "$name: $!";
    print {$out} $text;
    close $out or die "$name: $!";
    return;
}

sub read {
    my ( $self, $name ) = @_;
    open my $in, '<', "$self->{prefix}/$name" or return '';
    local $/;
    my $text = <$in>;
    return defined $text ? $text : '';
}

sub log { return $_[0]->read('logs/error.log') }

# A connection to the server; undef while it does not listen.
sub connect {
    my ($self) = @_;
    my $client = IO::Socket::INET->new( PeerAddr => '127.0.0.1', PeerPort => $self->{port} );
    $client->autoflush(1) if $client;
    return $client;
}

# Sends a request on a connection of its own, which ends with the answer.
sub begin {
    my ( $self, $path ) = @_;
    my $client = $self->connect or die "nginx does not listen\n";
    print {$client} "GET $path HTTP/1.0\r\n\r\n";
    return $client;
}

# The body of the answer.
sub body {
    my ( $self, $client ) = @_;
    local $/;
    my $answer = <$client>;
    return defined $answer && $answer =~ /\r\n\r\n(.*)\z/s ? $1 : undef;
}

sub get {
    my ( $self, $path ) = @_;
    return $self->body( $self->begin($path) );
}

# Children of the master.
sub workers {
    my ($self) = @_;
    open my $in, '<', "/proc/$self->{pid}/task/$self->{pid}/children" or return;
    my $children = <$in>;
    return split ' ', defined $children ? $children : '';
}

sub signal {
    my ( $self, $name ) = @_;
    kill $name => $self->{pid};
    return;
}

# Whether nginx ends within so many seconds; its status is in ->status then.
sub ended {
    my ( $self, $seconds ) = @_;
    my $deadline = time + $seconds;
    while ( !defined $self->{status} ) {
        if ( waitpid( $self->{pid}, WNOHANG ) == $self->{pid} ) {
            $self->{status} = $?;
            last;
        }
        return 0 if time > $deadline;
        sleep 0.01;
    }
    return 1;
}

sub status { return $_[0]{status} }

sub DESTROY {
    my ($self) = @_;
    local ( $?, $!, $@ );
    return if $self->ended(0);
    kill TERM => $self->{pid};
    return if $self->ended(5);
    kill KILL => $self->{pid};
    waitpid $self->{pid}, 0;
    return;
}

1;
