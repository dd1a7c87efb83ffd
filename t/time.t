# Dates: ngx.today, ngx.localtime, ngx.utctime, ngx.http_time, ngx.cookie_time,
# ngx.parse_http_time, ngx.req.start_time.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;
use POSIX ();

# Not UTC, and with minutes.
$ENV{TZ} = 'XXX-05:45';
POSIX::tzset();

run_tests();

__DATA__

=== TEST 1: now, here and in UTC
--- main_config
    env TZ;
--- lua
ngx.update_time()
local now = ngx.time()
show(ngx.utctime() == os.date("!%Y-%m-%d %H:%M:%S", now))
show(ngx.localtime() == os.date("%Y-%m-%d %H:%M:%S", now))
show(ngx.localtime() == os.date("!%Y-%m-%d %H:%M:%S", now + 5 * 3600 + 45 * 60))
show(ngx.today() == os.date("%Y-%m-%d", now))
show(#ngx.utctime(), #ngx.localtime(), #ngx.today())
--- response_body
true
true
true
true
19 19 10



=== TEST 2: as HTTP and cookies write it
--- lua
show(ngx.http_time(1290079655))
show(ngx.cookie_time(1290079655))
show(ngx.http_time(0), ngx.cookie_time(0))
show(ngx.http_time(-1))
show(ngx.cookie_time(4102444800))
show(ngx.http_time("1290079655"), ngx.http_time(1290079655.9))
show(ngx.http_time(253402300799), ngx.http_time(1e300), ngx.http_time(0 / 0))
fails(ngx.http_time)
show(ngx.cookie_time(0, 2))
fails(ngx.http_time, "x")
fails(ngx.cookie_time, {})
--- response_body
"Thu, 18 Nov 2010 11:27:35 GMT"
"Thu, 18-Nov-10 11:27:35 GMT"
"Thu, 01 Jan 1970 00:00:00 GMT" "Thu, 01-Jan-70 00:00:00 GMT"
"Thu, 01 Jan 1970 00:00:00 GMT"
"Fri, 01-Jan-2100 00:00:00 GMT"
"Thu, 18 Nov 2010 11:27:35 GMT" "Thu, 18 Nov 2010 11:27:35 GMT"
"Fri, 31 Dec 9999 23:59:59 GMT" "Fri, 31 Dec 9999 23:59:59 GMT" "Thu, 01 Jan 1970 00:00:00 GMT"
number argument only
"Thu, 01-Jan-70 00:00:00 GMT"
number argument only
number argument only



=== TEST 3: reading what HTTP writes
--- lua
local parse = ngx.parse_http_time
show(parse("Thu, 18 Nov 2010 11:27:35 GMT"))
show(parse("Thursday, 18-Nov-10 11:27:35 GMT"))
show(parse("Thu Nov 18 11:27:35 2010"))
show(parse("Thu, 01 Jan 1970 00:00:00 GMT"))
show(parse("hello"), parse(""), parse("Thu, 18 Xxx 2010 11:27:35 GMT"), parse("Thu, 99 Nov 2010 11:27:35 GMT"))
for n = 0, 40 do
    assert(parse((","):rep(n)) == nil and parse(("Thu, 18 Nov 2010 11:27:35 GMT"):sub(1, n % 23)) == nil)
end
fails(parse)
fails(parse, nil)
--- response_body
1290079655
1290079655
1290079655
0
nil nil nil nil
string argument only
string argument only



=== TEST 4: when the request began
--- lua
local start = ngx.req.start_time()
ngx.sleep(0.05)
ngx.update_time()
show(ngx.req.start_time() == start)
show(t.about(ngx.now() - start, 0.05))
--- response_body
true
"about 0.05"
