# The runner itself: the ways to write a request.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Peer;

# Reflects each HTTP request: its line, its X- headers, its body.
Test::Nginx::Peer->tcp(
    MIRROR => sub {
        my ($socket) = @_;
        my ( $line, $length, $shown ) = ( scalar <$socket>, 0, '' );
        while ( defined( my $header = <$socket> ) ) {
            last if $header eq "\r\n";
            $length = $1 if $header =~ /^Content-Length: (\d+)/i;
            $shown .= $header if $header =~ /^X-/;
        }
        my $body = '';
        read $socket, $body, $length if $length;
        print {$socket} "HTTP/1.0 200 OK\r\n\r\n$line$shown$body";
    }
);

# A block without a config section uses that of the block before it; here, all.
add_block_preprocessor(
    sub {
        my ($block) = @_;
        return if defined $block->config;
        $block->set_value( config => <<'_EOC_' );
    location /vars { return 200 "$request_method $http_host $http_connection $server_protocol [$content_length]"; }
    location /mirror { proxy_pass http://127.0.0.1:$TEST_NGINX_MIRROR_PORT; }
_EOC_
    }
);

no_long_string();
run_tests();

__DATA__

=== TEST 1: defaults
--- request
# a comment
GET /vars
--- response_body chop
GET localhost close HTTP/1.1 []



=== TEST 2: HTTP/1.0 and own headers
--- request
GET /vars HTTP/1.0
--- more_headers
Host: foo.com
Connection: x
--- response_body chop
GET foo.com x HTTP/1.0 []



=== TEST 3: a body
--- request
POST /mirror
hello
world
--- response_body eval
"POST /mirror HTTP/1.0\r\nhello\nworld"



=== TEST 4: a binary body, other methods, headers for each request
--- request eval
["PUT /mirror\n\x00\xff", "DELETE /mirror", "OPTIONS /vars"]
--- more_headers eval
["X-A: 1", "X-B: 2\nX-C: 3", ""]
--- response_body eval
["PUT /mirror HTTP/1.0\r\nX-A: 1\r\n\x00\xff", "DELETE /mirror HTTP/1.0\r\nX-B: 2\r\nX-C: 3\r\n",
 "OPTIONS localhost close HTTP/1.1 []"]



=== TEST 5: a chunked request body is sent as it is
--- more_headers
Transfer-Encoding: chunked
--- request eval
"POST /mirror
4\r
wiki\r
1\r
!\r
0\r
\r
"
--- response_body eval
"POST /mirror HTTP/1.0\r\nwiki!"



=== TEST 6: a request in packets
--- request eval
[["POST /mirror\nna", { value => "me=", delay_before => 0.05 }, "foo"]]
--- response_body eval
"POST /mirror HTTP/1.0\r\nname=foo"



=== TEST 7: pipelined requests
--- pipelined_requests eval
["GET /vars", "POST /mirror\nabc", "HEAD /vars", "GET /vars"]
--- response_body eval
["GET localhost keep-alive HTTP/1.1 []", "POST /mirror HTTP/1.0\r\nabc", "",
 "GET localhost close HTTP/1.1 []"]



=== TEST 8: a raw request
--- raw_request eval
"GET /vars HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
--- response_body chop
GET a close HTTP/1.1 []



=== TEST 9: a raw request in pieces
--- raw_request eval
["GET /va", "rs HTTP/1.1\r\nHost: a\r\n", "Connection: close\r\n\r\n"]
--- raw_request_middle_delay: 0.03
--- response_body chop
GET a close HTTP/1.1 []



=== TEST 10: a bad request
--- raw_request eval
"FOO\r\n\r\n"
--- error_code: 400
--- response_body_like: 400 Bad Request



=== TEST 11: no response at all
--- config
    location /t { return 444; }
--- request
GET /t
--- error_code:
--- response_body



=== TEST 12: abort after timeout
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- request
GET /t
--- timeout: 100ms
--- abort
--- error_code:



=== TEST 13: the client shuts down its sending half
--- request
GET /vars
--- shutdown: 1
--- ignore_response
--- no_error_log
[error]



=== TEST 14: http_config, main_config, post_main_config, server_name
--- main_config
    env FOO=bar;
--- http_config
    map $uri $mapped { default "from map"; }
    server { listen $TEST_NGINX_SERVER_PORT; server_name second; location / { return 200 "second"; } }
--- config
    location /t { return 200 "$mapped $server_name"; }
--- post_main_config
    # the end
--- server_name: first
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
["Host: first", "Host: second"]
--- response_body eval
["from map first", "second"]



=== TEST 15: a large response to a slowly sent large request
--- config
    client_body_buffer_size 1k;
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_MIRROR_PORT; }
--- request eval
"POST /t\n" . "x" x 3000000
--- response_body_filters
length
--- response_body eval
length("POST /t HTTP/1.0\r\n") + 3000000
