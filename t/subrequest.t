# Lua in subrequests that nginx's own modules make.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 31;
no_long_string();
run_tests();

__DATA__

=== TEST 1: SSI includes, in order, whatever takes longer
--- config
    location = /t.html { ssi on; }
    location /slow { content_by_lua_block { ngx.say("slow 1") ngx.flush(true) ngx.sleep(0.02) ngx.say("slow 2") } }
    location /fast { content_by_lua_block { ngx.say("fast ", ngx.is_subrequest) } }
    location /waits { content_by_lua_block { ngx.say("waits") ngx.flush(true) ngx.sleep(0.001) ngx.say("waited") } }
--- user_files
>>> t.html
[<!--#include virtual="/slow" --><!--#include virtual="/fast" --><!--#include virtual="/waits" -->]
--- request
GET /t.html
--- response_body
[slow 1
slow 2
fast true
waits
waited
]



=== TEST 2: SSI in Lua's own output
--- config
    location /t {
        ssi on;
        ssi_types *;
        content_by_lua_block {
            ngx.say('a <!--#include virtual="/sub" --> b')
            ngx.flush(true)
            ngx.sleep(0.001)
            ngx.say('c <!--#include virtual="/sub" --> d')
        }
    }
    location /sub { content_by_lua_block { ngx.sleep(0.005) ngx.print("sub") } }
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["a sub b\nc sub d\n", "a sub b\nc sub d\n"]



=== TEST 3: auth_request to Lua
--- config
    location /t {
        auth_request /auth;
        content_by_lua_block { ngx.say("in") }
    }
    location /auth {
        internal;
        content_by_lua_block {
            ngx.sleep(0.001)
            local args = ngx.req.get_uri_args()
            ngx.log(ngx.WARN, "sub ", ngx.is_subrequest)
            ngx.exit(403)
        }
    }
    location /u {
        auth_request /grant;
        access_by_lua_block { ngx.sleep(0.001) }
        content_by_lua_block { ngx.say("in") }
    }
    location /grant { content_by_lua_block { ngx.sleep(0.001) ngx.exit(200) } }
    location /v {
        auth_request /body;
        content_by_lua_block { ngx.req.read_body() ngx.say(ngx.req.get_body_data()) }
    }
    location /body { content_by_lua_block { ngx.say("not shown") } }
    location /w {
        auth_request /broken;
        content_by_lua_block { ngx.say("not reached") }
    }
    location /broken { content_by_lua_block { error("x") } }
--- pipelined_requests eval
["GET /t", "GET /u", "POST /v\nbody", "GET /w"]
--- error_code eval
[403, 200, 200, 500]
--- response_body_like eval
["403 Forbidden", '\Ain\n\z', '\Abody\n\z', "500"]



=== TEST 4: mirror
--- config
    location /t {
        mirror /mirror;
        content_by_lua_block { ngx.req.read_body() ngx.say("main ", ngx.req.get_body_data()) }
    }
    location /mirror {
        internal;
        content_by_lua_block {
            ngx.req.read_body()
            ngx.sleep(0.02)
            ngx.log(ngx.WARN, "mirror ", ngx.req.get_body_data())
        }
    }
--- request
POST /t
abc
--- response_body
main abc
--- wait: 0.1
--- error_log
mirror abc



=== TEST 5: add_before_body, add_after_body
--- config
    default_type text/html;
    location /t {
        add_before_body /before;
        add_after_body /after;
        content_by_lua_block { ngx.say("main") ngx.flush(true) ngx.sleep(0.005) ngx.say("end") }
    }
    location /before { content_by_lua_block { ngx.sleep(0.01) ngx.say("before") } }
    location /after { content_by_lua_block { ngx.sleep(0.001) ngx.say("after") } }
--- request
GET /t
--- response_body
before
main
end
after



=== TEST 6: HEAD of the main request
--- config
    location = /t.html { ssi on; }
    location /sub { content_by_lua_block { ngx.sleep(0.001) ngx.say("sub ", ngx.req.get_method()) } }
    location /get { content_by_lua_block { ngx.say("get") } }
--- user_files
>>> t.html
[<!--#include virtual="/sub" -->]
--- pipelined_requests eval
["HEAD /t.html", "GET /get"]
--- response_body eval
["", "get\n"]



=== TEST 7: errors and statuses in a subrequest do not end the main one
--- config
    location = /t.html { ssi on; }
    location /404 { content_by_lua_block { ngx.exit(404) } }
    location /500 { content_by_lua_block { ngx.sleep(0.001) error("x") } }
    location /201 { content_by_lua_block { ngx.exit(201) } }
    location /eof { content_by_lua_block { ngx.say("eof") ngx.eof() ngx.sleep(0.001) } }
--- user_files
>>> t.html
[<!--#include virtual="/404" --><!--#include virtual="/500" --><!--#include virtual="/201" --><!--#include virtual="/eof" -->]
--- request
GET /t.html
--- response_body_like
\A\[<html>\r
<head><title>404 Not Found.*<head><title>500 Internal.*eof
\]
\z



=== TEST 8: the client goes away while subrequests wait
--- config
    location = /t.html { ssi on; }
    location /sub {
        content_by_lua_block {
            ngx.say("sub")
            ngx.flush(true)
            ngx.sleep(0.3)
            for i = 1, 3 do ngx.say("sub") ngx.flush(true) ngx.sleep(0.05) end
        }
    }
--- user_files
>>> t.html
[<!--#include virtual="/sub" --><!--#include virtual="/sub" -->]
--- request
GET /t.html
--- abort
--- timeout: 0.1
--- wait: 0.7
--- ignore_response
--- no_error_log
[alert]
[crit]



=== TEST 9: includes in what is written after a wait run while the page waits again
--- config
    ssi on;
    default_type text/html;
    location /flush {
        content_by_lua_block {
            ngx.sleep(0.001)
            ngx.say('<!--#include virtual="/sub" -->')
            ngx.flush(true)
            ngx.say("end")
        }
    }
    location /sleep {
        content_by_lua_block {
            ngx.sleep(0.001)
            ngx.say('<!--#include virtual="/sub?mark" -->')
            ngx.sleep(0.1)
            ngx.say(package.loaded.mark and "in time" or "too late")
            package.loaded.mark = nil
        }
    }
    location /sub {
        content_by_lua_block {
            package.loaded.mark = ngx.var.args
            ngx.print("sub")
        }
    }
--- request eval
["GET /flush", "GET /sleep"]
--- response_body eval
["sub\nend\n", "sub\nin time\n"]
