# The runner itself: HTTP/2 by curl.
use Test::Nginx::Socket::Lua;

plan skip_all => 'no curl with HTTP/2' if `curl -V` !~ /\bHTTP2\b/;
plan tests => repeat_each() * ( blocks() * 2 + 5 );
no_long_string();
run_tests();

__DATA__

=== TEST 1: GET
--- http2
--- config
    location /t { add_header X-Foo $http_x_foo; return 200 "$server_protocol $request_method $http_host [$http_accept$http_user_agent]\n"; }
--- more_headers
X-Foo: a b
--- request
GET /t
--- response_headers
X-Foo: a b
! Connection
--- response_body
HTTP/2.0 GET localhost []



=== TEST 2: HEAD and errors
--- http2
--- config
    location /t { return 404 "no\n"; }
--- request eval
["HEAD /t", "GET /t"]
--- error_code eval
[404, 404]
--- response_body eval
["", "no\n"]



=== TEST 3: a body
--- http2
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; proxy_set_header Host x; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_query_len: 92
--- tcp_reply eval
sub { "HTTP/1.0 200 OK\r\n\r\n" . ($_[0] =~ /(hello.*)/s)[0] }
--- more_headers
Content-Type: a/b
--- request eval
"POST /t\nhello\x00"
--- tcp_query eval
qr{^POST /t HTTP/1.0\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\ncontent-type: a/b\r\n\r\nhello\x00}
--- response_body eval
"hello\x00"



=== TEST 4: requests that stay HTTP/1
--- http2
--- config
    location /t { return 200 "$server_protocol"; }
--- request
GET /t HTTP/1.0
--- response_body chop
HTTP/1.0



=== TEST 5: curl's own errors
--- http2
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_2; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_2
--- tcp_no_close
--- timeout: 0.2
--- request
GET /t
--- ignore_response
--- curl_error: (28)
