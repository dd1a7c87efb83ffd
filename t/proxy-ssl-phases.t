# What works in proxy_ssl_certificate_by_lua* and proxy_ssl_verify_by_lua*, and
# where they work.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

my $http = <<'_';
proxy_ssl_protocols TLSv1.2 TLSv1.3;
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    ssl_client_certificate $TEST_NGINX_CA/root.pem;
    ssl_verify_client optional;
    ssl_verify_depth 3;
    location / { return 200 "$ssl_client_s_dn\n"; }
    location = /body {
        client_max_body_size 0;
        content_by_lua_block {
            local sock, n = ngx.req.socket(), 0
            while true do
                local data = sock:receiveany(65536)
                if not data then
                    return ngx.say(n)
                end
                n = n + #data
            end
        }
    }
}
_

add_block_preprocessor(
    sub {
        my ($block) = @_;
        my $own = defined $block->http_config ? $block->http_config : '';
        $block->set_value( http_config => "$own\n$http" );
        $block->set_value( no_error_log => "[error]\n[crit]\n[alert]" )
            if !grep { defined $block->$_ } qw( error_log no_error_log must_die );
    }
);

worker_connections(512);
no_long_string();
run_tests();

__DATA__

=== TEST 1: what is disabled there
--- http_config
init_by_lua_block {
    function try(name, f, ...)
        local ok, err = pcall(f, ...)
        ngx.log(ngx.NOTICE, name, ": ", tostring(ok), " ", tostring(err))
    end
    function try_all()
        try("say", ngx.say, "x")
        try("exec", ngx.exec, "/x")
        try("redirect", ngx.redirect, "/x")
        try("read_body", ngx.req.read_body)
        try("socket", ngx.req.socket)
        try("on_abort", ngx.on_abort, print)
        try("set_cert", require "ngx.ssl.proxysslcert".clear_certs)
        try("result", require "ngx.ssl.proxysslverify".get_verify_result)
    end
}
--- config
location = /certificate {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block { try_all() }
}
location = /verify {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_verify_by_lua_block { try_all() }
}
location = /content {
    content_by_lua_block {
        try("set_cert", require "ngx.ssl.proxysslcert".set_cert, 1)
        try("result", require "ngx.ssl.proxysslverify".set_verify_result, 1)
        ngx.say()
    }
}
--- request eval
[ map {"GET /$_"} qw( certificate verify content ) ]
--- response_body eval
[ ("\n") x 3 ]
--- grep_error_log eval: qr/(?<=: )\w+: (?:true|false) .*?(?= while|, client)/
--- grep_error_log_out
say: false API disabled in the context of proxy_ssl_certificate_by_lua*
exec: false API disabled in the context of proxy_ssl_certificate_by_lua*
redirect: false API disabled in the context of proxy_ssl_certificate_by_lua*
read_body: false API disabled in the context of proxy_ssl_certificate_by_lua*
socket: false API disabled in the context of proxy_ssl_certificate_by_lua*
on_abort: false API disabled in the context of proxy_ssl_certificate_by_lua*
set_cert: true true
result: false API disabled in the context of proxy_ssl_certificate_by_lua*
say: false API disabled in the context of proxy_ssl_verify_by_lua*
exec: false API disabled in the context of proxy_ssl_verify_by_lua*
redirect: false API disabled in the context of proxy_ssl_verify_by_lua*
read_body: false API disabled in the context of proxy_ssl_verify_by_lua*
socket: false API disabled in the context of proxy_ssl_verify_by_lua*
on_abort: false API disabled in the context of proxy_ssl_verify_by_lua*
set_cert: false API disabled in the context of proxy_ssl_verify_by_lua*
result: true 20
set_cert: false API disabled in the context of content_by_lua*
result: false API disabled in the context of content_by_lua*



=== TEST 2: cosockets, TLS, threads, timers, semaphores
--- config
location = /t {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        local ssl, cert, t = require "ngx.ssl", require "ngx.ssl.proxysslcert", require "puppet"
        local done = require "ngx.semaphore".new()
        ngx.timer.at(0, function()
            ngx.sleep(0.01)
            local ok, err = pcall(cert.clear_certs)
            ngx.log(ngx.NOTICE, "timer: ", err)
            done:post()
        end)
        local pem = ngx.thread.spawn(function()
            local sock = t.open("tls:good line say:name%0A")
            assert(sock:sslhandshake(false))
            sock:send("hello\n")
            assert(sock:receive() == "name")
            return t.pem "client.pem"
        end)
        local key = ngx.thread.spawn(function() ngx.sleep(0.02) return t.pem "client.key" end)
        local _, certificate = ngx.thread.wait(pem)
        local _, private = ngx.thread.wait(key)
        assert(done:wait(5))
        assert(cert.set_cert(ssl.parse_pem_cert(certificate)))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(private)))
    }
}
--- request
GET /t
--- response_body
CN=client
--- error_log
timer: API disabled in the context of ngx.timer
--- no_error_log
[error]
[alert]



=== TEST 3: an HTTP/2 client
--- http2
--- config
location = /t {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        ngx.sleep(0.02)
        local ssl, cert, t = require "ngx.ssl", require "ngx.ssl.proxysslcert", require "puppet"
        assert(cert.set_cert(ssl.parse_pem_cert(t.pem "client.pem")))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(t.pem "client.key")))
    }
    proxy_ssl_verify_by_lua_block { ngx.sleep(0.02) require "ngx.ssl.proxysslverify".set_verify_result(0) }
}
--- request
GET /t
--- response_body
CN=client



=== TEST 4: inherited; by a location in "if"; by a subrequest; nearer code instead
--- http_config
proxy_ssl_certificate_by_lua_block { ngx.log(ngx.NOTICE, "http ", ngx.var.uri) }
--- config
proxy_ssl_verify_by_lua_block { ngx.sleep(0.01) ngx.log(ngx.NOTICE, "server ", ngx.var.uri) }
location = /plain {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
}
location = /if {
    if ($arg_a) {
        proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }
}
location = /nearer {
    proxy_ssl_certificate_by_lua_block { ngx.sleep(0.01) ngx.log(ngx.NOTICE, "location ", ngx.var.uri) }
    set $upstream 127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_pass https://$upstream;
}
location = /auth {
    auth_request /plain;
    return 200 "granted\n";
}
location = /http {
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/auth;
}
--- request eval
[ map {"GET /$_"} qw( plain if?a=1 nearer auth http ) ]
--- response_body eval
[ ("\n") x 3, ("granted\n") x 2 ]
--- grep_error_log eval: qr{(?:http|server|location) /\w+(?= while)}
--- grep_error_log_out
http /plain
server /plain
http /if
server /if
location /nearer
server /nearer



=== TEST 5: many at once
--- config
location = /up {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        local ssl, cert, t = require "ngx.ssl", require "ngx.ssl.proxysslcert", require "puppet"
        local name = ngx.var.arg_name
        ngx.sleep(math.random() / 10)
        assert(cert.set_cert(ssl.parse_pem_cert(t.pem(name .. ".pem"))))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(t.pem(name .. ".key"))))
    }
    proxy_ssl_verify_by_lua_block {
        ngx.sleep(math.random() / 10)
        require "ngx.ssl.proxysslverify".set_verify_result(0)
    }
}
location = /t {
    content_by_lua_block {
        local function get(name)
            local sock = ngx.socket.tcp()
            sock:settimeout(8000)
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /up?name=" .. name .. " HTTP/1.0\r\n\r\n")
            return sock:receive("*a"):match("\r\n\r\n(.*)\n")
        end
        local threads, right = {}, 0
        for i = 1, 60 do
            local name = i % 2 == 0 and "client" or "guest"
            threads[i] = ngx.thread.spawn(function() return get(name) == (name == "client" and "CN=client" or "CN=guest") end)
        end
        for i = 1, 60 do
            local _, ok = ngx.thread.wait(threads[i])
            right = right + (ok and 1 or 0)
        end
        ngx.say(right)
    }
}
--- request
GET /t
--- response_body
60
--- timeout: 10



=== TEST 6: the version, the pointer
--- config
location = /t {
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block { show() }
    proxy_ssl_verify_by_lua_block { show() }
    header_filter_by_lua_block { show() }
}
location = /12 {
    proxy_ssl_protocols TLSv1.2;
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_verify_by_lua_block { show() }
}
location = /plain {
    content_by_lua_block { show() }
}
--- http_config
init_by_lua_block {
    function show()
        local ffi, proxyssl, ssl = require "ffi", require "ngx.proxyssl", require "ngx.ssl"
        pcall(ffi.cdef, "int SSL_is_server(void *ssl);")
        local number, err = proxyssl.get_tls1_version()
        local name, same = proxyssl.get_tls1_version_str()
        local pointer, none = ssl.get_upstream_ssl_pointer()
        pointer = pointer and ffi.C.SSL_is_server(pointer)
        ngx.log(ngx.NOTICE, "version: ", number, " ", err, " ", name, " ", same, " ", pointer, " ", none)
    end
}
--- request eval
[ 'GET /t', 'GET /12', 'GET /plain' ]
--- ignore_response
--- grep_error_log eval: qr/(?<=version: ).*?(?= while|, client)/
--- grep_error_log_out
nil not known yet nil not known yet 0 nil
772 nil TLSv1.3 nil 0 nil
772 nil TLSv1.3 nil 0 nil
771 nil TLSv1.2 nil 0 nil
nil no upstream SSL connection nil no upstream SSL connection nil no upstream SSL connection



=== TEST 7: a request body that is passed on as it comes
--- config
location = /up {
    proxy_request_buffering off;
    proxy_http_version 1.1;
    client_max_body_size 0;
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1/body;
    proxy_ssl_certificate_by_lua_block { ngx.sleep(0.05) }
    proxy_ssl_verify_by_lua_block { ngx.sleep(0.05) }
}
location = /t {
    content_by_lua_block {
        local sock = ngx.socket.tcp()
        sock:settimeout(8000)
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        sock:send("POST /up HTTP/1.0\r\nContent-Length: 2000000\r\n\r\n")
        for i = 1, 20 do
            sock:send(("x"):rep(100000))
            ngx.sleep(0.005)
        end
        ngx.print(sock:receive("*a"):match("\r\n\r\n(.*)"))
    }
}
--- request
GET /t
--- response_body
2000000
--- timeout: 10



=== TEST 8: hundreds leave nothing behind
--- config
location = /up {
    proxy_next_upstream off;
    proxy_pass https://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    proxy_ssl_certificate_by_lua_block {
        local ssl, cert, t = require "ngx.ssl", require "ngx.ssl.proxysslcert", require "puppet"
        ngx.sleep(0)
        assert(cert.set_cert(ssl.parse_pem_cert(t.pem "client.pem")))
        assert(cert.set_priv_key(ssl.parse_pem_priv_key(t.pem "client.key")))
        if ngx.var.arg_n % 5 == 1 then
            ngx.exit(ngx.ERROR)
        end
    }
    proxy_ssl_verify_by_lua_block {
        local verify = require "ngx.ssl.proxysslverify"
        verify.get_verify_cert()
        ngx.sleep(0)
        verify.set_verify_result(ngx.var.arg_n % 5 == 2 and 1 or 0)
    }
}
location = /t {
    content_by_lua_block {
        local t = require "puppet"
        local function get(n)
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", ngx.var.server_port))
            sock:send("GET /up?n=" .. n .. " HTTP/1.0\r\n\r\n")
            local line = sock:receive()
            sock:close()
            return line
        end
        local function run()
            local good = 0
            for n = 1, 150 do
                good = good + (get(n) == "HTTP/1.1 200 OK" and 1 or 0)
            end
            collectgarbage() collectgarbage()
            return good
        end
        run()
        local before = t.memory()
        local good = run()
        ngx.say(good, " ", t.memory() - before < 1000)
    }
}
--- request
GET /t
--- response_body
90 true
--- timeout: 60
--- error_log
certificate verify error
--- no_error_log
[alert]
[crit]



=== TEST 9: not in "if"
--- config
location /t {
    if ($arg_a) {
        proxy_ssl_certificate_by_lua_block { }
    }
}
--- must_die
--- error_log
"proxy_ssl_certificate_by_lua_block" directive is not allowed here



=== TEST 10: twice
--- config
location /t {
    proxy_ssl_verify_by_lua_block { }
    proxy_ssl_verify_by_lua 'x()';
}
--- must_die
--- error_log
"proxy_ssl_verify_by_lua" directive is duplicate
