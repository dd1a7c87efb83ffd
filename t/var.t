# ngx.var.NAME: nginx's variables
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * (blocks() * 2 + 14);

no_long_string();
run_tests();

__DATA__

=== TEST 1: built-in variables, those with an index and others
--- config
    location /t {
        set $unused "$request_uri $uri";
        content_by_lua_block {
            local v = ngx.var
            ngx.say(v.uri, " ", v.request_uri, " ", v.request_method, " ", v.args, " ", v.server_port)
            ngx.say(v.remote_addr, " ", v.host, " ", v.is_args, " ", v.scheme, " ", v.nginx_version)
            ngx.say(type(v.server_port))
        }
    }
--- request
GET /t?a=1&b=2
--- response_body_like eval
qr{\A/t /t\?a=1&b=2 GET a=1&b=2 \d+\n127\.0\.0\.1 localhost \? http 1\.\d+\.\d+\nstring\n\z}



=== TEST 2: names in any case
--- config
    location /t {
        set $foo bar;
        content_by_lua_block {
            ngx.say(ngx.var.FOO, ngx.var.Foo, ngx.var.Request_Method)
        }
    }
--- request
GET /t
--- response_body
barbarGET



=== TEST 3: arg_, http_, cookie_, sent_http_
--- config
    location /t {
        content_by_lua_block {
            local v = ngx.var
            ngx.header.x_foo = "sent"
            ngx.say(v.arg_a, " ", v.arg_none, " ", v.arg_empty, ".", v.ARG_A)
            ngx.say(v.http_x_bar, " ", v.http_none, " ", v.http_host, " ", v.http_user_agent)
            ngx.say(v.cookie_c, " ", v.cookie_none, " ", v.sent_http_x_foo)
        }
    }
--- request
GET /t?a=1&empty=
--- more_headers
X-Bar: bar
Cookie: c=here; d=e
--- response_body
1 nil .1
bar nil localhost nil
here nil sent



=== TEST 4: no such variable, and one without a value
--- config
    location /t {
        set $empty '';
        content_by_lua_block {
            ngx.say(ngx.var.none, " ", ngx.var.http_referer, " ", ngx.var.upstream_addr, " .", ngx.var.empty, ".")
            ngx.say(ngx.var[""], " ", ngx.var[string.rep("x", 200)])
        }
    }
--- request
GET /t
--- response_body
nil nil nil ..
nil nil



=== TEST 5: a variable of set is written and read, by Lua and by nginx
--- config
    location /t {
        set $foo before;
        rewrite_by_lua_block {
            ngx.var.foo = ngx.var.foo .. "-rewrite"
        }
        access_by_lua_block {
            ngx.var.FOO = ngx.var.foo .. "-access"
        }
        add_header X-Foo "$foo";
        content_by_lua_block {
            ngx.var.foo = ngx.var.foo .. "-content"
            ngx.say(ngx.var.foo)
        }
    }
--- request
GET /t
--- response_headers
X-Foo: before-rewrite-access-content
--- response_body
before-rewrite-access-content



=== TEST 6: values that are not strings
--- config
    location /t {
        set $foo '';
        content_by_lua_block {
            local said = {}
            for _, value in ipairs{ 32, 1.5, true, false, "", "a\0b", 123456789012345678ULL,
                setmetatable({}, { __tostring = function() return "text" end }) } do
                ngx.var.foo = value
                said[#said + 1] = type(ngx.var.foo) .. ":" .. ngx.var.foo .. "\n"
            end
            ngx.print(said)
        }
    }
--- request
GET /t
--- response_body eval
"string:32\nstring:1.5\nstring:true\nstring:false\nstring:\nstring:a\0b\nstring:123456789012345678ULL\nstring:text\n"



=== TEST 7: nil takes the value away
--- config
    location /t {
        set $foo bar;
        content_by_lua_block {
            ngx.var.foo = nil
            local none = ngx.var.foo
            ngx.var.foo = "again"
            ngx.say(none, " ", ngx.var.foo)
        }
    }
--- request
GET /t
--- response_body
nil again



=== TEST 8: variables that nginx lets one set: args and others
--- config
    location /t {
        content_by_lua_block {
            local v = ngx.var
            v.args = "b=2&c=3"
            local first = v.args .. v.arg_b .. v.arg_c .. v.is_args .. v.query_string
            v.args = nil
            ngx.say(first, " ", v.args, " ", v.arg_c, " .", v.is_args, ".")
        }
    }
    location /u {
        rewrite_by_lua_block { ngx.var.args = "x=y" }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/backend;
    }
    location /backend { content_by_lua_block { ngx.say(ngx.var.request_uri) } }
    location /v {
        content_by_lua_block {
            ngx.var.limit_rate = 102400
            ngx.say(ngx.var.limit_rate)
        }
    }
--- request eval
["GET /t?a=1", "GET /u?a=1", "GET /v"]
--- response_body eval
["b=2&c=323?b=2&c=3 nil nil ..\n", "/backend?x=y\n", "102400\n"]



=== TEST 9: variables that cannot be written
--- config
    location /t {
        content_by_lua_block {
            local function try(name)
                return select(2, pcall(function() ngx.var[name] = "x" end)) .. "\n"
            end
            ngx.print(try("none"), try("uri"), try("request_method"), try("arg_a"), try("http_host"))
            ngx.say(ngx.var.uri)
        }
    }
--- request
GET /t
--- response_body
content_by_lua(nginx.conf:40):3: variable "none" not found for writing; maybe it is a built-in variable that is not changeable or you forgot to use "set $none '';" in the config file to define it first
content_by_lua(nginx.conf:40):3: variable "uri" not changeable
content_by_lua(nginx.conf:40):3: variable "request_method" not changeable
content_by_lua(nginx.conf:40):3: variable "arg_a" not found for writing; maybe it is a built-in variable that is not changeable or you forgot to use "set $arg_a '';" in the config file to define it first
content_by_lua(nginx.conf:40):3: variable "http_host" not changeable
/t



=== TEST 10: names and values of a wrong type
--- config
    location /t {
        set $foo bar;
        content_by_lua_block {
            local function read(key)
                return select(2, pcall(function() return ngx.var[key] end)) .. "\n"
            end
            local function write(key, value)
                return select(2, pcall(function() ngx.var[key] = value end)) .. "\n"
            end
            ngx.print(read(true), read({}), read(nil), write(1, "x"), write(nil, "x"),
                write("foo", {}), write("foo", print), write("foo", ngx.null))
            ngx.say(ngx.var.foo)
        }
    }
--- request
GET /t
--- response_body eval
my $at = "content_by_lua(nginx.conf:41)";
my $argument = "bad argument #3 to '__newindex' (string, number, boolean or nil expected, got";
"$at:3: bad variable name
$at:3: bad variable name
$at:3: bad variable name
$at:6: bad variable name
$at:6: bad variable name
$at:6: $argument table)
$at:6: $argument function)
$at:6: $argument userdata)
bar
"



=== TEST 11: captures of the location's regular expression
--- config
    location ~ ^/t/(\w+)(/x)?/(\d+)(/end)?$ {
        content_by_lua_block {
            local v = ngx.var
            ngx.say(v[0], " ", v[1], " .", v[2], ". ", v[3], " ", v[4], " ", v[5], " ", v[-1], " ", v[1e300])
        }
    }
--- request eval
["GET /t/abc/32", "GET /t/abc/x/32/end"]
--- response_body eval
["/t/abc/32 abc .. 32 nil nil nil nil\n", "/t/abc/x/32/end abc ./x. 32 /end nil nil nil\n"]



=== TEST 12: no regular expression, no captures; named ones are variables
--- config
    location /t { content_by_lua_block { ngx.say(ngx.var[0], " ", ngx.var[1]) } }
    location ~ ^/named/(?<who>\w+) {
        content_by_lua_block { ngx.say(ngx.var.who, " ", ngx.var[1]) }
    }
--- request eval
["GET /t", "GET /named/me"]
--- response_body eval
["nil nil\n", "me me\n"]



=== TEST 13: variables of map and of other modules, changing ones too
--- http_config
    map $arg_a $mapped {
        default none;
        1       one;
    }
    map $foo $of_foo {
        volatile;
        default other;
        x       ex;
    }
--- config
    location /t {
        set $foo '';
        content_by_lua_block {
            local first = ngx.var.of_foo
            ngx.var.foo = "x"
            ngx.say(ngx.var.mapped, " ", first, " ", ngx.var.of_foo)
        }
    }
--- request
GET /t?a=1
--- response_body
one other ex



=== TEST 14: a variable that depends on itself
--- http_config
    map $b $a { default "$b"; }
    map $a $b { default "$a"; }
--- config
    location /t { content_by_lua_block { ngx.say(ngx.var.a) } }
--- request
GET /t
--- response_body eval
"\n"
--- error_log
cycle while evaluating variable



=== TEST 15: ngx.var holds nothing to walk through
--- config
    location /t {
        content_by_lua_block {
            ngx.say(next(ngx.var), " ", rawget(ngx.var, "uri"))
        }
    }
--- request
GET /t
--- response_body
nil nil



=== TEST 16: a subrequest has variables of its own request, and shares those of set
--- config
    location /t {
        set $shared main;
        auth_request /auth;
        content_by_lua_block {
            ngx.say(ngx.var.shared, " ", ngx.var.uri, " ", ngx.var.from_auth)
        }
        auth_request_set $from_auth $shared;
    }
    location /auth {
        content_by_lua_block {
            ngx.var.shared = ngx.var.uri .. ngx.var.request_uri
        }
    }
--- request
GET /t
--- response_body
/auth/t /t /auth/t



=== TEST 17: HEAD and HTTP/1.0
--- config
    location /t {
        content_by_lua_block {
            ngx.header.x = ngx.var.request_method .. ngx.var.server_protocol
            ngx.say("ok")
        }
    }
--- request eval
["HEAD /t", "GET /t HTTP/1.0"]
--- response_headers eval
["x: HEADHTTP/1.1", "x: GETHTTP/1.0"]
--- response_body eval
["", "ok\n"]



=== TEST 18: no request
--- http_config
    init_by_lua_block {
        in_init = {
            select(2, pcall(function() return ngx.var.uri end)), "\n",
            select(2, pcall(function() ngx.var.foo = 1 end)), "\n",
        }
    }
--- config
    location /t { content_by_lua_block { ngx.print(in_init) } }
--- request
GET /t
--- response_body_like eval
qr{\Ainit_by_lua\S+:3: no request found\ninit_by_lua\S+:4: no request found\n\z}
