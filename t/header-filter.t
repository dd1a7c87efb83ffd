# header_filter_by_lua: Lua sees and changes the header of the response. With
# `?w=1` in the request the code waits for a moment, which holds the response.
use Test::Nginx::Socket::Lua 'no_plan';

add_block_preprocessor( sub {
    my ($block) = @_;
    $block->set_value( http_config => ( $block->http_config // '' ) . <<'END' );
init_by_lua_block {
    package.loaded.wait = function()
        if ngx.var.arg_w then ngx.sleep(0.02) end
    end
}
END
    $block->set_value( config => ( $block->config // '' ) );
} );

no_long_string();
run_tests();

__DATA__

=== TEST 1: headers and status of Lua's own response
--- config
    location /t {
        content_by_lua_block { ngx.header.A = "content" ngx.header.B = "content" ngx.say("body") }
        header_filter_by_lua_block {
            require "wait"()
            ngx.header.A = ngx.header.A .. " " .. ngx.get_phase() .. " " .. ngx.status
            ngx.header.B = nil
            ngx.header.C = { "1", "2" }
            ngx.status = 201
        }
    }
--- request eval
["GET /t", "GET /t?w=1"]
--- error_code eval
[201, 201]
--- response_headers eval
[("A: content header_filter 200\n! B\nC: 1, 2") x 2]
--- response_body eval
["body\n", "body\n"]
--- no_error_log
[error]



=== TEST 2: ngx.ctx, ngx.var, ngx.req and ngx.headers_sent
--- config
    location /t {
        set $v "";
        rewrite_by_lua_block { ngx.ctx.seen = "rewrite" }
        content_by_lua_block { ngx.say("body") }
        header_filter_by_lua_block {
            require "wait"()
            local headers = { ngx.ctx.seen, ngx.var.request_method, ngx.req.get_headers().host,
                tostring(ngx.headers_sent), tostring(ngx.is_subrequest) }
            ngx.ctx.seen = "header"
            ngx.header.X = table.concat(headers, " ")
        }
        body_filter_by_lua_block { ngx.log(ngx.WARN, "ctx ", ngx.ctx.seen, " ", tostring(ngx.headers_sent)) }
    }
--- request eval
["GET /t", "GET /t?w=1"]
--- response_headers eval
["X: rewrite GET localhost false false", "X: rewrite GET localhost false false"]
--- response_body eval
["body\n", "body\n"]
--- error_log
ctx header true
--- no_error_log
[error]



=== TEST 3: all three forms; an outer level's code unless there is one here
--- http_config
    header_filter_by_lua 'require "wait"() ngx.header.X = "quoted " .. ngx.var.uri';
--- config
    location /a { return 200 "a\n"; }
    location /b {
        return 200 "b\n";
        header_filter_by_lua_file html/$arg_f.lua;
    }
    location /c {
        set $yes 1;
        if ($yes) {
            header_filter_by_lua_block { ngx.header.X = "block" }
        }
        content_by_lua_block { ngx.say("c") }
    }
--- user_files
>>> f.lua
require "wait"() ngx.header.X = "file"
--- request eval
["GET /a", "GET /b?f=f", "GET /c", "GET /a?w=1", "GET /b?f=f&w=1"]
--- response_headers eval
["X: quoted /a", "X: file", "X: block", "X: quoted /a", "X: file"]
--- response_body eval
["a\n", "b\n", "c\n", "a\n", "b\n"]
--- no_error_log
[error]



=== TEST 4: static files, HEAD, ranges, not modified
--- config
    location /s/ {
        alias html/;
        if_modified_since before;
        header_filter_by_lua_block { require "wait"() ngx.header.X = ngx.status .. " " .. (ngx.header.content_length or "-") }
    }
--- user_files
>>> a.txt 201001010000.00
0123456789
--- request eval
["GET /s/a.txt", "HEAD /s/a.txt", "GET /s/a.txt", "GET /s/a.txt", "GET /s/a.txt?w=1", "HEAD /s/a.txt?w=1", "GET /s/a.txt?w=1", "GET /s/a.txt?w=1", "GET /s/a.txt"]
--- more_headers eval
my @more = ("", "", "Range: bytes=2-4", "If-Modified-Since: Thu, 31 Dec 2020 00:00:00 GMT"); [@more, @more, ""]
--- error_code eval
[200, 200, 206, 304, 200, 200, 206, 304, 200]
--- response_headers eval
my @all = ("X: 200 11\nContent-Length: 11", "X: 200 11\nContent-Length: 11", "X: 200 11\nContent-Length: 3\nContent-Range: bytes 2-4/11", "X: 304 -\n! Content-Length"); [@all, @all, $all[0]]
--- response_body eval
my @all = ("0123456789\n", "", "234", ""); [@all, @all, $all[0]]
--- no_error_log
[error]



=== TEST 5: several ranges; a range that cannot be
--- config
    location /s/ {
        alias html/;
        header_filter_by_lua_block { require "wait"() ngx.header.X = ngx.status }
    }
--- user_files
>>> a.txt
0123456789
--- pipelined_requests eval
["GET /s/a.txt", "GET /s/a.txt?w=1", "GET /s/a.txt", "GET /s/a.txt?w=1"]
--- more_headers eval
["Range: bytes=1-2,5-6", "Range: bytes=1-2,5-6", "Range: bytes=100-", "Range: bytes=100-"]
--- error_code eval
[206, 206, 416, 416]
--- response_headers eval
["X: 200", "X: 200", "X: 416\nContent-Range: bytes */11", "X: 416\nContent-Range: bytes */11"]
--- response_body_like eval
[(qr{bytes 1-2/11\r\n\r\n12\r\n.*bytes 5-6/11\r\n\r\n56\r\n}s) x 2, (qr{416 Requested Range}) x 2]
--- no_error_log
[error]



=== TEST 6: error pages, of nginx and of error_page, and 204
--- config
    location /none/ { alias html/; header_filter_by_lua_block { require "wait"() ngx.header.X = ngx.status } }
    location /page {
        error_page 403 /403.txt;
        return 403;
        header_filter_by_lua_block { ngx.header.X = "not run" }
    }
    location /403.txt {
        root html;
        header_filter_by_lua_block { require "wait"() ngx.header.X = "page " .. ngx.status }
    }
    location /204 { return 204; header_filter_by_lua_block { require "wait"() ngx.header.X = ngx.status } }
--- user_files
>>> 403.txt
forbidden
--- request eval
[map { "GET $_" } "/none/x", "/page", "/204", "/none/x?w=1", "/page?w=1", "/204?w=1", "/204"]
--- error_code eval
[404, 403, 204, 404, 403, 204, 204]
--- response_headers eval
my @all = ("X: 404", "X: page 403", "X: 204"); [@all, @all, $all[2]]
--- response_body_like eval
my @all = (qr/404 Not Found/, qr/^forbidden$/, qr/^$/); [@all, @all, $all[2]]
--- no_error_log
[alert]
[crit]



=== TEST 7: ngx.exit
--- config
    location /t {
        error_page 403 /403.txt;
        content_by_lua_block { ngx.say("body") }
        header_filter_by_lua_block {
            require "wait"()
            ngx.header.X = "x"
            ngx.exit(tonumber(ngx.var.arg_exit))
        }
    }
    location /s/ {
        error_page 403 /403.txt;
        alias html/;
        header_filter_by_lua_block { require "wait"() ngx.header.X = "x" return ngx.exit(tonumber(ngx.var.arg_exit)) }
    }
    location = /403.txt { root html; add_header Y y always; }
--- user_files
>>> 403.txt
forbidden
>>> a.txt
static
--- request eval
[map { my $p = $_; map { "GET $p?exit=$_" } 0, 200, 403, 500, 204, "403&w=1", "404&w=1", "0&w=1", "204&w=1" } "/t", "/s/a.txt"]
--- error_code eval
[(200, 200, 403, 500, 204, 403, 404, 200, 204) x 2]
--- response_headers eval
my @all = ("X: x", "X: x", "X: x\nY: y", "X: x", "X: x", "X: x\nY: y", "X: x", "X: x", "X: x"); [@all, @all]
--- response_body_like eval
my @all = (qr/^forbidden$/, qr/500 Internal/, qr/^$/, qr/^forbidden$/, qr/404 Not/);
[map { my $b = qr/^$_$/; ($b, $b, @all, $b, qr/^$/) } "body", "static"]
--- no_error_log
[alert]
[error]



=== TEST 8: a Lua error answers 500, with a traceback in the log
--- config
    location /t {
        content_by_lua_block { ngx.say("body") }
        header_filter_by_lua_block {
            local function f() error("bang") end
            require "wait"()
            f()
        }
    }
    location /u {
        return 200 "body\n";
        header_filter_by_lua_block { require "wait"() error("bang") }
    }
    location /none { header_filter_by_lua_block { require "wait"() error("bang") } }
    location /file { return 200 x; header_filter_by_lua_file html/none.lua; }
--- request eval
["GET /t", "GET /t?w=1", "GET /u", "GET /u?w=1", "GET /none", "GET /none?w=1", "GET /file"]
--- error_code eval
[500, 500, 500, 500, 500, 500, 404]
--- response_body_like eval
[(qr/500 Internal/) x 4, qr/404 Not Found/, qr/500 Internal/, qr/404 Not Found/]
--- error_log eval
[qr/failed to run header_filter_by_lua\*: header_filter_by_lua\(nginx.conf:\d+\):2: bang/,
"stack traceback:",
qr/cannot open .*none.lua/]
--- no_error_log
[alert]



=== TEST 9: what makes output or leads elsewhere is not to be called
--- config
    location /t {
        return 200 "body\n";
        header_filter_by_lua_block {
            require "wait"()
            local failed = {}
            for _, call in ipairs {
                function() ngx.say("x") end, function() ngx.flush() end, function() ngx.eof() end,
                function() ngx.send_headers() end, function() ngx.redirect("/") end,
                function() ngx.exec("/") end, function() ngx.req.socket() end,
                function() ngx.req.read_body() end, function() return ngx.arg[1] end,
                function() ngx.arg[1] = "" end,
            } do
                local ok, err = pcall(call)
                failed[#failed + 1] = tostring(ok) .. " " .. err:gsub("^.-: ", "")
            end
            ngx.header.X = failed[1]
            for i = 2, #failed do
                if failed[i] ~= failed[1] then ngx.header.X = failed[i] end
            end
        }
    }
--- request eval
["GET /t", "GET /t?w=1"]
--- response_headers eval
[("X: false API disabled in the context of header_filter_by_lua*") x 2]
--- response_body eval
["body\n", "body\n"]



=== TEST 10: a status without a body, in place of one with a body
--- config
    location /s/ { alias html/; header_filter_by_lua_block { require "wait"() ngx.status = tonumber(ngx.var.arg_s) ngx.header.content_length = nil } }
    location /lua {
        content_by_lua_block { ngx.say("one") ngx.flush(true) ngx.sleep(0.03) ngx.say("two") }
        header_filter_by_lua_block { require "wait"() ngx.status = tonumber(ngx.var.arg_s) ngx.header.content_length = nil }
    }
    location /proxy {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/source;
        proxy_buffering off;
        header_filter_by_lua_block { require "wait"() ngx.status = tonumber(ngx.var.arg_s) ngx.header.content_length = nil }
    }
    location /source { content_by_lua_block { ngx.say("one") ngx.flush(true) ngx.sleep(0.03) ngx.say("two") } }
    location /ok { return 200 "ok\n"; }
--- user_files
>>> a.txt
some text
--- pipelined_requests eval
[ (map { my $w = $_; map { ("GET $_?s=204$w", "GET $_?s=304$w") } "/s/a.txt", "/lua", "/proxy" } "", "&w=1"), "GET /ok" ]
--- error_code eval
[ (204, 304) x 6, 200 ]
--- response_body eval
[ ("") x 12, "ok\n" ]
--- no_error_log
[error]
[alert]



=== TEST 11: with limit_rate
--- config
    location /s/ {
        alias html/;
        limit_rate 40k;
        header_filter_by_lua_block { require "wait"() ngx.header.content_length = nil }
        body_filter_by_lua_block { require "wait"() ngx.arg[1] = ngx.arg[1]:upper() }
    }
--- user_files eval
">>> a.txt\n" . "x" x 60_000
--- pipelined_requests eval
["GET /s/a.txt", "GET /s/a.txt?w=1"]
--- response_body eval
[ ("X" x 60_000) x 2 ]
--- timeout: 10
--- no_error_log
[error]
[alert]



=== TEST 12: headers set in the filter do not hinder add_header, nor expires
--- config
    location /s/ {
        alias html/;
        add_header X-Two "by nginx";
        expires 1h;
        header_filter_by_lua_block { require "wait"() ngx.header.X_One = "by lua, " .. tostring(ngx.header.X_Two) .. " " .. tostring(ngx.header.expires) }
    }
--- user_files
>>> a.txt
some text
--- request eval
["GET /s/a.txt", "GET /s/a.txt?w=1"]
--- response_headers eval
[("X-One: by lua, nil nil\nX-Two: by nginx\nCache-Control: max-age=3600") x 2]
--- no_error_log
[error]



=== TEST 13: an error that a filter before Lua answers
--- config
    location /s/ {
        alias html/;
        header_filter_by_lua_block { require "wait"() ngx.header.X = ngx.status }
        body_filter_by_lua_block { if ngx.var.arg_b then ngx.sleep(0.02) end ngx.arg[1] = ngx.arg[1]:upper() }
    }
    location /h/ { alias html/; header_filter_by_lua_block { require "wait"() ngx.header.X = ngx.status } }
--- user_files
>>> a.txt
some text
--- request eval
["GET /s/a.txt", "GET /s/a.txt?w=1", "GET /s/a.txt?b=1", "GET /s/a.txt?w=1&b=1", "GET /h/a.txt", "GET /h/a.txt?w=1"]
--- more_headers
If-Unmodified-Since: Thu, 01 Jan 1970 00:00:01 GMT
--- error_code eval
[(412) x 6]
--- response_headers eval
[("X: 412") x 6]
--- response_body_like eval
[(qr{^<HTML>.*412 PRECONDITION FAILED.*</HTML>\r\n$}s) x 4, (qr{^<html>.*412 Precondition Failed.*</html>\r\n$}s) x 2]
--- no_error_log
[error]
[alert]
