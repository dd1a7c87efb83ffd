# ngx.header.NAME: headers of the response, written, read, removed.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * (blocks() * 2 + 81);

no_long_string();
run_tests();

__DATA__

=== TEST 1: the whole header of a response, byte by byte
--- config
    location /t {
        content_by_lua_block {
            ngx.header.content_type = "text/html"
            ngx.header["X-My-Header"] = "blah blah"
            ngx.header.x_other = 32
            ngx.header.content_length = 3
            ngx.say("ok")
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{\AHTTP/1\.1 200 OK\r\nServer: nginx[^\r\n]*\r\nDate: [^\r\n]{29}\r\nContent-Type: text/html\r\nContent-Length: 3\r\nConnection: close\r\nX-My-Header: blah blah\r\nx-other: 32\r\n\z}
--- response_body
ok



=== TEST 2: names are read in any case, with underscores or hyphens
--- config
    location /t {
        content_by_lua_block {
            ngx.header["X-Foo-Bar"] = "1"
            local h = ngx.header
            ngx.say(h.x_foo_bar, h["x-foo-bar"], h["X_FOO-BAR"], h.X_Foo_Bar)
            ngx.say(h.x_none, " ", h["x-foo"], " ", h.x_foo_bar_2)
        }
    }
--- request
GET /t
--- response_body
1111
nil nil nil



=== TEST 3: a second value replaces the first, whatever the case
--- config
    location /t {
        content_by_lua_block {
            ngx.header["X-Foo"] = "one"
            ngx.header.x_foo = "two"
            ngx.header["X-FOO"] = 3.5
            ngx.say(ngx.header.x_foo)
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{close\r\nX-Foo: 3\.5\r\n\z}
--- response_body
3.5



=== TEST 4: nil, an empty string and an empty table remove a header
--- config
    location /t {
        content_by_lua_block {
            local read = {}
            for i, none in ipairs{ false, "", {}, {""} } do
                local name = "x_" .. i
                ngx.header[name] = "there"
                ngx.header[name] = none or nil
                ngx.header[name] = none or nil
                read[i] = tostring(ngx.header[name])
            end
            ngx.say(read)
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{Connection: close\r\n\z}
--- response_body eval
"nilnilnilnil\n"



=== TEST 5: several values make several lines, and are read as a table
--- config
    location /t {
        content_by_lua_block {
            ngx.header["Set-Cookie"] = { "a=32; path=/", "b=4; path=/", 5 }
            local cookies = ngx.header.set_cookie
            ngx.say(type(cookies), " ", #cookies, " ", table.concat(cookies, "|"))
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{close\r\nSet-Cookie: a=32; path=/\r\nSet-Cookie: b=4; path=/\r\nSet-Cookie: 5\r\n\z}
--- response_body
table 3 a=32; path=/|b=4; path=/|5



=== TEST 6: the next assignment replaces all lines
--- config
    location /t {
        content_by_lua_block {
            ngx.header.foo = { "a", "b", "c" }
            ngx.header.foo = "d"
            ngx.header.bar = { "a", "b" }
            ngx.header.bar = { "c", "", "e" }
            ngx.header.baz = { "a", "b" }
            ngx.header.baz = nil
            ngx.say(ngx.header.foo, " ", table.concat(ngx.header.bar, ","), " ", ngx.header.baz)
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{close\r\nfoo: d\r\nbar: c\r\nbar: e\r\n\z}
--- response_body
d c,e nil



=== TEST 7: more values than Lua's stack has places by default
--- config
    location /t {
        content_by_lua_block {
            local values = {}
            for i = 1, 60 do values[i] = "v" .. i end
            ngx.header.many = values
            local read = ngx.header.many
            ngx.say(#read, " ", read[1], " ", read[60])
        }
    }
--- request
GET /t
--- response_body
60 v1 v60



=== TEST 8: of a header with a single value, the last in a table counts
--- config
    location /t {
        content_by_lua_block {
            ngx.header.content_type = { "text/a", "text/b" }
            ngx.header.etag = { '"1"', '"2"' }
            ngx.header.expires = { "a", "" }
            ngx.say(ngx.header.content_type, " ", ngx.header.etag, " ", ngx.header.expires)
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{Content-Type: text/b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\netag: "2"\r\n\z}
--- response_body
text/b "2" nil



=== TEST 9: Cache-Control, Link and WWW-Authenticate take several values
--- config
    location /t {
        content_by_lua_block {
            for i, name in ipairs{ "Cache-Control", "Link", "WWW-Authenticate" } do
                ngx.header[name] = "first"
                ngx.header[name] = { "a", "b", "c" }
                assert(table.concat(ngx.header[name]) == "abc")
            end
            ngx.say("ok")
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{close\r\nCache-Control: a\r\nCache-Control: b\r\nCache-Control: c\r\nLink: a\r\nLink: b\r\nLink: c\r\nWWW-Authenticate: a\r\nWWW-Authenticate: b\r\nWWW-Authenticate: c\r\n\z}
--- response_body
ok



=== TEST 10: Cache-Control removed, then set by nginx's expires
--- config
    location /t {
        expires 1h;
        content_by_lua_block {
            ngx.header.cache_control = { "private", "no-store" }
            ngx.header.cache_control = nil
            ngx.header.expires = "never"
            ngx.say("ok")
        }
    }
    location /u {
        expires 1h;
        content_by_lua_block {
            ngx.header.cache_control = { "private", "no-store" }
            ngx.header.expires = nil
            ngx.say("ok")
        }
    }
--- request eval
["GET /t", "GET /u"]
--- response_headers eval
["Cache-Control: max-age=3600", "Cache-Control: max-age=3600"]
--- response_body eval
["ok\n", "ok\n"]



=== TEST 11: Content-Type: none in place of the default
--- config
    default_type text/x-default;
    location /default { content_by_lua_block { ngx.say(ngx.header.content_type) } }
    location /nil {
        content_by_lua_block {
            ngx.header.content_type = nil
            ngx.say(ngx.header.content_type)
        }
    }
    location /removed {
        content_by_lua_block {
            ngx.header.content_type = "text/a"
            ngx.header.content_type = ""
            ngx.say(ngx.header.content_type)
        }
    }
    location /again {
        content_by_lua_block {
            ngx.header.content_type = nil
            ngx.header.content_type = "text/a"
            ngx.say(ngx.header.content_type)
        }
    }
--- request eval
["GET /default", "GET /nil", "GET /removed", "GET /again"]
--- response_headers eval
["Content-Type: text/x-default", "!Content-Type", "!Content-Type", "Content-Type: text/a"]
--- response_body eval
["nil\n", "nil\n", "nil\n", "text/a\n"]



=== TEST 12: Content-Type with a charset is left alone by the charset directive
--- config
    charset utf-8;
    location /own {
        content_by_lua_block {
            ngx.header.content_type = 'text/html; charset="gbk"'
            ngx.say(ngx.header.content_type)
        }
    }
    location /none {
        content_by_lua_block {
            ngx.header.content_type = "text/html; charset=gbk"
            ngx.header.content_type = "text/plain"
            ngx.say(ngx.header.content_type)
        }
    }
    location /parameter {
        content_by_lua_block {
            ngx.header.content_type = "text/html; x=y"
            ngx.say(ngx.header.content_type)
        }
    }
--- request eval
["GET /own", "GET /none", "GET /parameter"]
--- response_headers eval
['Content-Type: text/html; charset="gbk"', "Content-Type: text/plain; charset=utf-8", "Content-Type: text/html; x=y"]
--- response_body eval
["text/html; charset=\"gbk\"\n", "text/plain\n", "text/html; x=y\n"]



=== TEST 13: Content-Length: set, read, removed
--- config
    location /t {
        content_by_lua_block {
            ngx.header["content-length"] = "10"
            local set = ngx.header.content_length
            ngx.header.content_length = nil
            local none = ngx.header.content_length
            ngx.header.Content_Length = 12
            ngx.say(type(set), set, type(none))
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{text/plain\r\nContent-Length: 12\r\nConnection: close\r\n\z}
--- response_body
string10nil



=== TEST 14: Content-Length must be a length
--- config
    location /t {
        content_by_lua_block {
            local errors = {}
            for _, value in ipairs{ "abc", "-1", "1.5", "+1", "99999999999999999999", { "1", "x" } } do
                table.insert(errors, select(2, pcall(function() ngx.header.content_length = value end)))
            end
            ngx.say(table.concat(errors, "\n"))
        }
    }
--- request
GET /t
--- response_body eval
CORE::join "", map { "content_by_lua(nginx.conf:40):4: invalid value \"$_\" of the header Content-Length\n" }
    "abc", "-1", "1.5", "+1", "99999999999999999999", "x"



=== TEST 15: Location: an address and a path are sent as they are
--- config
    location /address {
        content_by_lua_block {
            ngx.header.location = "http://example.com/a b"
            ngx.exit(302)
        }
    }
    location /path {
        content_by_lua_block {
            ngx.header.Location = "http://example.com/"
            ngx.header.location = "/elsewhere"
            ngx.status = 301
            ngx.say(ngx.header.location)
        }
    }
    location /removed {
        content_by_lua_block {
            ngx.header.location = "/elsewhere"
            ngx.header.location = nil
            ngx.say(ngx.header.location)
        }
    }
--- request eval
["GET /address", "GET /path", "GET /removed"]
--- error_code eval
[302, 301, 200]
--- response_headers eval
["Location: http://example.com/a b", "Location: /elsewhere", "!Location"]
--- response_body_like eval
["302 Found", '\A/elsewhere\n\z', '\Anil\n\z']



=== TEST 16: Last-Modified, and nginx's answer to If-Modified-Since
--- config
    location /t {
        content_by_lua_block {
            ngx.header.last_modified = "Thu, 18 Nov 2010 11:27:35 GMT"
            ngx.say(ngx.header.last_modified)
        }
    }
    location /removed {
        content_by_lua_block {
            ngx.header.last_modified = "Thu, 18 Nov 2010 11:27:35 GMT"
            ngx.header.last_modified = nil
            ngx.say(ngx.header.last_modified)
        }
    }
--- request eval
["GET /t", "GET /t", "GET /removed"]
--- more_headers eval
["", "If-Modified-Since: Thu, 18 Nov 2010 11:27:35 GMT", "If-Modified-Since: Thu, 18 Nov 2010 11:27:35 GMT"]
--- error_code eval
[200, 304, 200]
--- response_headers eval
["Last-Modified: Thu, 18 Nov 2010 11:27:35 GMT", "Last-Modified: Thu, 18 Nov 2010 11:27:35 GMT", "!Last-Modified"]
--- response_body eval
["Thu, 18 Nov 2010 11:27:35 GMT\n", "", "nil\n"]



=== TEST 17: ETag, and nginx's answer to If-None-Match
--- config
    location /t {
        content_by_lua_block {
            ngx.header.ETag = '"abc"'
            ngx.say(ngx.header.etag)
        }
    }
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
["", 'If-None-Match: "abc"']
--- error_code eval
[200, 304]
--- response_headers eval
['ETag: "abc"', 'ETag: "abc"']
--- response_body eval
["\"abc\"\n", ""]



=== TEST 18: Server and Date: in place of nginx's, or none
--- config
    location /own {
        content_by_lua_block {
            ngx.header.server = "mine"
            ngx.header.date = "today"
            ngx.say(ngx.header.server, ngx.header.date)
        }
    }
    location /none {
        content_by_lua_block {
            ngx.header.server = nil
            ngx.header.date = nil
            ngx.say(ngx.header.server, ngx.header.date)
        }
    }
    location /again {
        content_by_lua_block {
            ngx.header.server = nil
            ngx.header.server = "mine"
            ngx.header.date = nil
            ngx.header.date = { "a", "b" }
            ngx.say(ngx.header.server, ngx.header.date)
        }
    }
--- request eval
["GET /own", "GET /none", "GET /again"]
--- raw_response_headers_like eval
[qr{OK\r\nContent-Type.*close\r\nserver: mine\r\ndate: today\r\n\z}s,
 qr{\AHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\z},
 qr{OK\r\nContent-Type.*close\r\nserver: mine\r\ndate: b\r\n\z}s]
--- response_body eval
["minetoday\n", "nilnil\n", "mineb\n"]



=== TEST 19: Content-Encoding, Content-Range, Refresh, Expires, Accept-Ranges
--- config
    gzip on;
    gzip_min_length 1;
    gzip_types text/plain;
    location /t {
        content_by_lua_block {
            ngx.header.content_encoding = "rot13"
            ngx.header.content_range = "bytes 0-1/3"
            ngx.header.refresh = "1; url=/"
            ngx.header.expires = "Thu, 18 Nov 2010 11:27:35 GMT"
            ngx.header.accept_ranges = "none"
            ngx.say(ngx.header.accept_ranges, ngx.header.refresh)
        }
    }
--- request
GET /t
--- more_headers
Accept-Encoding: gzip
--- raw_response_headers_like eval
qr{close\r\ncontent-encoding: rot13\r\ncontent-range: bytes 0-1/3\r\nrefresh: 1; url=/\r\nexpires: Thu, 18 Nov 2010 11:27:35 GMT\r\naccept-ranges: none\r\n\z}
--- response_body
none1; url=/



=== TEST 20: Connection: nginx writes the line, and keeps to it
--- config
    location /t {
        content_by_lua_block {
            local before = ngx.header.connection
            ngx.header.connection = "close"
            ngx.say(before, " ", ngx.header.connection)
        }
    }
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: localhost\r\n\r\nGET /t HTTP/1.1\r\nHost: localhost\r\n\r\n"
--- raw_response_headers_like eval
qr{chunked\r\nConnection: close\r\n\z}
--- response_body
keep-alive close



=== TEST 21: Connection: other values are lines of their own
--- config
    location /t {
        content_by_lua_block {
            ngx.header.connection = "Keep-Alive"
            ngx.header.connection = "Upgrade"
            ngx.header.upgrade = "h2c"
            ngx.status = 426
            ngx.say("no")
        }
    }
--- request
GET /t
--- error_code: 426
--- raw_response_headers_like eval
qr{\r\nConnection: close\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\z}
--- response_body
no



=== TEST 22: nothing in a name or value can begin a line
--- config
    location /t {
        content_by_lua_block {
            ngx.header["a\r\nSet-Cookie: b=1\r\n"] = "x"
            ngx.header.v = "1\r\nSet-Cookie: c=1\0\t"
            ngx.header.w = { "\n", "\127" }
            ngx.header.content_type = "text/plain\r\nA: b"
            ngx.header.location = "/\n"
            ngx.say(ngx.header.v)
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{Content-Type: text/plain%0D%0AA: b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\na%0D%0ASet-Cookie%3A%20b%3D1%0D%0A: x\r\nv: 1%0D%0ASet-Cookie: c=1%00\t\r\nw: %0A\r\nw: %7F\r\nlocation: /%0A\r\n\z}
--- response_body eval
"1%0D%0ASet-Cookie: c=1%00\t\n"



=== TEST 23: too late: the response has begun
--- config
    location /t {
        content_by_lua_block {
            ngx.say("begun")
            ngx.header.foo = "bar"
            ngx.header.content_length = "not a length"
            ngx.say(ngx.header.foo)
        }
    }
    location /sent {
        content_by_lua_block {
            ngx.send_headers()
            ngx.header.foo = {}
            ngx.say("ok")
        }
    }
--- request eval
["GET /t", "GET /sent"]
--- response_headers eval
["!foo", "!foo"]
--- response_body eval
["begun\nnil\n", "ok\n"]
--- error_log eval
[qr{\[error\] .*? attempt to set ngx\.header\.HEADER after sending out response headers}]
--- no_error_log
[crit]



=== TEST 24: values and names of a wrong type
--- config
    location /t {
        content_by_lua_block {
            local function try(name, value)
                local ok, err = pcall(function() ngx.header[name] = value end)
                ngx.ctx_text = (ngx.ctx_text or "") .. (ok and tostring(ngx.header[name]) or err) .. "\n"
            end
            try("x", print)
            try("x", ngx.null)
            try("x", { "a", {} })
            try({}, "x")
            try("x-bool", true)
            try("x-cdata", 12345678901234567890ULL)
            try("x-text", setmetatable({ "element" }, { __tostring = function() return "no" end }))
            try("x-broken", { setmetatable({}, { __tostring = function() error("broken") end }) })
            try("x-number", { 1.5, false })
            try(7, "seven")
            ngx.print(ngx.ctx_text, ngx.header.x, ngx.header[nil], ngx.header[{}], "\n")
            ngx.ctx_text = nil
        }
    }
--- request
GET /t
--- response_body eval
my $at = "content_by_lua(nginx.conf:40):3:";
"$at bad argument #3 to '__newindex' (string, number, boolean, table or nil expected, got function)
$at bad argument #3 to '__newindex' (string, number, boolean, table or nil expected, got userdata)
$at bad argument #3 to '__newindex' (array of strings expected, got table)
$at bad argument #2 to '__newindex' (string expected, got table)
true
12345678901234567890ULL
element
content_by_lua(nginx.conf:40):13: broken
table: 0x
seven
nilnilnil
"
--- response_body_filters eval
sub { my $text = shift; $text =~ s/(table: 0x)\w+/$1/; $text }



=== TEST 25: HTTP/1.0
--- config
    location /t {
        content_by_lua_block {
            ngx.header.foo = { "a", "b" }
            ngx.header.connection = "close"
            ngx.say("ok")
        }
    }
--- request
GET /t HTTP/1.0
--- raw_response_headers_like eval
qr{\AHTTP/1\.1 200 OK\r\n.*Content-Length: 3\r\nConnection: close\r\nfoo: a\r\nfoo: b\r\n\z}s
--- response_body
ok



=== TEST 26: HEAD
--- config
    location /t {
        content_by_lua_block {
            ngx.header.foo = "bar"
            ngx.header.content_length = 1234
            ngx.say("ok")
        }
    }
--- request
HEAD /t
--- response_headers
foo: bar
Content-Length: 1234
--- response_body



=== TEST 27: set before content that another module makes
--- config
    location /file {
        rewrite_by_lua_block {
            ngx.header.foo = "from rewrite"
            ngx.header.server = nil
            ngx.header.content_type = "text/x-mine"
        }
        access_by_lua_block {
            ngx.header.bar = { ngx.header.foo, "from access" }
        }
    }
--- user_files
>>> file.html
hello
--- request
GET /file.html
--- response_headers
foo: from rewrite
bar: from rewrite, from access
Content-Type: text/x-mine
Content-Length: 6
!Server
--- response_body
hello



=== TEST 28: in front of a proxied response
--- config
    location /t {
        access_by_lua_block { ngx.header.foo = "mine" }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/backend;
    }
    location /backend {
        content_by_lua_block {
            ngx.header.set_cookie = { "a=1", "b=2" }
            ngx.header.cache_control = { "private", "max-age=1" }
            ngx.header.location = "/relative"
            ngx.status = 201
            ngx.say("backend")
        }
    }
--- request
GET /t
--- error_code: 201
--- response_headers
foo: mine
Set-Cookie: a=1, b=2
Cache-Control: private, max-age=1
--- response_body
backend



=== TEST 29: a subrequest has a header of its own
--- config
    location /t {
        ssi on;
        content_by_lua_block {
            ngx.header.content_type = "text/html"
            ngx.header.foo = "main"
            ngx.say('<!--#include virtual="/sub" -->')
        }
    }
    location /sub {
        content_by_lua_block {
            local before = ngx.header.foo
            ngx.header.foo = "sub"
            ngx.say(before, " ", ngx.header.foo)
        }
    }
--- request
GET /t
--- response_headers
foo: main
--- response_body_like eval
qr{\Anil sub\n\s*\z}



=== TEST 30: the header of an auth_request subrequest
--- config
    location /t {
        auth_request /auth;
        auth_request_set $who $sent_http_x_who;
        content_by_lua_block {
            ngx.say(ngx.header.x_who, " ", ngx.var.who)
        }
    }
    location /auth {
        content_by_lua_block {
            ngx.header.x_who = "me"
            ngx.header.www_authenticate = { "Basic", "Digest" }
            ngx.exit(204)
        }
    }
    location /denied {
        auth_request /auth-denied;
    }
    location /auth-denied {
        content_by_lua_block {
            ngx.header.www_authenticate = "Basic realm=x"
            ngx.exit(401)
        }
    }
--- request eval
["GET /t", "GET /denied"]
--- error_code eval
[200, 401]
--- response_headers eval
["!X-Who", "WWW-Authenticate: Basic realm=x"]
--- response_body_like eval
['\Anil me\n\z', "401 Authorization Required"]



=== TEST 31: ngx.header holds nothing to walk through
--- config
    location /t {
        content_by_lua_block {
            ngx.header.foo = "bar"
            ngx.say(next(ngx.header), " ", #ngx.header, " ", rawget(ngx.header, "foo"))
        }
    }
--- request
GET /t
--- response_body
nil 0 nil



=== TEST 32: underscores stay where lua_transform_underscores_in_response_headers is off
--- config
    location /t {
        lua_transform_underscores_in_response_headers off;
        content_by_lua_block {
            ngx.header.foo_bar = "a"
            ngx.header["content_type"] = "text/x"
            ngx.say(ngx.header.foo_bar, ngx.header["foo-bar"])
        }
    }
--- request
GET /t
--- raw_response_headers_like eval
qr{Content-Type: text/plain\r\n.*foo_bar: a\r\ncontent_type: text/x\r\n\z}s
--- response_body
anil



=== TEST 33: no request, no header
--- http_config
    init_by_lua_block {
        in_init = { pcall(function() ngx.header.foo = "bar" end) }
        in_init[3] = select(2, pcall(function() return ngx.header.foo end))
    }
--- config
    location /t {
        content_by_lua_block {
            ngx.say(in_init[2], "\n", in_init[3])
        }
    }
--- request
GET /t
--- response_body_like eval
qr{\Ainit_by_lua.*:2: no request found\ninit_by_lua.*:3: no request found\n\z}
