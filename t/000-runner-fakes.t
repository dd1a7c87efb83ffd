# The runner itself: tcp_listen, udp_listen and their sections.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * ( blocks() * 3 + 2 );

no_long_string();

# Answers any A query with 127.0.0.1.
our $dns_reply = sub {
    my ($query) = @_;
    my $question = substr $query, 12;
    return
          substr( $query, 0, 2 )
        . "\x81\x80\0\1\0\1\0\0\0\0"
        . $question
        . "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1";
};

run_tests();

__DATA__

=== TEST 1: tcp_reply, tcp_query, tcp_query_len
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; proxy_set_header Host x; proxy_set_header Connection ""; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.0 200 OK\r\n\r\nhello"
--- tcp_query eval
"GET /t HTTP/1.0\r\nHost: x\r\n\r\n"
--- tcp_query_len: 28
--- request
GET /t
--- response_body chop
hello



=== TEST 2: a list of replies with a delay, on a unix socket
--- config
    location /t { proxy_pass http://unix:$TEST_NGINX_HTML_DIR/a.sock:/u; }
--- tcp_listen: $TEST_NGINX_HTML_DIR/a.sock
--- tcp_reply_delay: 20ms
--- tcp_reply eval
["HTTP/1.0 200 OK\r\n", "\r\nhel", "lo"]
--- tcp_query eval
qr{^GET /u HTTP/1.0\r\n}
--- request
GET /t
--- response_body chop
hello



=== TEST 3: a reply made from the query
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
sub { my ($line) = $_[0] =~ /^(.*?)\r/; ["HTTP/1.0 200 OK\r\n\r\n", "you said $line"] }
--- request
GET /t?x
--- response_body chop
you said GET /t?x HTTP/1.0
--- no_error_log
[error]



=== TEST 4: no reply, the connection is closed
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- request
GET /t
--- error_code: 502
--- response_body_like: 502 Bad Gateway
--- error_log
upstream prematurely closed connection



=== TEST 5: tcp_shutdown of the sending half
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; proxy_set_header Host x; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_shutdown: 1
--- tcp_no_close
--- request
GET /t
--- error_code: 502
--- response_body_like: 502 Bad Gateway
--- error_log
upstream prematurely closed connection



=== TEST 6: tcp_no_close
--- config
    location /t { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1; proxy_read_timeout 50ms; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- request
GET /t
--- error_code: 504
--- response_body_like: 504 Gateway
--- error_log
upstream timed out



=== TEST 7: udp_listen
--- config
    resolver 127.0.0.1:$TEST_NGINX_RAND_PORT_2 ipv6=off;
    location /t { set $name r$connection.foo.test; proxy_pass http://$name:$server_port/u; }
    location /u { return 200 "resolved"; }
--- udp_listen: $TEST_NGINX_RAND_PORT_2
--- udp_reply eval
$::dns_reply
--- udp_query eval
qr/\x03foo\x04test\x00\x00\x01/
--- request
GET /t
--- response_body chop
resolved
--- no_error_log
[error]



=== TEST 8: udp_reply_delay
--- config
    resolver 127.0.0.1:$TEST_NGINX_RAND_PORT_2 ipv6=off;
    resolver_timeout 50ms;
    location /t { set $name foo.test; proxy_pass http://$name:$server_port/u; }
--- udp_listen: $TEST_NGINX_RAND_PORT_2
--- udp_reply_delay: 0.2
--- udp_reply eval
$::dns_reply
--- request
GET /t
--- error_code: 502
--- error_log
Operation timed out
--- response_body_like: 502
