# Filters in Lua on what upstreams send: HTTP/1.0 and 1.1, with a length, chunked, until
# the end, in nginx's cache. `?h=1` lets the header filter wait, `?b=1` the body filter.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Peer;

# Answers as the path says, pausing where there is an underscore.
Test::Nginx::Peer->tcp( UP => sub {
    my ($socket) = @_;
    my %answer = (
        old     => "HTTP/1.0 200 OK\r\nX-Up: old\r\n\r\none\n_two\n_three\n",
        length  => "HTTP/1.1 200 OK\r\nX-Up: length\r\nContent-Length: 14\r\n\r\none\n_two\n_three\n",
        chunked => "HTTP/1.1 200 OK\r\nX-Up: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
            . "4\r\none\n\r\n_4\r\ntwo\n\r\n_6\r\nthree\n\r\n_0\r\n\r\n",
        cut     => "HTTP/1.1 200 OK\r\nX-Up: cut\r\nContent-Length: 100\r\n\r\none\n_",
        late    => "_HTTP/1.1 404 Not here\r\nX-Up: late\r\nContent-Length: 5\r\n\r\n_none\n",
        nothing => "",
    );
    while (1) {
        my $path;
        while ( defined( my $line = <$socket> ) ) {
            $path = $1 if $line =~ m{^\S+ /\w+/(\w+)};
            last if $line eq "\r\n";
        }
        return if !defined $path;
        my @parts = split /_/, $answer{$path}, -1;
        for my $i ( 0 .. $#parts ) {
            select undef, undef, undef, 0.03 if $i;
            syswrite $socket, $parts[$i];
        }
        return if $path =~ /old|cut|nothing/;
    }
} );

# What the nginx under test has.
our $modules = do { my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx'; `$nginx -V 2>&1` };

our $body = "one\ntwo\nthree\n";

# All ways to wait and not to wait.
our @ways = ( '', 'h=1', 'b=1', 'h=1&b=1' );
sub each_way { my ($f) = @_; return [ map { $f->($_) } @ways ] }

add_block_preprocessor( sub {
    my ($block) = @_;
    $block->set_value( http_config => <<'END' . ( $block->http_config // '' ) );
upstream up { server 127.0.0.1:$TEST_NGINX_UP_PORT; keepalive 2; }
proxy_http_version 1.1;
proxy_set_header Connection "";
header_filter_by_lua_block {
    if ngx.var.arg_h then ngx.sleep(0.05) end
    ngx.header.X_Seen = ngx.status .. " " .. tostring(ngx.header.X_Up) .. " " .. tostring(ngx.header.content_length)
    ngx.header.content_length = nil
}
body_filter_by_lua_block {
    if ngx.var.arg_b then ngx.sleep(0.02) end
    ngx.arg[1] = ngx.arg[1]:upper()
    if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. "." end
}
END
} );

no_long_string();
run_tests();

__DATA__

=== TEST 1: buffered
--- config
    location /p/ { proxy_pass http://up; }
--- pipelined_requests eval
[ map { my $p = $_; map { "GET /p/$p?$_" } @main::ways } qw( old length chunked ) ]
--- response_headers eval
[ ("X-Seen: 200 old nil") x 4, ("X-Seen: 200 length 14") x 4, ("X-Seen: 200 chunked nil") x 4 ]
--- response_body eval
[ (uc($main::body) . ".") x 12 ]
--- no_error_log
[error]
[alert]



=== TEST 2: not buffered
--- config
    location /p/ { proxy_pass http://up; proxy_buffering off; }
--- pipelined_requests eval
[ map { my $p = $_; map { "GET /p/$p?$_" } @main::ways } qw( old length chunked ) ]
--- response_headers eval
[ ("X-Seen: 200 old nil") x 4, ("X-Seen: 200 length 14") x 4, ("X-Seen: 200 chunked nil") x 4 ]
--- response_body eval
[ (uc($main::body) . ".") x 12 ]
--- no_error_log
[error]
[alert]



=== TEST 3: HTTP/1.0 clients
--- config
    location /p/ { proxy_pass http://up; }
--- raw_request eval
main::each_way( sub { "GET /p/chunked?$_[0] HTTP/1.0\r\nHost: localhost\r\n\r\n" } )
--- response_headers eval
[ ("X-Seen: 200 chunked nil") x 4 ]
--- response_body eval
[ (uc($main::body) . ".") x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 4: HEAD
--- config
    location /p/ { proxy_pass http://up; }
    location /u/ { proxy_pass http://up/p/; proxy_method GET; }
--- pipelined_requests eval
[ map { my $p = $_; map { "HEAD $p?$_" } @main::ways } '/u/length', '/u/chunked' ]
--- response_headers eval
[ ("X-Seen: 200 length 14") x 4, ("X-Seen: 200 chunked nil") x 4 ]
--- response_body eval
[ ("") x 8 ]
--- no_error_log
[error]
[alert]



=== TEST 5: errors of the upstream, with error_page and without
--- config
    location /p/ { proxy_pass http://up; }
    location /e/ { proxy_pass http://up; proxy_intercept_errors on; error_page 404 =200 /page.txt; error_page 502 @named; }
    location = /page.txt { root html; }
    location @named { content_by_lua_block { ngx.status = 203 ngx.say("named") } }
--- user_files
>>> page.txt
page
--- request eval
[ map { my $p = $_; map { "GET $p?$_" } @main::ways } '/p/late', '/e/late', '/p/nothing', '/e/nothing' ]
--- error_code eval
[ (404) x 4, (200) x 4, (502) x 4, (203) x 4 ]
--- response_body_like eval
[ (qr/^NONE\n\.$/) x 4, (qr/^PAGE\n\.$/) x 4, (qr/502 BAD/) x 4, (qr/^NAMED\n\.$/) x 4 ]
--- no_error_log
[alert]
[crit]



=== TEST 6: a response that is cut stays cut
--- config
    location /p/ { proxy_pass http://up; }
--- request eval
main::each_way( sub { "GET /p/cut?$_[0]" } )
--- ignore_response
--- error_log
upstream prematurely closed connection
--- no_error_log
[alert]



=== TEST 7: the cache has what the upstream sent
--- http_config
    proxy_cache_path cache keys_zone=c:1m;
--- config
    location /p/ {
        proxy_pass http://up;
        proxy_cache c;
        proxy_cache_key $uri;
        proxy_cache_valid 1m;
        add_header X-Cache $upstream_cache_status;
    }
--- pipelined_requests eval
[ map { my $p = $_; map { "GET /p/$p?$_" } 'h=1&b=1', @main::ways } qw( length chunked ) ]
--- response_headers eval
[ map { ("X-Cache: MISS", ("X-Cache: HIT") x 4) } 1, 2 ]
--- response_body eval
[ (uc($main::body) . ".") x 10 ]
--- no_error_log
[error]
[alert]



=== TEST 8: HEAD and ranges from the cache
--- http_config
    proxy_cache_path cache keys_zone=c:1m;
--- config
    location /p/ {
        header_filter_by_lua_block { if ngx.var.arg_h then ngx.sleep(0.05) end ngx.header.X_Up = nil }
        body_filter_by_lua_block { if ngx.var.arg_b then ngx.sleep(0.02) end ngx.arg[1] = ngx.arg[1]:upper() }
        proxy_pass http://up;
        proxy_cache c;
        proxy_cache_key $uri;
        proxy_cache_valid 1m;
        proxy_force_ranges on;
    }
--- pipelined_requests eval
[ (map { "HEAD /p/length?$_" } @main::ways), (map { "GET /p/length?$_" } @main::ways) ]
--- more_headers eval
[ ("") x 4, ("Range: bytes=2-5") x 4 ]
--- error_code eval
[ (200) x 4, (206) x 4 ]
--- response_headers eval
[ ("! X-Up") x 4, ("Content-Range: bytes 2-5/14") x 4 ]
--- response_body eval
[ ("") x 4, ("E\nTW") x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 9: Lua sees and changes what gzip compresses
--- skip_eval: 12: $main::modules !~ /http_gunzip_module/
--- config
    gzip on;
    gzip_types *;
    gzip_min_length 1;
    gzip_http_version 1.0;
    gzip_proxied any;
    location /p/ { proxy_pass http://up; }
    location /g/ {
        header_filter_by_lua_block { ngx.header.X_Coding = ngx.header.content_encoding }
        body_filter_by_lua_block { }
        gzip off;
        gunzip on;
        proxy_set_header Accept-Encoding gzip;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/p/;
    }
--- pipelined_requests eval
main::each_way( sub { "GET /g/length?$_[0]" } )
--- response_headers eval
[ ("X-Coding: gzip\nX-Seen: 200 length 14") x 4 ]
--- response_body eval
[ (uc($main::body) . ".") x 4 ]
--- no_error_log
[error]
[alert]



=== TEST 10: with an unbuffered upstream each part goes out when its code has ended
--- config
    location /p/ {
        proxy_pass http://up;
        proxy_buffering off;
        body_filter_by_lua_block { ngx.sleep(0.01) ngx.log(ngx.WARN, "part ", #ngx.arg[1]) }
    }
--- request
GET /p/chunked?h=1
--- response_body eval
$main::body
--- grep_error_log eval
qr/part \d+/
--- grep_error_log_out eval
qr/^part \d+\n(part \d+\n)*part 0\n$/
--- no_error_log
[error]
