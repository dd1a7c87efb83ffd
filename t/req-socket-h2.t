# ngx.req.socket() on HTTP/2 bodies. t/lib/lua/h2.lua is the client.

use File::Temp;
use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;

plan skip_all => 'no curl with HTTP/2' if `curl -V` !~ /\bHTTP2\b/;
plan 'no_plan';

# 200 MB that take no room.
my $large = File::Temp->new;
truncate $large, 200_000_000;
$ENV{TEST_NGINX_LARGE_FILE} = $large->filename;

add_block_preprocessor( sub { $_[0]->set_value( http2 => '' ) } );

no_long_string();
run_tests();

__DATA__

=== TEST 1: a body by curl
--- config
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            show(sock:receive(3))
            show(sock:receive())
            show(sock:receive("*a"))
            show(sock:receive("*l"))
            show(sock:receive("*l"))
            show(pcall(ngx.req.socket, true))
        }
    }
--- request eval
["POST /x\none\ntwo", "POST /x\none\n" . "2" x 100_000]
--- response_body eval
[ map { qq{"one"\n""\n"$_"\nnil "closed" ""\nnil "closed"\nfalse "http v2 not supported yet"\n} } "two", "2" x 100_000 ]
--- error_log
attempt to receive data on a closed socket



=== TEST 2: frames as they come; with a length or without
--- config
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            repeat
                local data, err, partial = sock:receiveany(100)
                show(data, err, partial)
            until not data
        }
    }
--- lua
local h2 = require "h2".connect()
for _, headers in ipairs { {}, { "content-length", "6" } } do
    local s = h2:post("/x", headers)
    ngx.sleep(0.02)
    h2:data(s, "ab")
    ngx.sleep(0.02)
    h2:data(s, "cd")
    ngx.sleep(0.02)
    h2:data(s, "ef", true)
    h2:say(s)
end
-- The end comes alone.
local s = h2:post("/x")
h2:data(s, "abc")
ngx.sleep(0.02)
h2:data(s, "", true)
h2:say(s)
-- All at once.
s = h2:post("/x")
h2:data(s, "abc", true)
h2:say(s)
-- Nothing.
s = h2:post("/x")
ngx.sleep(0.02)
h2:data(s, "", true)
h2:say(s)
--- response_body
200
"ab" nil nil
"cd" nil nil
"ef" nil nil
nil "closed" ""
200
"ab" nil nil
"cd" nil nil
"ef" nil nil
nil "closed" ""
200
"abc" nil nil
nil "closed" ""
200
"abc" nil nil
nil "closed" ""
200
nil "closed" ""



=== TEST 3: no body, and one that exists
--- config
    location = /x { content_by_lua_block { require "puppet".show(ngx.req.socket()) } }
    location = /r { content_by_lua_block { ngx.req.read_body() require "puppet".show(ngx.req.socket()) } }
--- request eval
["GET /x", "POST /r\nabc"]
--- response_body eval
[qq{nil "no body"\n}, qq{nil "request body already exists"\n}]



=== TEST 4: streams beside each other
--- config
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.say(sock:receive(4))
            ngx.say(sock:receive("*a"))
        }
    }
--- lua
local h2 = require "h2".connect()
local a, b = h2:post("/x"), h2:post("/x")
h2:data(a, "a1")
h2:data(b, "b1")
ngx.sleep(0.01)
h2:data(b, "b2b3")
h2:data(a, "a2a3")
h2:data(b, "b4", true)
h2:say(b)
h2:data(a, "a4", true)
h2:say(a)
--- response_body
200
b1b2
b3b4
200
a1a2
a3a4



=== TEST 5: a slow reader holds the client back by its window
--- config
    location = /x {
        client_body_buffer_size 8k;
        content_by_lua_block {
            local seen = require("client").seen
            local sock = assert(ngx.req.socket())
            while not seen.go do
                ngx.sleep(0.01)
            end
            ngx.say(#sock:receive("*a"))
        }
    }
--- lua
local h2 = require "h2".connect()
local s = h2:post("/x")
h2:read(50)
local stream, sent = h2.streams[s], 0
while stream.window > 0 do
    local n = math.min(stream.window, 16000)
    assert(h2:data(s, ("x"):rep(n)))
    sent = sent + n
end
show(h2:read(100, function() return stream.window > 0 end))
ngx.say(sent <= 65536 or sent)
c.seen.go = true
show(h2:read(1000, function() return stream.window > 0 end))
h2:data(s, "last", true)
h2:say(s)
ngx.say(sent)
--- response_body_like
^false "timeout"
true
true
200
(\d+)
\d+
--- no_error_log
[alert]
[crit]



=== TEST 6: the client gives up: stream, connection
--- config
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            require("client").seen[1] = { sock:receive(100) }
            require("client").seen[2] = { sock:receive(100) }
        }
    }
    location = /ok { content_by_lua_block { ngx.say("ok ", ngx.req.socket():receive("*a")) } }
--- lua
local function seen()
    t.eventually(true, function() return c.seen[2] ~= nil end)
    show(unpack(c.seen[1], 1, 3))
    show(unpack(c.seen[2], 1, 3))
    c.seen[1], c.seen[2] = nil, nil
end
local h2 = require "h2".connect()
local s = h2:post("/x")
h2:data(s, "ab")
ngx.sleep(0.02)
h2:reset(s)
seen()
-- Data that nobody had read.
s = h2:post("/x")
h2:data(s, "ab")
h2:reset(s)
ngx.sleep(0.02)
c.seen[1], c.seen[2] = nil, nil
-- The connection is as good as ever.
s = h2:post("/ok")
h2:data(s, "abc", true)
h2:say(s)
s = h2:post("/x")
h2:data(s, "cd")
ngx.sleep(0.02)
h2:close()
seen()
--- response_body
nil "client aborted" "ab"
nil "closed" nil
200
ok abc
nil "client aborted" "cd"
nil "closed" nil
--- error_log
attempt to receive data on a closed socket
--- no_error_log
[alert]
[crit]



=== TEST 7: timeouts
--- config
    client_body_timeout 20ms;
    location = /x {
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            sock:settimeout(20)
            show(sock:receive(5))
            sock:settimeout(1000)
            ngx.sleep(0.05)
            show(sock:receive(2))
            show(sock:receive("*a"))
        }
    }
--- lua
local h2 = require "h2".connect()
local s = h2:post("/x")
h2:data(s, "ab")
ngx.sleep(0.1)
h2:data(s, "cd")
ngx.sleep(0.1)
h2:data(s, "ef", true)
h2:say(s)
--- response_body
200
nil "timeout" "ab"
"cd"
"ef"
--- error_log
lua tcp socket read timed out



=== TEST 8: a response before the end of the body
--- config
    location = /x {
        content_by_lua_block {
            local sock = assert(ngx.req.socket())
            ngx.say(sock:receive(2))
        }
    }
--- lua
local h2 = require "h2".connect()
local s = h2:post("/x")
h2:data(s, "abcd")
h2:say(s)
-- The rest does no harm.
h2:data(s, "efgh", true)
s = h2:post("/x")
h2:data(s, "xyz", true)
h2:say(s)
--- response_body
200
ab
200
xy



=== TEST 9: too much
--- config
    location = /x {
        client_max_body_size 5;
        content_by_lua_block {
            local show = require "puppet".show
            local sock = assert(ngx.req.socket())
            show(sock:receive("*a"))
        }
    }
--- lua
local h2 = require "h2".connect()
local s = h2:post("/x")
h2:data(s, "abcde", true)
h2:say(s)
s = h2:post("/x")
ngx.sleep(0.02)
h2:data(s, "abcde")
ngx.sleep(0.02)
h2:data(s, "f", true)
h2:say(s)
--- response_body
200
"abcde"
200
nil "request body too large" "abcde"
--- error_log
client intended to send too large chunked body



=== TEST 10: short bodies are not taken to files
--- config
    client_body_in_file_only clean;
    location = /x { content_by_lua_block { ngx.say(ngx.req.socket():receive("*a")) } }
--- lua
local h2 = require "h2".connect()
local s = h2:post("/x")
h2:data(s, "abcde", true)
h2:say(s)
--- response_body
200
abcde



=== TEST 11: 200 MB in constant memory
--- config
    location = /x {
        client_max_body_size 0;
        content_by_lua_block {
            local t = require "puppet"
            local sock = assert(ngx.req.socket())
            local size = #assert(sock:receive(1000000))
            local before = t.memory()
            repeat
                local data = sock:receiveany(65536)
                size = size + (data and #data or 0)
            until not data
            ngx.say(size, " ", t.memory() - before < 4000 and "bounded" or t.memory() - before)
        }
    }
--- request
POST /x
--- curl_options eval
"-H Transfer-Encoding:chunked --data-binary \@$ENV{TEST_NGINX_LARGE_FILE}"
--- response_body
200000000 bounded
--- timeout: 60
