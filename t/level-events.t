# Events that are reported for as long as they last (poll, select): those that
# nobody waits for must not keep the worker busy. Debian's nginx has epoll only;
# that of tools/mainline.sh has poll, too.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;

my $binary = $ENV{TEST_NGINX_BINARY} || 'nginx';
plan skip_all => 'nginx has no poll' if `$binary -V 2>&1` !~ /--with-poll_module/;
plan 'no_plan';
$ENV{TEST_NGINX_EVENT_TYPE} = 'poll';

run_tests();

__DATA__

=== TEST 1: data, an end, room to write; request sockets
--- http_config
    init_by_lua_block {
        -- Whether the worker takes next to no processor time for half a second.
        function idle()
            local before = os.clock()
            ngx.sleep(0.5)
            return os.clock() - before < 0.1
        end
    }
--- config
    lua_socket_log_errors off;
    location = /body {
        content_by_lua_block {
            local sock = ngx.req.socket()
            ngx.sleep(0.1)
            ngx.say(idle(), " ", sock:receive(3))
        }
    }
    location = /raw {
        content_by_lua_block {
            local sock = ngx.req.socket(true)
            sock:send("HTTP/1.1 200 OK\r\n\r\n")
            ngx.sleep(0.1)
            sock:send(tostring(idle()) .. " " .. sock:receive(3) .. "\n")
        }
    }
--- lua
local sock = open("say:one%0Atwo%0A hold")
ngx.sleep(0.1)
show("writable, readable", idle())
show(sock:receive(), idle(), sock:receive())
sock = open("say:x%0A")
show(sock:receive(), idle(), sock:receive())
sock = open("wait:0.1 say:late%0A hold")
sock:settimeout(10)
show(sock:receive())
show(idle(), sock:receive())
sock = open("wait:0.2 read:3000000 say:read%0A hold")
show(sock:send(("x"):rep(3000000)), sock:receive())
show(idle())
local head = "POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
talk(head:format("body"), 0.05, "abc")
talk(head:format("raw"), 0.05, "abc")
--- response_body
"writable, readable" true
"one" true "two"
"x" true nil "closed" ""
nil "timeout" ""
true "late"
3000000 "read"
true
200 close
true abc
200 -
true abc
