# ngx.req.http_version.
use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: HTTP/0.9, 1.0, 1.1
--- config
    location = /x { content_by_lua_block { ngx.say("version ", ngx.req.http_version()) } }
--- lua
for _, request in ipairs { "GET /x\r\n", "GET /x HTTP/1.0\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" } do
    ngx.say(c.raw(request):match("version [^\n]*"))
end
--- response_body
version 0.9
version 1
version 1.1



=== TEST 2: HTTP/2
--- http2
--- skip_eval: 3: `curl -V` !~ /\bHTTP2\b/
--- config
    location = /x { content_by_lua_block { ngx.say(ngx.req.http_version()) } }
--- request
GET /x
--- response_body
2
