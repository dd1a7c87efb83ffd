# The demo as `make run` starts it: every page and every example of
# nginx-conf/demo answers as its text promises, and Ctrl-C leaves nothing behind.
use strict;
use warnings;
use Cwd 'abs_path';
use File::Basename 'dirname';
use File::Temp 'tempdir';
use HTTP::Tiny;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

my $root = abs_path(dirname(__FILE__) . '/..');
my $prefix = tempdir('cosocket-demo-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $log = "$prefix/output";

sub listening {
    my ($port) = @_;
    return defined IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 1);
}

sub slurp {
    open my $in, '<', $_[0] or return '';
    local $/;
    return <$in> // '';
}

# A port that the system says is free; another process may still take it first.
my $free = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "listen: $!";
my $port = $free->sockport;
close $free;

my $pid = fork // die "fork: $!";
if ($pid == 0) {
    open STDIN, '<', '/dev/null' or die $!;
    open STDOUT, '>', $log or die $!;
    open STDERR, '>&', \*STDOUT or die $!;
    $SIG{INT} = 'DEFAULT';    # a shell cannot trap a signal that it was started to ignore
    local $ENV{DEMO_PREFIX} = $prefix;
    delete $ENV{REDIS};
    exec "$root/tools/demo.sh", $port or die "exec: $!";
}

my $deadline = time + 20;
sleep 0.05 until slurp($log) =~ /demo is at/ || time > $deadline || kill(0, $pid) == 0;
like(slurp($log), qr{^==> the demo is at http://127\.0\.0\.1:$port/ \(Ctrl-C stops it\)$}m,
    'says in one line what to open')
    or BAIL_OUT('the demo did not start: ' . slurp($log));

my $http = HTTP::Tiny->new(timeout => 10, keep_alive => 0);
my $base = "http://127.0.0.1:$port";

sub get {
    my ($path, $status) = @_;
    my $response = $http->get("$base$path");
    is($response->{status}, $status // 200, "GET $path")
        or diag($response->{content}, "\n", slurp($log));
    return $response->{content};
}

# ---- the pages

my $start = get('/');
like($start, qr{^<!DOCTYPE html>.*What is a cosocket\?.*</html>\s*$}s, 'the start page explains cosockets');
unlike($start, qr/\{\{/, 'no placeholder is left');
my @names = $start =~ m{href="/example/([a-z]+)"}g;
is_deeply(
    [sort @names],
    [sort map { m{([a-z]+)\.lua$} ? $1 : () } glob "$root/nginx-conf/demo/examples/*.lua"],
    'the start page links to every example there is'
);
for my $name (@names) {
    my $page = get("/example/$name");
    unlike($page, qr/\{\{[a-z]/, "$name: no placeholder is left");
    my ($shown) = $page =~ m{<pre class="source"[^>]*>(.*?)</pre>}s;
    $shown =~ s/<[^>]*>//g;
    my %entity = (lt => '<', gt => '>', quot => '"', amp => '&');
    $shown =~ s/&(lt|gt|quot|amp);/$entity{$1}/g;
    is($shown, slurp("$root/nginx-conf/demo/examples/$name.lua"), "$name: the source shown is the file that runs");
}
like(get('/style.css'), qr/prefers-color-scheme: dark/, 'the style sheet');
get('/example/nothing', 404);

# ---- the examples

like(get('/run/hello?name=Ada'), qr/Hello from Lua.*Welcome, Ada!/s, 'hello');
is(get('/run/socket'), "connected\nsent 46 bytes\nreceived: HTTP/1.1 200 OK\nclosed\n", 'socket');
like(get('/run/http'),
    qr{status 200, 51 bytes.*Content-Length: 51.*The body: You reached the second server block: GET /any/path\n}s,
    'http');
is(get('/run/https'), <<'END', 'https: verified; a wrong name is refused');
secure.demo: You came over TLSv1.3, asking for secure.demo.
other.demo: certificate host mismatch
END
is(get('/run/certificate'), <<'END', 'certificate: looked up inside of the handshake') for 1 .. 2;
nothing is stored -> handshake: handshake failed
a certificate is  -> You came to vault.demo, whose certificate was in Redis.
not any more      -> handshake: handshake failed
END
is(get('/run/dns'), <<'END', 'dns');
cosocket.demo has the address 192.0.2.10
backend.demo has the address 127.0.0.1
missing.demo: the name server answered with code 3
END

like(get('/run/redis'),
    qr{-> PONG\n.*-> OK\n.*-> hello from a cosocket\n.*-> 1\n.*\(no such key\)\n.*-> error: ERR unknown command}s,
    'redis');
like(get('/run/redis'), qr{INCR cosocket:visits\n    -> 2\n}, 'redis: the store remembers');
like(get('/run/log'), qr{^The log is empty\.}, 'log: nothing yet');
sleep 0.5;
like(get('/run/log'), qr{^The log of the last request:\nGET /run/log HTTP/1\.1: 200, \d+ bytes to 127\.0\.0\.1 in 0\.\d+ s$}m,
    'log: the request before');
like(get('/run/reuse'), qr{round 1: a new connection; .*PONG\n(?:round \d: reused, times so far: \d; .*PONG\n){4}},
    'reuse');
like(get('/run/reuse'), qr{round 1: reused, times so far: 5;.*round 5: reused, times so far: 9;}s,
    'reuse: across requests');

my $before = time;
my @answers = get('/run/many') =~ /answered after 0\.5 s/g;
my $took = time - $before;
is(scalar @answers, 10, 'many: ten answers');
cmp_ok($took, '<', 3, "many: together in $took s, not five");

is(join(' ', get('/run/parallel') =~ /^\d\.\d\d s  answered after (0\.\d) s$/mg), '0.2 0.4 0.6',
    'parallel: the first to end is shown first');

is(get('/run/refused'), <<'END', 'refused');
A port where nobody listens:
    connect returned nil, connection refused

A unix socket that does not exist:
    connect returned nil, no such file or directory

A name, in a server block without a resolver:
    connect returned nil, no resolver defined to resolve "example.invalid"

A port that cannot be:
    connect returned nil, bad port number: 65536

END
like(get('/run/timeout'), qr{try 1: receive returned nil, timeout\n.*received HTTP/1\.1 200 OK\n$}s, 'timeout');

# ---- an upload: the count is live, in the response and for those who watch

like(get('/run/upload'), qr/^Nothing to count: no body\.\nIn a shell: curl -T some\.file /, 'upload: no body');
SKIP: {
    skip 'no curl', 3 if !`curl -V`;
    open my $watch, '-|', "curl -sN '$base/run/upload?watch=abc'" or die $!;
    my $said = `head -c 9000000 /dev/zero | curl -sT - '$base/run/upload?name=abc'`;
    like($said, qr{^4\d{6} bytes \.\.\.\n8\d{6} bytes \.\.\.\n9000000 bytes in \d+ pieces\n$}, 'upload: 9 MB');
    my @counts = <$watch>;
    close $watch;
    is($counts[-1], "9000000\n", 'upload: the last count is the size');
    cmp_ok(scalar @counts, '>', 1, 'upload: the count is live');
}

# ---- a WebSocket echo

like(get('/run/websocket'), qr/^This one speaks WebSocket/, 'websocket: no handshake');
my $ws = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 5) or die $@;
my $frame = sub {
    my ($kind, $text) = @_;
    my $mask = "\x11\x22\x33\x44";
    my $size = length $text < 126 ? pack('C', 128 + length $text) : pack('Cn', 254, length $text);
    return pack('C', 128 + $kind) . $size . $mask . ($text ^ substr($mask x length $text, 0, length $text));
};
syswrite $ws, "GET /run/websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    . "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    . $frame->(1, 'hello') . $frame->(9, 'ping') . $frame->(2, 'x' x 60_000) . $frame->(8, "\x03\xe8");
my $answer = do { local $/; <$ws> };
like($answer, qr{^HTTP/1\.1 101 Switching Protocols\r\n.*Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n}s,
    'websocket: the handshake');
$answer =~ s/^.*?\r\n\r\n//s;
is($answer, "\x81\x05HELLO" . "\x8a\x04ping" . pack('CCn', 0x82, 126, 60_000) . 'X' x 60_000 . "\x88\x02\x03\xe8",
    'websocket: text, ping, binary, close');

unlike(slurp($log), qr/\[(?:error|alert|emerg)\]|panic/, 'the error log is quiet') or diag slurp($log);

# ---- the port is taken, and the end

my $second = `"$root/tools/demo.sh" $port 2>&1`;
isnt($?, 0, 'a second demo on the same port fails');
like($second, qr/port $port on 127\.0\.0\.1 is taken by another program; choose one/, 'and says why');

my $backend = do { opendir my $proc, '/proc' or die $!; join ' ', grep {
    /^\d+$/ && slurp("/proc/$_/stat") =~ /\) \S $pid / && slurp("/proc/$_/cmdline") =~ /demo.backend\.py/
} readdir $proc };
ok($backend, 'the small servers run as a child');

kill INT => $pid;
$deadline = time + 10;
my $ended = 0;
until ($ended || time > $deadline) {
    $ended = waitpid($pid, 1) == $pid;    # 1: WNOHANG
    sleep 0.05 unless $ended;
}
ok($ended, 'ends when it is interrupted');
is($?, 0, 'with status 0');
kill KILL => $pid unless $ended;
ok(!listening($port), 'nothing listens any more');
ok(!kill(0, $backend), 'the small server has ended') if $backend;

done_testing();
