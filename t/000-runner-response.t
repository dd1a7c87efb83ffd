# The runner itself: what it checks of a response. Directives every nginx has.
use lib 't/lib';
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * ( blocks() * 2 + 16 );

no_long_string();

our $HtmlDir = html_dir();

add_response_body_check(
    sub {
        my ( $block, $body, $req_idx, $repeat_idx ) = @_;
        is_str( $body, qr/\Q@{[ $block->body_has ]}\E/, $block->name . ' - body_has' )
            if defined $block->body_has;
    }
);

run_tests();

__DATA__

=== TEST 1: response_body and the implicit status
--- config
    location /t { return 200 "hello\n"; }
--- request
GET /t
--- response_body
hello



=== TEST 2: error_code, response_headers: present, absent, empty, any case
--- config
    location /t { add_header X-Foo "bar  baz" always; add_header X-Multi a; add_header X-Multi b; return 302 /u; }
--- request
GET /t
--- error_code: 302
--- response_headers
Location: http://localhost:$ServerPort/u
! X-None
!Content-Encoding
x-foo: bar  baz
X-Multi: a, b
X-Empty:
--- response_body_like: 302 Found



=== TEST 3: response_headers_like, raw_response_headers_like and _unlike
--- config
    location /t { return 200 ok; }
--- request
GET /t
--- response_headers_like
Server: nginx/\d+.*
Content-Length: [0-9]
--- raw_response_headers_like: Server: nginx.*?\r\nDate: 
--- raw_response_headers_unlike: Set-Cookie
--- response_body chomp
ok



=== TEST 4: response_body_unlike
--- config
    location /t { return 200 "hello\n"; }
--- request
GET /t
--- response_body_unlike: ^HELLO



=== TEST 5: response_body_filters by name and as code
--- config
    location /t { return 200 "hello"; }
--- request eval
["GET /t", "GET /t"]
--- response_body_filters eval
[[\&CORE::uc, sub { length shift }], [\&CORE::uc]]
--- response_body eval
["5", "HELLO"]



=== TEST 6: response_body_filters as names
--- config
    location /t { return 200 "hello"; }
--- request
GET /t
--- response_body_filters
uc md5_hex
--- response_body chop
eb61eead90e3b899c6bcbe27ac581660



=== TEST 7: a regex as response_body
--- config
    location /t { return 200 "abc\n"; }
--- request
GET /t
--- response_body eval
qr/^a.c$/



=== TEST 8: response_body_json_eq
--- config
    location /t { return 200 '{"b": [1, 2], "a": "x"}'; }
--- request
GET /t
--- response_body_json_eq
{ "a": "x", "b": [1,2] }



=== TEST 9: error_code_like, ignore_response_body
--- config
    location /t { return 503; }
--- request
GET /t
--- error_code_like: ^50[0-9]$
--- ignore_response_body
--- no_error_log
[error]



=== TEST 10: ignore_response
--- config
    location /t { return 503; }
--- request
GET /t
--- ignore_response
--- no_error_log
[error]
[crit]



=== TEST 11: custom body checks
--- config
    location /t { return 200 "some text"; }
--- request
GET /t
--- body_has: e te



=== TEST 12: chunked responses are decoded
--- config
    location /t { ssi on; default_type text/html; root html; index f.html; }
--- user_files
>>> t/f.html
one <!--# echo var="arg_x" -->
--- request
GET /t/f.html?x=2
--- response_headers
Transfer-Encoding: chunked
--- response_body
one 2



=== TEST 13: HEAD
--- config
    location /t { return 200 "abc\n"; }
--- request
HEAD /t
--- response_headers
Content-Length: 4
--- response_body



=== TEST 14: HTTP 0.9
--- config
    location /t { return 200 "abc\n"; }
--- http09
--- raw_request eval
"GET /t\r\n"
--- response_body
abc



=== TEST 15: the default root location, the server root in variables
--- config
    location /dir { return 200 "$TEST_NGINX_HTML_DIR $ServRoot $TEST_NGINX_SERVER_PORT"; }
--- request eval
["GET /", "GET /dir"]
--- response_body_like eval
["It works!", "^$::HtmlDir " . main::server_root() . " " . main::server_port() . "\$"]



=== TEST 16: a response with code 204 has no body
--- config
    location /t { return 204; }
--- request
GET /t
--- error_code: 204
--- response_body
