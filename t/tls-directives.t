# lua_ssl_*: values, errors, inheritance, who shares a context.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: lua_ssl_protocols
--- config
location = /default { content_by_lua_block { try() } }
location = /two { lua_ssl_protocols TLSv1.2; content_by_lua_block { try() } }
location = /three { lua_ssl_protocols TLSv1.3; content_by_lua_block { try() } }
location = /both { lua_ssl_protocols TLSv1.2 TLSv1.3; content_by_lua_block { try() } }
--- http_config
lua_socket_log_errors off;
init_by_lua_block {
    function try()
        local t = require "puppet"
        for _, script in ipairs { "tls:good:1.2 about", "tls:good:1.3 about", "tls:good about" } do
            local sock = t.open(script)
            local ok = sock:sslhandshake(false)
            ngx.print(ok and sock:receive():match("TLSv%S+") or "none", " ")
        end
        ngx.say()
    end
}
--- request eval
[ map {"GET /$_"} qw( default two three both ) ]
--- response_body eval
[ "TLSv1_2 TLSv1_3 TLSv1_3 \n", "TLSv1_2 none TLSv1_2 \n", "none TLSv1_3 TLSv1_3 \n", "TLSv1_2 TLSv1_3 TLSv1_3 \n" ]



=== TEST 2: lua_ssl_ciphers, lua_ssl_conf_command
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { return 200 "$ssl_protocol $ssl_cipher"; }
}
init_by_lua_block {
    function try()
        local sock = ngx.socket.tcp()
        sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1)
        assert(sock:sslhandshake(false))
        sock:send("GET / HTTP/1.0\r\n\r\n")
        ngx.say((sock:receive("*a"):match("\r\n\r\n(.*)")))
    end
}
--- config
lua_ssl_protocols TLSv1.2;
location = /1 { lua_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256; content_by_lua_block { try() } }
location = /2 { lua_ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305; content_by_lua_block { try() } }
location = /3 {
    lua_ssl_protocols TLSv1.3;
    lua_ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;
    content_by_lua_block { try() }
}
location = /4 {
    lua_ssl_protocols TLSv1.2 TLSv1.3;
    lua_ssl_conf_command CipherString ECDHE-ECDSA-AES256-GCM-SHA384;
    lua_ssl_conf_command MaxProtocol TLSv1.2;
    content_by_lua_block { try() }
}
--- request eval
[ map {"GET /$_"} 1 .. 4 ]
--- response_body eval
[
    "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256\n", "TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305\n",
    "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256\n", "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384\n",
]



=== TEST 3: inheritance, directive by directive; who sets nothing shares the context
--- http_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
init_by_lua_block {
    seen = {}
    function try(cert, name)
        local t = require "puppet"
        local sock = t.open("tls:" .. cert .. " hold")
        local ok, err = sock:sslhandshake(false, "a.test", true)
        if not ok then
            return t.show(err)
        end
        local ctx = tonumber(require("ffi").cast("uintptr_t", sock:getsslctx()))
        t.show(ok, seen[ctx])
        seen[ctx] = seen[ctx] or name
    end
}
--- config
location = /a { content_by_lua_block { try("good", "a") } }
location = /b {
    lua_socket_buffer_size 1k;
    content_by_lua_block { try("good", "b") }
}
location = /deeper {
    lua_ssl_verify_depth 2;
    content_by_lua_block { try("deep", "deeper") }
}
location = /not-deeper { content_by_lua_block { try("deep", "not-deeper") } }
location = /crl {
    lua_ssl_crl $TEST_NGINX_CA/crl.pem;
    content_by_lua_block { try("revoked", "crl") }
}
location /outer {
    lua_ssl_verify_depth 3;
    location = /outer/inner { content_by_lua_block { try("deep", "inner") } }
    location = /outer/second { content_by_lua_block { try("deep", "second") } }
}
--- request eval
[ map {"GET /$_"} qw( a b deeper not-deeper crl outer/inner outer/second a ) ]
--- response_body eval
[
    "true nil\n", qq{true "a"\n}, "true nil\n", qq{"22: certificate chain too long"\n},
    qq{"23: certificate revoked"\n}, 
    "true nil\n", qq{true "inner"\n}, qq{true "a"\n},
]



=== TEST 4: lua_ssl_key_log
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
    ssl_certificate $TEST_NGINX_CA/good.pem;
    ssl_certificate_key $TEST_NGINX_CA/good.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { return 200 "ok"; }
}
--- location_config
lua_ssl_key_log keys.txt;
--- lua
local function shake()
    local sock = ngx.socket.tcp()
    sock:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_1)
    assert(sock:sslhandshake(false))
    sock:close()
end
shake()
shake()
local count = 0
for line in io.lines("$TEST_NGINX_SERVER_ROOT/keys.txt") do
    assert(line:match("^[A-Z_0-9]+ %x+ %x+$"))
    if line:match("^CLIENT_TRAFFIC_SECRET_0 ") then
        count = count + 1
    end
end
show(count)
local mode = io.popen("stat -c %a $TEST_NGINX_SERVER_ROOT/keys.txt")
show(mode:read())
--- response_body
2
"600"



=== TEST 5: relative paths are those of nginx's configuration
--- user_files eval
[ [ 'trust.pem' => Test::Nginx::Util::slurp("$ENV{TEST_NGINX_CA}/root.pem") ] ]
--- location_config
lua_ssl_trusted_certificate ../html/trust.pem;
--- lua
shook(open("tls:good say:x"):sslhandshake(false, "a.test", true))
--- response_body
true



=== TEST 6: several trusted certificates in a file, several client certificates
--- user_files eval
[ [ 'trust.pem' => CORE::join( '', map { Test::Nginx::Util::slurp("$ENV{TEST_NGINX_CA}/$_.pem") } qw( root other ) ) ] ]
--- location_config
lua_ssl_trusted_certificate ../html/trust.pem;
lua_ssl_certificate $TEST_NGINX_CA/rsa.pem;
lua_ssl_certificate_key $TEST_NGINX_CA/rsa.key;
lua_ssl_certificate $TEST_NGINX_CA/client.pem;
lua_ssl_certificate_key $TEST_NGINX_CA/client.key;
--- lua
shook(open("tls:good say:x"):sslhandshake(false, "a.test", true))
shook(open("tls:stranger say:x"):sslhandshake(false, "a.test", true))
local sock = open("tls:good:client about")
shook(sock:sslhandshake(false))
show(sock:receive())
--- response_body
true
true
true
"TLSv1_3 name=- client=client"



=== TEST 7: no such file
--- config
location /t { lua_ssl_trusted_certificate nowhere.pem; }
--- must_die
--- error_log eval
qr/\[emerg\] .*nowhere\.pem/



=== TEST 8: no certificate in it
--- config
location /t { lua_ssl_trusted_certificate $TEST_NGINX_CA/good.key; }
--- must_die
--- error_log eval
qr/\[emerg\] .*good\.key/



=== TEST 9: a certificate without a key
--- config
location /t { lua_ssl_certificate $TEST_NGINX_CA/client.pem; }
--- must_die
--- error_log
[emerg]
no "lua_ssl_certificate_key" is defined for certificate



=== TEST 10: a key that does not fit
--- config
location /t {
    lua_ssl_certificate $TEST_NGINX_CA/client.pem;
    lua_ssl_certificate_key $TEST_NGINX_CA/other.key;
}
--- must_die
--- error_log eval
qr/\[emerg\] .*other\.key/



=== TEST 11: an unknown protocol
--- config
location /t { lua_ssl_protocols TLSv1.2 TLSv1.9; }
--- must_die
--- error_log
invalid value "TLSv1.9"



=== TEST 12: an unknown cipher
--- config
location /t { lua_ssl_ciphers NONSENSE; }
--- must_die
--- error_log eval
qr/\[emerg\] .*NONSENSE/



=== TEST 13: an unknown command
--- config
location /t { lua_ssl_conf_command Nonsense x; }
--- must_die
--- error_log eval
qr/\[emerg\] .*Nonsense/



=== TEST 14: a bad list of revoked certificates
--- config
location /t { lua_ssl_crl $TEST_NGINX_CA/good.key; }
--- must_die
--- error_log eval
qr/\[emerg\] .*good\.key/



=== TEST 15: a bad depth
--- config
location /t { lua_ssl_verify_depth -1; }
--- must_die
--- error_log
invalid number



=== TEST 16: a key log that cannot be written
--- config
location /t { lua_ssl_key_log /nowhere/keys; }
--- must_die
--- error_log
"lua_ssl_key_log": cannot open "/nowhere/keys"



=== TEST 17: twice
--- config
location /t { lua_ssl_ciphers DEFAULT; lua_ssl_ciphers DEFAULT; }
--- must_die
--- error_log
"lua_ssl_ciphers" directive is duplicate
