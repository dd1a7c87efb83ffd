# Filters in Lua over HTTP/2; t/lib/lua/h2.lua is the client.
use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;

plan skip_all => 'no curl with HTTP/2' if `curl -V` !~ /\bHTTP2\b/;
plan 'no_plan';

add_block_preprocessor( sub {
    my ($block) = @_;
    $block->set_value( http2 => '' );
    $block->set_value( http_config => ( $block->http_config // '' ) . <<'END' );
init_by_lua_block {
    package.loaded.wait = function(flag)
        if ngx.var["arg_" .. flag] then ngx.sleep(tonumber(ngx.var["arg_" .. flag])) end
    end
}
END
} );

no_long_string();
run_tests();

__DATA__

=== TEST 1: headers and bodies, with a wait and without
--- config
    location /l {
        content_by_lua_block { ngx.say("hello") ngx.flush(true) ngx.say("world") }
        header_filter_by_lua_block { require "wait"("h") ngx.header.X = "lua" }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:upper() }
    }
    location /s/ {
        alias html/;
        header_filter_by_lua_block { require "wait"("h") ngx.header.X = "static" }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:upper() }
    }
--- user_files
>>> a.txt
some text
--- request eval
[ map { my $p = $_; map { "GET $p?$_" } "", "h=0.02", "b=0.02", "h=0.02&b=0.02" } "/l", "/s/a.txt" ]
--- response_headers eval
[ ("x: lua") x 4, ("x: static") x 4 ]
--- response_body eval
[ ("HELLO\nWORLD\n") x 4, ("SOME TEXT\n") x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 2: HEAD, 204, 304, an error
--- config
    location /s/ { alias html/; if_modified_since before; header_filter_by_lua_block { require "wait"("h") ngx.header.X = ngx.status } }
    location /204 { return 204; header_filter_by_lua_block { require "wait"("h") ngx.header.X = ngx.status } }
    location /exit { return 200 x; header_filter_by_lua_block { require "wait"("h") ngx.exit(403) } }
--- user_files
>>> a.txt 201001010000.00
some text
--- request eval
[ map { my $w = $_; map { "$_?$w" } "HEAD /s/a.txt", "GET /s/a.txt", "GET /204", "GET /exit" } "", "h=0.02" ]
--- more_headers eval
[ ("", "If-Modified-Since: Thu, 31 Dec 2020 00:00:00 GMT", "", "") x 2 ]
--- error_code eval
[ (200, 304, 204, 403) x 2 ]
--- response_headers eval
[ ("x: 200\ncontent-length: 10", "x: 304", "x: 204", "! x") x 2 ]
--- response_body_like eval
[ (qr/^$/, qr/^$/, qr/^$/, qr/403 Forbidden/) x 2 ]
--- no_error_log
[error]
[alert]



=== TEST 3: many streams at once, each with its own waits
--- config
    location /s/ {
        content_by_lua_block {
            ngx.print(ngx.var.uri, " ")
            ngx.flush(true)
            ngx.print(("x"):rep(20000))
            ngx.print("end")
        }
        header_filter_by_lua_block { require "wait"("h") }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:gsub("x+", "") }
    }
--- lua
local h2 = require "h2".connect()
local streams = {}
for i = 1, 60 do
    streams[i] = h2:post("/s/" .. i .. "?h=" .. (i * 7 % 10) / 200 .. "&b=" .. (i * 3 % 10) / 200)
    h2:data(streams[i], "", true)
end
local good = 0
for i = 1, 60 do
    local s = h2.streams[streams[i]]
    while not (s.ended or s.reset) and h2:read(2000, function() return true end) do end
    if s.body == "/s/" .. i .. " end" and s.status == 200 then
        good = good + 1
    else
        ngx.say(i, ": ", tostring(s.status), " ", s.body, " ", tostring(s.reset))
    end
end
ngx.say(good)
--- response_body
60



=== TEST 4: streams that are cancelled while a filter waits
--- config
    location /s/ {
        content_by_lua_block { ngx.say("x") }
        header_filter_by_lua_block { require "wait"("h") if ngx.var.arg_h then ngx.log(ngx.WARN, "header went on") end }
        body_filter_by_lua_block { require "wait"("b") ngx.log(ngx.WARN, "body went on") }
    }
    location /ok { content_by_lua_block { ngx.say("ok") } header_filter_by_lua_block { require "wait"("h") } }
--- lua
local h2 = require "h2".connect()
for i = 1, 20 do
    local s = h2:post("/s/" .. i .. (i % 2 == 0 and "?h=60" or "?b=60"))
    h2:data(s, "", true)
    if i == 10 then ngx.sleep(0.05) end
    if i > 10 then h2:reset(s) end
end
ngx.sleep(0.05)
for s = 1, 19, 2 do h2:reset(s) end
local s = h2:post("/ok?h=0.02")
h2:data(s, "", true)
h2:say(s)
--- response_body
200
ok
--- no_error_log
went on
[error]
[alert]



=== TEST 5: a client whose window is full; the filter goes on when it takes more
--- config
    location /s/ {
        alias html/;
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:upper() }
    }
--- user_files eval
">>> large.txt\n" . "x" x 300_000
--- request eval
["GET /s/large.txt", "GET /s/large.txt?b=0.001"]
--- response_body eval
[ ("X" x 300_000) x 2 ]
--- no_error_log
[error]
[alert]
