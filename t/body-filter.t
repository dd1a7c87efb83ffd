# body_filter_by_lua: Lua sees and changes each part of the response body.
use Test::Nginx::Socket::Lua 'no_plan';

no_long_string();
run_tests();

__DATA__

=== TEST 1: a chunk is replaced
--- config
    location /t {
        content_by_lua_block { ngx.say("hello") }
        header_filter_by_lua_block { ngx.header.content_length = nil ngx.header.X = "y" }
        body_filter_by_lua 'ngx.arg[1] = string.upper(ngx.arg[1])';
    }
    location /s {
        alias html/;
        header_filter_by_lua_block { ngx.sleep(0.2) ngx.header.content_length = nil }
        body_filter_by_lua_block { ngx.sleep(0.1) ngx.arg[1] = string.upper(ngx.arg[1]) }
    }
--- user_files
>>> a.txt
some text
--- request eval
["GET /t", "GET /s/a.txt"]
--- response_body eval
["HELLO\n", "SOME TEXT\n"]
--- no_error_log
[error]
