# Debian's lua-nginx-redis-connector, as it is, against a real redis-server and a sentinel.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;
use Test::Nginx::Peer;
use File::Temp qw( tempdir );

plan skip_all => 'lua-nginx-redis-connector was not unpacked' if !lua_library('resty/redis/connector.lua');
plan skip_all => 'redis-server is not installed' if !Test::Nginx::Peer->has('redis-server');
plan 'no_plan';

my $redis = Test::Nginx::Peer->redis;

# A sentinel writes what it finds out into its own configuration.
my $conf = tempdir( CLEANUP => 1 ) . '/sentinel.conf';
open my $file, '>', $conf or die "$conf: $!\n";
print {$file} "bind 127.0.0.1\nprotected-mode no\nsentinel monitor mymaster 127.0.0.1 $redis->{port} 1\n";
close $file;
Test::Nginx::Peer->command( SENTINEL => [ 'redis-server', $conf, qw( --sentinel --port %PORT% ) ] );

no_shuffle();
run_tests();

__DATA__

=== TEST 1: by host, by address of a unix socket, by DSN; databases
--- lua
local connector = require "resty.redis.connector"
local rc = connector.new { host = "127.0.0.1", port = $TEST_NGINX_REDIS_PORT, connect_timeout = 2000 }
local red = assert(rc:connect())
show(red:set("dog", "an animal"))
show(rc:set_keepalive(red))
red = assert(rc:connect { path = "unix:$TEST_NGINX_REDIS_SOCK" })
show(red:get("dog"))
show(rc:set_keepalive(red))
red = assert(rc:connect { url = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT/4" })
show(red:get("dog") == ngx.null, red:set("dog", "of 4"))
show(rc:set_keepalive(red))
red = assert(rc:connect { db = 4 })
show(red:get("dog"), red:get_reused_times() > 0)
show(red:close())
--- response_body
"OK"
1
"an animal"
1
true "OK"
1
"of 4" true
1



=== TEST 2: a sentinel names the master
--- lua
local connector = require "resty.redis.connector"
local rc = connector.new {
    connect_timeout = 2000,
    sentinels = { { host = "127.0.0.1", port = 1 }, { host = "127.0.0.1", port = $TEST_NGINX_SENTINEL_PORT } },
    master_name = "mymaster",
}
local red, err = rc:connect()
show(red and red:get("dog") or err)
show(rc:set_keepalive(red))
show(rc:connect { role = "slave" })
show((rc:connect { master_name = "unknown" }))
--- response_body
"an animal"
1
nil "no slaves available"
nil
--- error_log
connect() failed (111: Connection refused)



=== TEST 3: no host answers; a command that is switched off; a field that does not exist
--- lua
local connector = require "resty.redis.connector"
local rc = connector.new { sentinels = { { host = "127.0.0.1", port = 1 } } }
local red, err, each = rc:connect()
show(red, err, each)
rc = connector.new { port = $TEST_NGINX_REDIS_PORT, disabled_commands = { "flushall" }, connect_timeout = 2000 }
red = assert(rc:connect())
show(red:flushall())
show(rc:set_keepalive(red))
local ok, message = connector.new { hostname = "x" }
show(ok, message)
--- response_body
nil "no hosts available" {1="connection refused"}
nil "Command flushall is disabled"
1
nil "field hostname does not exist"
--- error_log
connect() failed (111: Connection refused)
