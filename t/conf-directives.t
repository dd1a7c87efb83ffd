# Every directive in every context where it may stand, and the complaints about
# a wrong place or value.
use Test::Nginx::Socket::Lua;

plan tests => blocks() * 2;

our @flags = qw(
    lua_code_cache lua_need_request_body lua_use_default_type
    lua_http10_buffering lua_transform_underscores_in_response_headers
    lua_check_client_abort lua_socket_log_errors
);
our @times = map {"lua_socket_${_}_timeout"} qw( connect send read keepalive );
our $settings = join ' ', ( map {"$_ on;"} @flags ), ( map {"$_ 10ms;"} @times ),
    'lua_socket_buffer_size 4k;', 'lua_socket_pool_size 5;', 'lua_socket_send_lowat 1k;';

# A location that answers before any Lua code would run.
our $answer = 'return 200 "ok\n";';

no_long_string();
run_tests();

__DATA__

=== TEST 1: settings in http
--- http_config eval: $::settings
--- config eval: "location /t { $::answer }"
--- request
GET /t
--- response_body
ok



=== TEST 2: settings in server
--- config eval: "$::settings location /t { $::answer }"
--- request
GET /t
--- response_body
ok



=== TEST 3: settings in location and in if
--- config eval: "location /t { $::settings if (\$arg_a) { $::settings } $::answer }"
--- request
GET /t
--- response_body
ok



=== TEST 4: code in http
--- http_config
    init_by_lua_block { local t = {} }
    init_worker_by_lua_block { local t = {} }
    rewrite_by_lua_block { local t = {} }
    access_by_lua_block { local t = {} }
--- config eval: "location /t { $::answer }"
--- request
GET /t
--- response_body
ok



=== TEST 5: quoted code in http
--- http_config
    init_by_lua "local t = {}";
    init_worker_by_lua 'local t = {}';
    rewrite_by_lua '
        local t = {}
    ';
    access_by_lua "local t = {}";
--- config eval: "location /t { $::answer }"
--- request
GET /t
--- response_body
ok



=== TEST 6: files in http
--- http_config
    init_by_lua_file html/init.lua;
    init_worker_by_lua_file html/init.lua;
    rewrite_by_lua_file html/a.lua;
    access_by_lua_file html/$arg_a.lua;
--- config eval: "location /t { $::answer }"
--- user_files
>>> init.lua
local t = {}
--- request
GET /t
--- response_body
ok



=== TEST 7: code in server
--- config
    rewrite_by_lua_block { local t = {} }
    access_by_lua_file html/$arg_a.lua;
    location /t { return 200 "ok\n"; }
--- request
GET /t
--- response_body
ok



=== TEST 8: code in location and in if
--- config
    location /t {
        rewrite_by_lua_block { local t = {} }
        access_by_lua_block { local t = {} }
        content_by_lua_block { local t = {} }
        if ($arg_a) {
            rewrite_by_lua 'local t = {}';
            access_by_lua_file html/a.lua;
            content_by_lua_file html/$uri.lua;
        }
        return 200 "ok\n";
    }
--- request
GET /t
--- response_body
ok



=== TEST 9: settings of the whole server
--- http_config
    lua_package_path "$prefix/lua/?.lua;${prefix}lib/?.lua;;";
    lua_package_cpath "/usr/lib/?.so;;";
    rewrite_by_lua_no_postpone on;
    access_by_lua_no_postpone off;
--- config eval: "location /t { $::answer }"
--- request
GET /t
--- response_body
ok



=== TEST 10: init_by_lua not in server
--- config
    init_by_lua_block { }
--- must_die
--- error_log
"init_by_lua_block" directive is not allowed here



=== TEST 11: content_by_lua not in server
--- config
    content_by_lua_block { }
--- must_die
--- error_log
"content_by_lua_block" directive is not allowed here



=== TEST 12: content_by_lua not in limit_except
--- config
    location /t { limit_except GET { content_by_lua 'return'; } }
--- must_die
--- error_log
"content_by_lua" directive is not allowed here



=== TEST 13: lua_package_path not in server
--- config
    lua_package_path ";;";
--- must_die
--- error_log
"lua_package_path" directive is not allowed here



=== TEST 14: rewrite_by_lua_no_postpone not in server
--- config
    rewrite_by_lua_no_postpone on;
--- must_die
--- error_log
"rewrite_by_lua_no_postpone" directive is not allowed here



=== TEST 15: a flag is on or off
--- config
    lua_check_client_abort yes;
--- must_die
--- error_log eval
qr{invalid value "yes" in "lua_check_client_abort" directive, it must be "on" or "off" in .*/nginx\.conf:39$}m



=== TEST 16: a time
--- config
    lua_socket_connect_timeout 5x;
--- must_die
--- error_log eval
qr{"lua_socket_connect_timeout" directive invalid value in .*/nginx\.conf:39$}m



=== TEST 17: a buffer has a size
--- config
    lua_socket_buffer_size 0;
--- must_die
--- error_log
"lua_socket_buffer_size" directive invalid value



=== TEST 18: a number
--- config
    lua_socket_pool_size -1;
--- must_die
--- error_log
"lua_socket_pool_size" directive invalid number



=== TEST 19: a setting twice
--- config
    lua_socket_read_timeout 5s;
    lua_socket_read_timeout 6s;
--- must_die
--- error_log eval
qr{"lua_socket_read_timeout" directive is duplicate in .*/nginx\.conf:40$}m



=== TEST 20: an unknown variable in a path
--- config
    location /t { content_by_lua_file html/$no_such.lua; }
--- must_die
--- error_log
unknown "no_such" variable



=== TEST 21: the code cache switched off
--- http_config
    lua_code_cache off;
--- config eval: "location /t { $::answer }"
--- request
GET /t
--- response_body
ok



=== TEST 22: a pool of no connection at all
--- config
    lua_socket_pool_size 0;
--- must_die
--- error_log
"lua_socket_pool_size" directive invalid number
