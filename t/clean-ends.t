# A handler that waits, in every way there is (t/lib/lua/waits.lua has them), in coroutines and
# light threads, is ended by its client, by HTTP/2, by ngx.exit, by an error, or a thread of it
# is killed: nothing runs on, no descriptor, no slot of a pool and no waiter is left behind.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

blackhole();
Test::Nginx::Peer->dns( 'mute.test' => 'TIMEOUT', 'none.test' => 'NXDOMAIN' );
worker_connections(512);
timeout(60);

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( http_config => $block->http_config . <<'END' );
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
    lingering_timeout 30ms;
    lua_check_client_abort on;
    lua_socket_log_errors off;
    init_by_lua_block {
        local waits = require "waits"
        waits.blackhole, waits.h2_port = $TEST_NGINX_BLACKHOLE_PORT, $TEST_NGINX_RAND_PORT_1
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 http2;
        location = /wait { content_by_lua_block { require("waits").handler() } }
    }
END
        $block->set_value( config => $block->config . <<'END' );
    location = /wait { content_by_lua_block { require("waits").handler() } }
END
        $block->set_value( no_error_log => "[alert]\n[crit]" );
    }
);

run_tests();

__DATA__

=== TEST 1: the client goes
--- lua
require("waits").check("client", "http1")
--- response_body
19



=== TEST 2: HTTP/2: the stream is reset
--- lua
require("waits").check("client", "http2")
--- response_body
19



=== TEST 3: the callback of ngx.on_abort ends the handler
--- lua
require("waits").check("callback", "http1")
--- response_body
18



=== TEST 4: HTTP/2: the callback of ngx.on_abort ends the handler
--- lua
require("waits").check("callback", "http2")
--- response_body
18



=== TEST 5: a thread is killed
--- lua
require("waits").check("kill", "http1")
--- response_body
20



=== TEST 6: HTTP/2: a thread is killed
--- lua
require("waits").check("kill", "http2")
--- response_body
20



=== TEST 7: ngx.exit in another thread
--- lua
require("waits").check("exit", "http1")
--- response_body
21



=== TEST 8: an error in the entry thread
--- lua
require("waits").check("error", "http1")
--- response_body
21
