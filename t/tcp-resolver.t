# Names: nginx's resolver under sock:connect.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use Test::Nginx::Peer;
use IO::Socket::INET;

my $dns = Test::Nginx::Peer->dns(
    'a.test'     => '127.0.0.1',
    'upper.test' => '127.0.0.1',
    'six.test'   => '::1',
    'both.test'  => [ '127.0.0.1', '::1' ],
    # Only 127.0.0.1 has the puppet.
    'many.test'  => [ '127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.1', '127.0.0.5' ],
    'bad.test'   => [ '127.0.0.2', '127.0.0.3' ],
    'none.test'  => 'NXDOMAIN',
    'fail.test'  => 'SERVFAIL',
    'ref.test'   => 'REFUSED',
    'form.test'  => 'FORMERR',
    'empty.test' => 'EMPTY',
    'mute.test'  => 'TIMEOUT',
    'slow.test'  => { answer => '127.0.0.1', delay => 0.1 },
    'slow2.test' => { answer => '127.0.0.1', delay => 0.1 },
    'c.test'     => { cname => 'a.test' },
    'once.test'  => { turns => [ '127.0.0.1', 'NXDOMAIN' ] },
);

add_block_preprocessor(
    sub {
        my ($block) = @_;
        return if defined $block->no_resolver;
        my $http = $block->http_config;
        $block->set_value( 'http_config', <<"END" . $http );
resolver 127.0.0.1:\$TEST_NGINX_DNS_PORT;
resolver_timeout 150ms;
END
    }
);

run_tests();

__DATA__

=== TEST 1: a name, an alias, upper case, a final dot
--- lua
for _, name in ipairs { "a.test", "A.Test", "c.test", "a.test." } do
    local sock = ngx.socket.tcp()
    show(name, sock:connect(name, port))
    show(sock:send("say:ok%0A\n"), sock:receive())
end
--- response_body
"a.test" 1
10 "ok"
"A.Test" 1
10 "ok"
"c.test" 1
10 "ok"
"a.test." 1
10 "ok"



=== TEST 2: an answer from nginx's cache comes at once
--- lua
local sock = ngx.socket.tcp()
show(sock:connect("slow.test", port))
local took, ok, err = t.timed(sock.connect, sock, "slow.test", port)
show(ok, err, took < 0.05)
show(sock:send("say:ok%0A\n"), sock:receive())
for i = 1, 50 do assert(sock:connect("slow.test", port)) end
show(sock:connect("slow.test:" .. port, 1))
show(ngx.socket.connect("slow.test", port) ~= nil)
--- response_body
1
1 nil true
10 "ok"
1
true



=== TEST 3: names that do not exist, and servers that fail
--- lua
local sock = ngx.socket.tcp()
for _, name in ipairs { "none.test", "empty.test", "ref.test" } do
    show(sock:connect(name, port))
end
--- response_body
nil "none.test could not be resolved (3: Host not found)"
nil "empty.test could not be resolved (3: Host not found)"
nil "ref.test could not be resolved (5: Operation refused)"



=== TEST 4: no answer: resolver_timeout counts, not the connect timeout
--- lua
local sock = ngx.socket.tcp()
sock:settimeout(20)
local took, ok, err = t.timed(sock.connect, sock, "mute.test", port)
show(ok, err, t.about(took, 0.15))
took, ok, err = t.timed(sock.connect, sock, "slow2.test", port)
show(ok, err, t.about(took, 0.1))
--- response_body
nil "mute.test could not be resolved (110: Operation timed out)" "about 0.15"
1 nil "about 0.1"



=== TEST 5: no resolver
--- no_resolver
--- lua
local sock = ngx.socket.tcp()
show(sock:connect("a.test", port))
show(sock:connect("127.0.0.1", port))
show(sock:connect("localhost.", port))
--- response_body
nil "no resolver defined to resolve \"a.test\""
1
nil "no resolver defined to resolve \"localhost.\""



=== TEST 6: the resolver of the location, and of the server block
--- no_resolver
--- http_config
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
        location = /s { content_by_lua_file html/try.lua; }
    }
--- config
    location = /with {
        resolver 127.0.0.1:$TEST_NGINX_DNS_PORT;
        content_by_lua_file html/try.lua;
    }
    location = /without {
        content_by_lua_file html/try.lua;
    }
    location = /s { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- user_files
>>> try.lua
local t = require "puppet"
t.show(ngx.socket.tcp():connect("a.test", t.port))
--- request eval
["GET /with", "GET /without", "GET /s"]
--- response_body eval
["1\n", qq{nil "no resolver defined to resolve \\"a.test\\""\n}, "1\n"]
--- no_error_log
[error]



=== TEST 7: several addresses: any of them may come first, and the others are tried when it fails
--- location_config
    lua_socket_log_errors off;
--- lua
local good = 0
for i = 1, 40 do
    local sock = ngx.socket.tcp()
    local ok, err = sock:connect("many.test", port)
    if ok then good = good + 1 else show(err) end
end
show(good)
show(ngx.socket.tcp():connect("bad.test", port))
--- response_body
40
nil "connection refused"



=== TEST 8: IPv6 addresses, and both kinds
--- http_config
    server {
        listen [::1]:$TEST_NGINX_RAND_PORT_1;
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        location = /who { return 200 "$remote_addr"; }
    }
--- lua
local seen = {}
for _, name in ipairs { "six.test", "both.test" } do
    for i = 1, 40 do
        local sock = ngx.socket.tcp()
        assert(sock:connect(name, $TEST_NGINX_RAND_PORT_1))
        sock:send("GET /who HTTP/1.0\r\n\r\n")
        local who = sock:receive("*a"):match("\r\n\r\n(.*)")
        seen[name .. " " .. who] = true
        sock:close()
    end
end
show(seen["six.test ::1"], seen["six.test 127.0.0.1"])
show(seen["both.test ::1"], seen["both.test 127.0.0.1"])
--- response_body
true nil
true true



=== TEST 9: ipv6=off
--- no_resolver
--- location_config
    resolver 127.0.0.1:$TEST_NGINX_DNS_PORT ipv6=off;
--- lua
local sock = ngx.socket.tcp()
show(sock:connect("six.test", port))
show(sock:connect("both.test", port))
--- response_body
nil "six.test could not be resolved (3: Host not found)"
1



=== TEST 10: names that are too long or malformed
--- lua
local sock = ngx.socket.tcp()
for _, name in ipairs {
    ("x"):rep(64) .. ".test", ("abcdefghi."):rep(30) .. "test", "a..test", ".test", ".", "a b.test",
    "ä.test", ("y"):rep(5000),
} do
    local ok, err = sock:connect(name, port)
    show(ok, err:sub(1, 10), err:match("could .*"))
end
show(sock:connect("a.test", port))
--- response_body
nil "xxxxxxxxxx" "could not be resolved (3: Host not found)"
nil "abcdefghi." "could not be resolved (3: Host not found)"
nil "a..test co" "could not be resolved (3: Host not found)"
nil ".test coul" "could not be resolved (3: Host not found)"
nil ". could no" "could not be resolved (3: Host not found)"
nil "a b.test c" "could not be resolved (3: Host not found)"
nil "ä.test co" "could not be resolved (3: Host not found)"
nil "yyyyyyyyyy" "could not be resolved (3: Host not found)"
1



=== TEST 11: the peer in a timeout's log line is the address, not the name
--- location_config
    lua_socket_connect_timeout 50ms;
--- lua
show(ngx.socket.tcp():connect("a.test", $TEST_NGINX_BLACKHOLE_PORT))
--- init
Test::Nginx::Puppet::blackhole()
--- response_body
nil "timeout"
--- error_log eval
qr/lua tcp socket connect timed out, when connecting to 127\.0\.0\.1:\d+/



=== TEST 12: the pool is named by the name
--- lua
local function round(name)
    local sock = ngx.socket.tcp()
    assert(sock:connect(name, port))
    show(sock:getreusedtimes())
    if sock:getreusedtimes() == 0 then sock:send("echo\n") end
    sock:setkeepalive()
end
round("a.test")
round("a.test")
round("127.0.0.1")
round("A.test")
--- response_body
0
1
0
0



=== TEST 13: many queries at once, and the same name twice
--- config
    location = /one {
        content_by_lua_block {
            local t = require "puppet"
            local sock = ngx.socket.tcp()
            local ok, err = sock:connect(ngx.var.arg_name, t.port)
            ngx.say(ok or err)
        }
    }
    location = /t {
        content_by_lua_block {
            local socks = {}
            for i = 1, 20 do
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
                local name = i % 2 == 0 and "slow.test" or "slow2.test"
                sock:send("GET /one?name=" .. name .. " HTTP/1.0\r\n\r\n")
                socks[i] = sock
            end
            local good = 0
            for i = 1, 20 do
                if socks[i]:receive("*a"):match("\r\n\r\n(.-)\n") == "1" then good = good + 1 end
            end
            ngx.say(good)
        }
    }
--- request
GET /t
--- response_body
20
--- no_error_log
[error]



=== TEST 14: the client goes while its name is resolved
--- config
    lua_check_client_abort on;
    location = /slow {
        content_by_lua_block {
            package.loaded.began = (package.loaded.began or 0) + 1
            local t = require "puppet"
            local sock = ngx.socket.tcp()
            local ok, err = sock:connect(ngx.var.arg_name, t.port)
            package.loaded.ended = (package.loaded.ended or 0) + 1
            ngx.say(ok or err)
        }
    }
    location = /t {
        content_by_lua_block {
            local t = require "puppet"
            local before = t.fds()
            for i = 1, 10 do
                local sock = ngx.socket.tcp()
                sock:connect("127.0.0.1", $TEST_NGINX_SERVER_PORT)
                local name = i % 2 == 0 and "mute.test" or "slow.test"
                sock:send("GET /slow?name=" .. name .. " HTTP/1.0\r\n\r\n")
                ngx.sleep(0.005)
                sock:close()
            end
            ngx.sleep(0.3)
            ngx.say(package.loaded.began, " ", package.loaded.ended)
            -- nginx's own UDP socket to the DNS server stays.
            ngx.say(t.fds() - before <= 1)
            ngx.say(ngx.socket.tcp():connect("slow.test", t.port))
        }
    }
--- request
GET /t
--- response_body
10 nil
true
1
--- no_error_log
[alert]



=== TEST 15: the query is sent again when the first one gets no answer; a name that is gone
--- lua
local sock = ngx.socket.tcp()
show(sock:connect("once.test", port))
show(sock:connect("once.test", port))
--- response_body
1
1



=== TEST 16: who gets an address first ends others that wait for the same
nginx walks the list of those who wait. Debian's copes with one that ends there; the
original, as tools/mainline.sh has it, raises an alert and uses memory that it has freed.
--- lua
for _, name in ipairs { "slow.test", "none.test" } do
    local done
    local function query()
        ngx.socket.udp():setpeername(name, port)
        done = true
        ngx.exit(200)
    end
    -- Whoever is the first ends a handler with all of its threads.
    ngx.timer.at(0, function()
        for i = 1, 4 do ngx.thread.spawn(query) end
    end)
    show(name, t.eventually(true, function() return done end))
end
--- response_body
"slow.test" true
"none.test" true
