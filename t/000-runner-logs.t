# The runner itself: logs, user files, conditions, blocks that nginx must refuse.
use Test::Nginx::Socket::Lua;
use Cwd qw( cwd );

repeat_each(2);
plan tests => repeat_each() * ( blocks() * 3 + 6 ) + 2;

no_long_string();
env_to_nginx( 'FOO_TEST', 'BAR=a b' );
add_cleanup_handler( sub { } );
log_level('debug');

our $init_ran = 0;
run_tests();

__DATA__

=== TEST 1: error_log: text, and no_error_log
--- config
    location /t { return 200; }
--- request
GET /t
--- error_log
http request line: "GET /t HTTP/1.1"
generic phase: 0
--- no_error_log
[error]



=== TEST 2: error_log: a regex
--- config
    location /t { root html; }
--- request
GET /t/none
--- error_code: 404
--- error_log eval
qr{\[error\] .*? open\(\) ".*?/html/t/none" failed}
--- no_error_log
[crit]



=== TEST 3: error_log: a list
--- config
    location /t { root html; }
--- request
GET /t/none
--- error_code: 404
--- error_log eval
["GET /t/none", qr/No such f\w+/]
--- no_error_log eval
["[crit]", qr/\[alert\]/]



=== TEST 4: only this request's share of the log is looked at
--- config
    location /t { return 200; }
--- request
GET /t
--- grep_error_log eval
qr/http request line: "\w+ (?=\/t)/
--- grep_error_log_out
http request line: "GET 
--- access_log
GET /t
--- no_access_log
POST



=== TEST 5: grep_error_log_out that differs between repeats
--- config
    location /t { return 200; }
--- request
GET /t
--- grep_error_log eval
qr/start worker processes|using the "epoll" event method/
--- grep_error_log_out eval
["using the \"epoll\" event method\n", ""]
--- no_error_log
[error]



=== TEST 6: log_level
--- config
    location /t { root html; }
--- log_level: crit
--- request
GET /t/none
--- error_code: 404
--- no_error_log
[error]
[debug]



=== TEST 7: user_files with times, in directories
--- config
    location /f { root html; }
--- user_files
>>> f/a.txt 199801171935.33
first
>>> f/b.txt 1000000000@
second

>>> ../conf/extra
third
--- request eval
["GET /f/a.txt", "GET /f/b.txt"]
--- response_headers eval
["Last-Modified: " . POSIX::strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime POSIX::mktime(33, 35, 19, 17, 0, 98)),
"Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT"]
--- response_body eval
["first\n", "second\n\n"]



=== TEST 8: user_files as data
--- config
    location /f { root html; }
--- user_files eval
[[ "f/a.txt" => "no newline" ]]
--- request
GET /f/a.txt
--- response_body chop
no newline
--- no_error_log
[error]



=== TEST 9: must_die
--- config
    location /t { return a b c; }
--- request
GET /t
--- must_die
--- error_log
invalid number of arguments in "return" directive
--- no_error_log
[error]



=== TEST 10: must_die with an exit code
--- http_config
    nonsense on;
--- config
--- must_die: 1
--- error_log eval
qr/\[emerg\] .*? unknown directive "nonsense" in .*?nginx.conf:25/
--- no_error_log
[alert]



=== TEST 11: line numbers of the configuration
--- config
    location = /t {
        bad_directive;
    }
--- must_die
--- error_log
unknown directive "bad_directive"
nginx.conf:40



=== TEST 12: skip_nginx
--- config
    location /t { return 200; }
--- request
GET /t
--- response_body
not so
--- skip_nginx: 3: >= 1.2.0



=== TEST 13: skip_nginx2, and skip_openssl that does not apply
--- config
    location /t { return 200; }
--- request
GET /t
--- response_body
not so
--- skip_openssl: 9: < 0.9.8zz
--- skip_nginx2: 3: >= 1.2.0 and < 99.1



=== TEST 14: skip_eval
--- config
    location /t { return 200; }
--- request
GET /t
--- skip_eval: 3: $^O eq 'linux'



=== TEST 15: init runs once, before the requests
--- init
$::init_ran++;
--- config
    location /t { return 200 "ok"; }
--- request
GET /t
--- response_body_filters eval
sub { "$::init_ran $_[0]" }
--- response_body chop
1 ok
--- no_error_log
[error]



=== TEST 16: shutdown_error_log, once a block
--- config
    location /t { return 200 "ok"; }
--- request
GET /t
--- response_body chop
ok
--- no_error_log
[error]
--- shutdown_error_log
exit
--- no_shutdown_error_log
[alert]



=== TEST 17: wait, for what nginx logs later
--- config
    location /t { return 200 "ok"; }
--- request
GET /t
--- response_body chop
ok
--- wait: 0.01
--- error_log
close http connection



=== TEST 18: todo
--- config
    location /t { return 200 "ok"; }
--- request
GET /t
--- error_code: 404
--- response_body chop
not so
--- todo: 2: to see that a todo block may fail



=== TEST 19: systemtap expectations are skipped
--- config
    location /t { return 200 "ok"; }
--- stap
F(ngx_http_finalize_request) { printf("x") }
--- stap_out
x
--- request
GET /t
--- response_body chop
ok



=== TEST 20: skipped altogether
--- config
    nonsense;
--- SKIP



=== TEST 21: the last
--- config
    location /t { return 200 "ok"; }
--- request
GET /t
--- response_body chop
ok
--- no_error_log
[error]
--- LAST



=== TEST 22: not reached
--- config
    nonsense;
