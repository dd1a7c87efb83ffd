# ngx.redirect, ngx.exec, ngx.req.set_uri, ngx.req.set_uri_args.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

add_block_preprocessor(
    sub {
        my ($block) = @_;
        return if defined $block->lua || !defined $block->config;
        $block->set_value( 'config', $block->config . <<'END' );
location /show {
    content_by_lua_block {
        ngx.say(ngx.var.uri, " ", ngx.var.args or "-", " ", ngx.var.request_uri, " ", ngx.ctx.mark or "-")
    }
}
location @named {
    content_by_lua_block { ngx.say("named ", ngx.var.uri, " ", ngx.var.args or "-") }
}
END
    }
);

run_tests();

__DATA__

=== TEST 1: redirects
--- config
    location /t {
        content_by_lua_block {
            ngx.header.X_Kept = "kept"
            local status = tonumber(ngx.var.arg_status)
            ngx.redirect(ngx.var.arg_to or "/foo?a=3&b=4", status)
            ngx.say("not reached")
        }
    }
--- request eval
["GET /t", "GET /t?status=301", "GET /t?status=303", "GET /t?status=307", "GET /t?status=308", "GET /t?to=http://a.b/c"]
--- error_code eval
[302, 301, 303, 307, 308, 302]
--- response_headers eval
["Location: /foo?a=3&b=4", "Location: /foo?a=3&b=4\nX-Kept: kept", "Location: /foo?a=3&b=4",
 "Location: /foo?a=3&b=4", "Location: /foo?a=3&b=4", "Location: http://a.b/c"]
--- response_body_unlike: not reached
--- no_error_log
[error]



=== TEST 2: redirects from other phases, and after a wait
--- config
    location /r { rewrite_by_lua_block { return ngx.redirect("/rewrite") } }
    location /a { access_by_lua_block { ngx.sleep(0.001) return ngx.redirect("/access") } }
--- request eval
["GET /r", "GET /a"]
--- error_code eval
[302, 302]
--- response_headers eval
["Location: /rewrite", "Location: /access"]



=== TEST 3: bad redirects
--- lua
fails(ngx.redirect)
fails(ngx.redirect, {})
fails(ngx.redirect, "/a", 200)
fails(ngx.redirect, "/a", "x")
fails(ngx.redirect, "/a\r\nX: y")
fails(ngx.redirect, "/a")
show(ngx.status)
--- response_body
expecting one or two arguments
bad argument #1 to '?' (string expected, got table)
only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and ngx.HTTP_TEMPORARY_REDIRECT are allowed
bad argument #2 to '?' (number expected, got string)
unsafe byte "0x0d" in redirect uri "/a\x0D\x0AX: y"
attempt to call ngx.redirect after sending out the headers
200



=== TEST 4: exec from every phase, at once and after a wait
--- config
    location /r { rewrite_by_lua_block { ngx.ctx.mark = 1 return ngx.exec("/show/r", "a=1") } }
    location /a { access_by_lua_block { return ngx.exec("/show/a?x=1", { b = "2 3" }) } }
    location /c { content_by_lua_block { ngx.exec("/show/c?x=1", "y=2") ngx.say("not reached") } }
    location /wr { rewrite_by_lua_block { ngx.sleep(0.001) return ngx.exec("/show/wr") } }
    location /wa { access_by_lua_block { ngx.sleep(0.001) return ngx.exec("/show/wa", "") } }
    location /wc { content_by_lua_block { ngx.sleep(0.001) return ngx.exec("/show/wc", { a = true }) } }
    location /f { content_by_lua_block { return ngx.exec("/index.txt") } }
    location /chain { content_by_lua_block { return ngx.exec("/c") } }
    location /wchain { content_by_lua_block { ngx.sleep(0.001) return ngx.exec("/wr") } }
--- user_files
>>> index.txt
a file
--- request eval
["GET /r", "GET /a", "GET /c", "GET /wr?q", "GET /wa", "GET /wc", "GET /f", "GET /chain", "GET /wchain"]
--- response_body eval
["/show/r a=1 /r -\n", "/show/a x=1&b=2%203 /a -\n", "/show/c x=1&y=2 /c -\n", "/show/wr - /wr?q -\n",
 "/show/wa - /wa -\n", "/show/wc a /wc -\n", "a file\n", "/show/c x=1&y=2 /chain -\n", "/show/wr - /wchain -\n"]
--- no_error_log
[error]



=== TEST 5: exec to a named location keeps the arguments
--- config
    location /r { rewrite_by_lua_block { return ngx.exec("@named", "a=goodbye") } }
    location /wc { content_by_lua_block { ngx.sleep(0.001) return ngx.exec("@named") } }
    location /none { content_by_lua_block { return ngx.exec("@none") } }
    location /wnone { access_by_lua_block { ngx.sleep(0.001) return ngx.exec("@none") } }
--- request eval
["GET /r?a=hello", "GET /wc", "GET /none", "GET /wnone"]
--- error_code eval
[200, 200, 500, 500]
--- response_body_like eval
["^named /r a=hello\n\$", "^named /wc -\n\$", "Internal Server Error", "Internal Server Error"]
--- error_log
could not find named location "@none"
--- grep_error_log eval: qr/query strings .* named location \S+(?=,)/
--- grep_error_log_out eval
["query strings a=goodbye ignored when exec'ing named location \@named\n", "", "", ""]



=== TEST 6: requests on the same connection go on after exec
--- config
    location /c { content_by_lua_block { return ngx.exec("/show", "n=1") } }
    location /wa { access_by_lua_block { ngx.sleep(0.001) return ngx.exec("/show", "n=2") } }
--- pipelined_requests eval
["GET /c", "GET /wa", "GET /c", "GET /wa"]
--- response_body eval
["/show n=1 /c -\n", "/show n=2 /wa -\n", "/show n=1 /c -\n", "/show n=2 /wa -\n"]
--- no_error_log
[error]



=== TEST 7: exec without end
--- config
    location /loop { content_by_lua_block { return ngx.exec("/loop") } }
    location /wloop { rewrite_by_lua_block { ngx.sleep(0) return ngx.exec("/wloop") } }
--- request eval
["GET /loop", "GET /wloop"]
--- error_code eval
[500, 500]
--- error_log
rewrite or internal redirection cycle while internally redirecting to



=== TEST 8: exec of a request that has a body, threads and sockets
--- config
    location /t {
        content_by_lua_block {
            ngx.req.read_body()
            ngx.thread.spawn(function() ngx.sleep(10) end)
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            return ngx.exec("/body")
        }
    }
    location /body {
        content_by_lua_block { ngx.req.read_body() ngx.say(ngx.req.get_body_data()) }
    }
--- request
POST /t
hello
--- response_body
hello
--- no_error_log
[error]



=== TEST 9: bad calls of exec
--- lua
fails(ngx.exec)
fails(ngx.exec, "")
fails(ngx.exec, "/../..")
fails(ngx.exec, "/a", print)
fails(ngx.exec, "/a", { 1 })
fails(ngx.exec, "/a")
--- response_body
expecting one or two arguments, but got 0
The uri argument is empty
unsafe uri: "/../.."
bad argument #2 to '?' (string, number, or table expected, but got function)
attempt to use a non-string key in the "args" option table
attempt to call ngx.exec after sending out response headers



=== TEST 10: another URI
--- config
    location /t {
        rewrite_by_lua_block { ngx.req.set_uri("/show/other") ngx.req.set_uri_args({ a = 3 }) }
        content_by_lua_block { ngx.say(ngx.var.uri, " ", ngx.var.args, " ", ngx.req.get_uri_args().a) }
    }
    location /jump { rewrite_by_lua_block { ngx.req.set_uri_args("a=3") ngx.req.set_uri("/show/jump", true) ngx.exit(500) } }
    location /wait { rewrite_by_lua_block { ngx.sleep(0.001) ngx.req.set_uri("/show/wait", true) ngx.exit(500) } }
    location /proxy {
        rewrite_by_lua_block {
            ngx.req.set_uri((ngx.re.sub(ngx.var.uri, "^/proxy/(.*)", "/show/$1", "o")))
            ngx.req.set_uri_args("b=c d\r\n&x=%20")
        }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT;
    }
--- request eval
["GET /t?b=1", "GET /jump?b=1", "GET /wait?b=1", "GET /proxy/x?y"]
--- response_body eval
["/show/other a=3 3\n", "/show/jump a=3 /jump?b=1 -\n", "/show/wait b=1 /wait?b=1 -\n",
 "/show/x b=c%20d%0D%0A&x=%20 /show/x?b=c%20d%0D%0A&x=%20 -\n"]
--- no_error_log
[error]



=== TEST 11: bad URIs and arguments
--- lua
fails(ngx.req.set_uri)
fails(ngx.req.set_uri, "")
fails(ngx.req.set_uri, "/a\nb")
ngx.req.set_uri("/a\nb", false, true)
show(ngx.var.uri)
fails(ngx.req.set_uri, "/a", true)
fails(ngx.req.set_uri_args)
fails(ngx.req.set_uri_args, true)
fails(ngx.req.set_uri_args, { 1 })
ngx.req.set_uri_args("") show(ngx.var.args)
ngx.req.set_uri_args(5) show(ngx.var.args)
ngx.req.set_uri_args({ a = { 5, 6 } }) show(ngx.var.args)
--- response_body
expecting 1, 2 or 3 arguments but seen 0
attempt to use zero-length uri
unsafe byte "0x0a" in uri "/a\x0Ab" (maybe you want to set the 'binary' argument?)
"/a\nb"
API disabled in the context of content_by_lua*
expecting 1 argument but seen 0
bad argument #1 to '?' (string, number, or table expected, but got boolean)
attempt to use a non-string key in the "args" option table
""
"5"
"a=5&a=6"
