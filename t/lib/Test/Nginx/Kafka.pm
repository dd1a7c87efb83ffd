package Test::Nginx::Kafka;

# A Kafka broker of two nodes, as far as a producer sees one:
#
#   use Test::Nginx::Kafka;    # $TEST_NGINX_KAFKA_PORT, $TEST_NGINX_KAFKA2_PORT, $TEST_NGINX_KAFKA_LOG
#
# It answers Metadata (version 0) and Produce (versions 0 to 2). Each topic has the
# partitions 0 and 1, led by node 1 and node 2; what a topic is called says what happens
# to its messages: "none" has no partitions, "mute" gets no answer, "slow" gets one after
# 0.2 s, "error-N-..." gets error N, "once-N-..." gets error N the first time. The log has a
# line for each message: topic, partition, offset, key, value.

use strict;
use warnings;

use Compress::Raw::Zlib qw( crc32 );
use Fcntl qw( LOCK_EX SEEK_SET );
use File::Temp qw( tempdir );
use Time::HiRes qw( sleep );

use Test::Nginx::Peer ();
use Test::Nginx::Socket ();

my $DIR = tempdir( CLEANUP => 1 );
$ENV{TEST_NGINX_KAFKA_LOG} = "$DIR/log";
chmod 0755, $DIR or die "chmod: $!\n";
open my $log, '>', "$DIR/log" or die "$DIR/log: $!\n";
close $log or die "$DIR/log: $!\n";

Test::Nginx::Peer->tcp( KAFKA2 => \&_serve );
Test::Nginx::Peer->tcp( KAFKA  => \&_serve );
Test::Nginx::Socket::env_to_nginx( map {"TEST_NGINX_KAFKA$_"} qw( _PORT 2_PORT _LOG ) );

sub _serve {
    my ($socket) = @_;
    while ( my $head = _read( $socket, 4 ) ) {
        my $request = _read( $socket, unpack 'N', $head );
        my ( $api, $version, $id, $client, $body ) = unpack 'n n N n/a* a*', $request;
        die "client $client\n" if $client !~ /^worker\d+$/;
        my $answer = $api == 3 ? _metadata( $body, $socket->sockport ) : $api == 0 ? _produce( $version, $body ) : return;
        print {$socket} pack 'N/a*', pack( 'N', $id ) . $answer if defined $answer;
    }
    return;
}

sub _read {
    my ( $socket, $n ) = @_;
    my $bytes;
    return read( $socket, $bytes, $n ) ? $bytes : undef;
}

sub _metadata {
    # Only node 1 is asked.
    my ( $body, $port ) = @_;
    my $answer = pack 'N (N n/a* N)2', 2,
        1, '127.0.0.1', $port, 2, '127.0.0.1', $ENV{TEST_NGINX_KAFKA2_PORT};
    my @topics = unpack 'N/(n/a*)', $body;
    $answer .= pack 'N', scalar @topics;
    for my $topic (@topics) {
        my @partitions = $topic eq 'none' ? () : ( 0, 1 );
        $answer .= pack 'n n/a* N', @partitions ? 0 : 3, $topic, scalar @partitions;
        # Error, partition, leader; replicas and those in sync: node 1.
        $answer .= pack 'n N N (N N)2', 0, $_, $_ + 1, 1, 1, 1, 1 for @partitions;
    }
    return $answer;
}

sub _produce {
    my ( $version, $body ) = @_;
    my ( $acks, $timeout, $topics ) = unpack 'n N N', $body;
    substr $body, 0, 10, '';
    my $answer = pack 'N', $topics;
    for ( 1 .. $topics ) {
        ( my $topic, my $partitions, $body ) = unpack 'n/a* N a*', $body;
        $answer .= pack 'n/a* N', $topic, $partitions;
        for ( 1 .. $partitions ) {
            ( my $partition, my $set, $body ) = unpack 'N N/a* a*', $body;
            sleep 0.2 if $topic eq 'slow';
            return if $topic eq 'mute';
            my ( $error, $offset ) = _store( $topic, $partition, _messages( $version, $set ) );
            $answer .= pack 'N n Q>', $partition, $error, $offset;
            $answer .= pack 'q>', -1 if $version == 2;
        }
    }
    $answer .= pack 'N', 0 if $version > 0;
    return $answer;
}

# The messages of a set, each as key and value; dies of a wrong checksum.
sub _messages {
    my ( $version, $set ) = @_;
    my @messages;
    while ( length $set ) {
        ( my $offset, my $message, $set ) = unpack 'Q> N/a* a*', $set;
        my ( $crc, $checked ) = unpack 'N a*', $message;
        die "wrong checksum\n" if $crc != crc32($checked);
        my ( $magic, $attributes, $rest ) = unpack 'C C a*', $checked;
        die "magic $magic\n" if $magic != ( $version == 2 ? 1 : 0 );
        ( my $time, $rest ) = unpack 'Q> a*', $rest if $magic;
        push @messages, [ unpack 'N/a* N/a*', $rest ];
    }
    return @messages;
}

# Logs the messages. Error and offset of the first one.
sub _store {
    my ( $topic, $partition, @messages ) = @_;
    open my $file, '+<', "$DIR/log" or die "$DIR/log: $!\n";
    flock $file, LOCK_EX or die "flock: $!\n";
    my @lines = <$file>;
    my $offset = grep {/^\Q$topic\E $partition \d/} @lines;
    my $failed = grep {/^\Q$topic\E $partition failed/} @lines;
    my ( $when, $error ) = $topic =~ /^(error|once)-(\d+)/ ? ( $1, $2 ) : ( '', 0 );
    $error = 0 if $when eq 'once' && $failed;
    if ($error) {
        print {$file} "$topic $partition failed\n";
    }
    else {
        my $at = $offset;
        printf {$file} "%s %d %d %s %s\n", $topic, $partition, $at++, $_->[0], $_->[1] for @messages;
    }
    close $file or die "close: $!\n";
    return ( $error, $offset );
}

1;
