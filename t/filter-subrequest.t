# Filters in Lua in requests that have subrequests, and in these: SSI, addition, slices,
# auth_request. `?h=1` lets the header filters wait, `?b=1` the body filters.
use Test::Nginx::Socket::Lua 'no_plan';

# What the nginx under test has.
our $modules = do { my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx'; `$nginx -V 2>&1` };

# All ways to wait and not to wait.
our @ways = ( '', 'h=1', 'b=1', 'h=1&b=1' );
sub each_way { my ($f) = @_; return [ map { $f->($_) } @ways ] }

add_block_preprocessor( sub {
    my ($block) = @_;
    $block->set_value( http_config => <<'END' . ( $block->http_config // '' ) );
init_by_lua_block {
    package.loaded.wait = function(flag)
        if ngx.var["arg_" .. flag] then ngx.sleep(flag == "h" and 0.02 or 0.01) end
    end
}
END
} );

no_long_string();
run_tests();

__DATA__

=== TEST 1: SSI includes, in order; filters in the page and in its parts
--- config
    location /page {
        ssi on;
        root html;
        header_filter_by_lua_block { require "wait"("h") ngx.header.X = "page" }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:gsub("WHERE", "page") }
    }
    location /file/ {
        alias html/;
        header_filter_by_lua_block { require "wait"("h") ngx.header.Y = "part" }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = "<" .. ngx.arg[1]:gsub("\n", "") .. (ngx.arg[2] and "." or "") .. ">" }
    }
    location /lua {
        header_filter_by_lua_block { require "wait"("h") }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:upper() }
        content_by_lua_block {
            ngx.print("lua 1, ")
            ngx.flush(true)
            ngx.sleep(0.005)
            ngx.print("lua 2")
        }
    }
    location /plain { return 200 "plain"; }
--- user_files
>>> page.html
WHERE [<!--#include virtual="/file/a.txt?$args" --><!--#include virtual="/lua?$args" --> <!--#include virtual="/plain?$args" --><!--#include virtual="/lua?$args" -->] WHERE
>>> a.txt
a
--- pipelined_requests eval
main::each_way( sub { "GET /page.html?$_[0]" } )
--- response_headers eval
[ ("X: page\n! Y") x 4 ]
--- response_body eval
[ ("page [<a.>LUA 1, LUA 2 plainLUA 1, LUA 2] page\n") x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 2: only the parts wait
--- config
    location /page { ssi on; root html; }
    location /slow {
        content_by_lua_block { ngx.print(ngx.var.arg_n, " ") }
        header_filter_by_lua_block { ngx.sleep((5 - ngx.var.arg_n) / 50) }
        body_filter_by_lua_block { ngx.sleep(ngx.var.arg_n / 100) }
    }
--- user_files
>>> page.html
<!--#include virtual="/slow?n=1" --><!--#include virtual="/slow?n=2" --><!--#include virtual="/slow?n=3" --><!--#include virtual="/slow?n=4" -->
--- pipelined_requests eval
["GET /page.html", "GET /page.html"]
--- response_body eval
["1 2 3 4 \n", "1 2 3 4 \n"]
--- no_error_log
[error]
[alert]



=== TEST 3: an error in a part
--- config
    location /page { ssi on; root html; }
    location /bad {
        return 200 "never seen";
        header_filter_by_lua_block { require "wait"("h") if ngx.var.arg_exit then ngx.exit(403) end error("bang") }
    }
    location /plain { return 200 "plain"; }
--- user_files
>>> page.html
[<!--#include virtual="/bad?$args" -->|<!--#include virtual="/plain" -->]
--- request eval
[ map { "GET /page.html?$_" } "", "h=1", "exit=1", "exit=1&h=1" ]
--- response_body_like eval
[ (qr/^\[.*500 Internal.*\|plain]$/s) x 2, (qr/^\[.*403 Forbidden.*\|plain]$/s) x 2 ]
--- error_log
bang
--- no_error_log
[alert]



=== TEST 4: additions before and after
--- skip_eval: 12: $main::modules !~ /http_addition_module/
--- config
    location /page {
        add_before_body /part1;
        add_after_body /part2;
        default_type text/html;
        return 200 "page ";
        header_filter_by_lua_block { require "wait"("h") ngx.header.X = "x" }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:upper() }
    }
    location /part {
        header_filter_by_lua_block { ngx.sleep(0.01) }
        body_filter_by_lua_block { ngx.sleep(0.01) ngx.arg[1] = ngx.arg[1]:rep(2) }
        return 200 "$uri ";
    }
--- pipelined_requests eval
main::each_way( sub { "GET /page?$_[0]" } )
--- response_headers eval
[ ("X: x") x 4 ]
--- response_body eval
[ ("/part1 /part1 PAGE /part2 /part2 ") x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 5: slices
--- skip_eval: 24: $main::modules !~ /http_slice_module/
--- config
    location /sliced {
        slice 3;
        proxy_set_header Range $slice_range;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/file/a.txt;
        header_filter_by_lua_block { require "wait"("h") ngx.header.X = ngx.status }
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:upper() }
    }
    location /file/ { alias html/; }
--- user_files
>>> a.txt
abcdefghijk
--- pipelined_requests eval
[ @{main::each_way( sub { "GET /sliced?$_[0]" } )}, @{main::each_way( sub { "GET /sliced?$_[0]" } )} ]
--- more_headers eval
[ ("") x 4, ("Range: bytes=1-7") x 4 ]
--- error_code eval
[ (200) x 4, (206) x 4 ]
--- response_headers eval
[ ("X: 200") x 8 ]
--- response_body eval
[ ("ABCDEFGHIJK\n") x 4, ("BCDEFGH") x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 6: auth_request and mirror
--- skip_eval: 8: $main::modules !~ /http_auth_request_module/
--- config
    location /t {
        auth_request /auth;
        auth_request_set $who $sent_http_x_who;
        mirror /mirror;
        content_by_lua_block { ngx.say("hello ", ngx.var.who) }
        header_filter_by_lua_block { require "wait"("h") }
    }
    location /auth {
        return 200 "not sent";
        header_filter_by_lua_block { require "wait"("h") ngx.header.X_Who = "me" }
        body_filter_by_lua_block { require "wait"("b") }
    }
    location /mirror {
        return 200 "not sent";
        header_filter_by_lua_block { require "wait"("h") }
        body_filter_by_lua_block { require "wait"("b") }
    }
--- pipelined_requests eval
main::each_way( sub { "GET /t?$_[0]" } )
--- response_body_like eval
[ (qr/^hello me$/) x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 7: what nginx's sub_filter replaces, Lua has made
--- skip_eval: 8: $main::modules !~ /http_sub_module/
--- config
    location /t {
        sub_filter_types *;
        sub_filter lua nginx;
        return 200 "content\n";
        body_filter_by_lua_block { require "wait"("b") ngx.arg[1] = ngx.arg[1]:gsub("content", "by lua") }
        header_filter_by_lua_block { require "wait"("h") ngx.header.content_length = nil }
    }
--- pipelined_requests eval
main::each_way( sub { "GET /t?$_[0]" } )
--- response_body eval
[ ("by nginx\n") x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 8: requests in the background, which nobody waits for
--- http_config
    proxy_cache_path cache keys_zone=c:1m;
--- config
    location /t {
        mirror /mirror/static;
        mirror /mirror/proxy;
        return 200 "ok\n";
    }
    location /t2 {
        mirror /mirror/static;
        mirror /mirror/proxy;
        content_by_lua_block { ngx.sleep(0.1) ngx.say("ok") }
    }
    location /mirror/static {
        return 200 "not sent";
        header_filter_by_lua_block { ngx.sleep(0.03) if ngx.var.arg_exit then ngx.exit(403) end }
        body_filter_by_lua_block { ngx.sleep(0.03) }
    }
    location /mirror/proxy {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/source;
        header_filter_by_lua_block { ngx.sleep(0.03) if ngx.var.arg_exit then ngx.exit(403) end }
        body_filter_by_lua_block { ngx.sleep(0.03) }
    }
    location /source { content_by_lua_block { ngx.say("x") ngx.flush(true) ngx.sleep(0.01) ngx.say("source ", ngx.now()) } }
    location /cached {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/source;
        proxy_cache c;
        proxy_cache_key x;
        proxy_cache_valid 200 1s;
        proxy_cache_use_stale updating;
        proxy_cache_background_update on;
        add_header X-Cache $upstream_cache_status;
        header_filter_by_lua_block { ngx.sleep(0.03) ngx.header.content_length = nil }
        body_filter_by_lua_block { ngx.sleep(0.03) ngx.arg[1] = ngx.arg[1]:gsub(" [%d.]+", "") }
    }
    location /pause { content_by_lua_block { ngx.sleep(2.1) ngx.say("ok") } }
--- pipelined_requests eval
[ "GET /t2", "GET /t2?exit=1", "GET /t", "GET /t?exit=1", "GET /cached", "GET /pause", "GET /cached", "GET /t2", "GET /cached" ]
--- timeout: 10
--- response_headers eval
[ ("Connection: keep-alive") x 4, "X-Cache: MISS", "Connection: keep-alive", "X-Cache: STALE", "Connection: keep-alive", "X-Cache: HIT" ]
--- response_body eval
[ ("ok\n") x 4, "x\nsource\n", "ok\n", "x\nsource\n", "ok\n", "x\nsource\n" ]



=== TEST 9: the body filter ends a part that is flushed, and gzip keeps what there was of it
--- config
    gzip on;
    gzip_types *;
    gzip_min_length 1;
    location /t {
        addition_types *;
        add_before_body /part;
        return 200 "page\n";
        body_filter_by_lua_block { }
    }
    location /part {
        body_filter_by_lua_block { ngx.arg[2] = true }
        content_by_lua_block {
            ngx.say("part")
            ngx.flush(true)
            ngx.say("dropped")
            ngx.flush(true)
        }
    }
    location /plain {
        gunzip on;
        gzip off;
        proxy_set_header Accept-Encoding gzip;
        proxy_http_version 1.1;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/t;
    }
--- request
GET /plain
--- response_body
part
page
--- no_error_log
[error]
[alert]



=== TEST 9: the body filter ends a part before it is its turn; the rest of it comes after
--- config
    location /page {
        ssi on;
        root html;
    }
    location /first {
        content_by_lua_block { ngx.say("first") ngx.sleep(0.1) ngx.say("first's end") }
    }
    location /part {
        proxy_buffering off;
        proxy_http_version 1.1;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/slow;
        body_filter_by_lua_block { ngx.arg[2] = true }
    }
    location /slow {
        content_by_lua_block { ngx.say("part") ngx.flush() ngx.sleep(0.4) ngx.say("dropped") }
    }
--- user_files
>>> page.html
[<!--#include virtual="/first" --><!--#include virtual="/part" -->]
--- request
GET /page.html
--- response_body
[first
first's end
part
]
--- no_error_log
[error]
[alert]
