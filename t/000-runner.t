# The runner itself, with directives every nginx has.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * (blocks() * 2 + 2);
no_long_string();
run_tests();

__DATA__

=== TEST 1: response_body and the implicit status
--- config
    location /t { return 200 "hello\n"; }
--- request
GET /t
--- response_body
hello



=== TEST 2: error_code, response_headers
--- config
    location /t { add_header X-Foo bar; return 302 /u; }
--- request
GET /t
--- error_code: 302
--- response_headers
Location: http://localhost:$ServerPort/u
! X-None
--- response_body_like: 302 Found
