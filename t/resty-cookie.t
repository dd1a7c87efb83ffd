# Debian's lua-nginx-cookie, as it is: cookies of the request read, cookies of the response set.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;

plan skip_all => 'lua-nginx-cookie was not unpacked' if !lua_library('resty/cookie.lua');
plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: cookies of the request, in one line
--- lua
local cookie = assert(require("resty.cookie"):new())
show(cookie:get("SID"), cookie:get("lang"), cookie:get("none"))
show(cookie:get_all())
--- more_headers
Cookie: SID=31d4d96e407aad42; lang=en-US; theme="dark mode"
--- response_body
"31d4d96e407aad42" "en-US" nil
{SID="31d4d96e407aad42" lang="en-US" theme="\"dark"}
--- no_error_log
[error]



=== TEST 2: cookies of the request, in two lines
--- lua
local cookie = assert(require("resty.cookie"):new())
show(cookie:get_all())
--- more_headers
Cookie: a=1
Cookie: b=2
--- response_body
{a="1" b="2"}
--- no_error_log
[error]



=== TEST 3: no cookie
--- lua
local cookie = assert(require("resty.cookie"):new())
show(cookie:get("a"))
show(cookie:get_all())
--- response_body
nil "no cookie found in the current request"
nil "no cookie found in the current request"
--- no_error_log
[error]



=== TEST 4: one cookie set, the same again, a second and a third
--- lua
local cookie = assert(require("resty.cookie"):new())
local function set(fields)
    ngx.header["X-Set"] = tostring(cookie:set(fields))
end
set { key = "Name", value = "Bob", path = "/", domain = "a.test", secure = true, httponly = true,
      expires = "Wed, 09 Jun 2021 10:18:14 GMT", max_age = 50, extension = "a4334aebaec" }
local one = ngx.header["Set-Cookie"]
set { key = "Name", value = "Bob", path = "/", domain = "a.test", secure = true, httponly = true,
      expires = "Wed, 09 Jun 2021 10:18:14 GMT", max_age = 50, extension = "a4334aebaec" }
local same = ngx.header["Set-Cookie"]
set { key = "Age", value = "20" }
set { key = "Age", value = "20" }
set { key = "Third", value = "x" }
local three = ngx.header["Set-Cookie"]
show(one)
show(same == one)
show(three)
show(cookie:set { key = "x" })
--- response_headers
Set-Cookie: Name=Bob; Expires=Wed, 09 Jun 2021 10:18:14 GMT; Max-Age=50; Domain=a.test; Path=/; Secure; HttpOnly; a4334aebaec, Age=20, Third=x
X-Set: true
--- response_body
"Name=Bob; Expires=Wed, 09 Jun 2021 10:18:14 GMT; Max-Age=50; Domain=a.test; Path=/; Secure; HttpOnly; a4334aebaec"
true
{1="Name=Bob; Expires=Wed, 09 Jun 2021 10:18:14 GMT; Max-Age=50; Domain=a.test; Path=/; Secure; HttpOnly; a4334aebaec" 2="Age=20" 3="Third=x"}
nil "missing cookie field \"key\" or \"value\""
--- no_error_log
[error]
