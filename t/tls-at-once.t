# A failed verification never returns true: whether the handshake had to wait for the
# peer or everything was there already, as on a busy machine.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: at once
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
--- lua
local slow = require "slow_ssl"
local slow_down, shake = slow.slow_down, slow.shake
slow_down()
for _, version in ipairs { "1.2", "1.3" } do
    for _, cert in ipairs { "good", "stranger", "expired", "self", "client", "deep" } do
        shake(open("tls:" .. cert .. ":" .. version .. " hold"), false, "a.test", true)
    end
    shake(open("tls:good:" .. version .. " hold"), false, "b.test", true)
    shake(open("tls:stranger:" .. version .. " hold"), false, "b.test", false)
end
--- response_body
"at once" true nil
"at once" nil "20: unable to get local issuer certificate"
"at once" nil "10: certificate has expired"
"at once" nil "18: self-signed certificate"
"at once" nil "26: unsuitable certificate purpose"
"at once" nil "22: certificate chain too long"
"at once" nil "certificate host mismatch"
"at once" true nil
"at once" true nil
"at once" nil "20: unable to get local issuer certificate"
"at once" nil "10: certificate has expired"
"at once" nil "18: self-signed certificate"
"at once" nil "26: unsuitable certificate purpose"
"at once" nil "22: certificate chain too long"
"at once" nil "certificate host mismatch"
"at once" true nil
--- timeout: 20



=== TEST 2: later
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
--- lua
local slow = require "slow_ssl"
local slow_down, shake = slow.slow_down, slow.shake
for _, version in ipairs { "1.2", "1.3" } do
    for _, cert in ipairs { "good", "stranger", "expired", "self", "client", "deep" } do
        shake(open("wait:0.05 tls:" .. cert .. ":" .. version .. " hold"), false, "a.test", true)
    end
    shake(open("wait:0.05 tls:good:" .. version .. " hold"), false, "b.test", true)
    shake(open("wait:0.05 tls:stranger:" .. version .. " hold"), false, "b.test", false)
end
--- response_body
"later" true nil
"later" nil "20: unable to get local issuer certificate"
"later" nil "10: certificate has expired"
"later" nil "18: self-signed certificate"
"later" nil "26: unsuitable certificate purpose"
"later" nil "22: certificate chain too long"
"later" nil "certificate host mismatch"
"later" true nil
"later" true nil
"later" nil "20: unable to get local issuer certificate"
"later" nil "10: certificate has expired"
"later" nil "18: self-signed certificate"
"later" nil "26: unsuitable certificate purpose"
"later" nil "22: certificate chain too long"
"later" nil "certificate host mismatch"
"later" true nil
--- timeout: 20



=== TEST 3: bad peers, at once
--- location_config
lua_ssl_trusted_certificate $TEST_NGINX_CA/root.pem;
lua_socket_log_errors off;
--- lua
local slow = require "slow_ssl"
local slow_down, shake = slow.slow_down, slow.shake
slow_down()
local sock = open("say:no%20TLS%20here%0A hold")
shake(sock, false, "a.test", true)
sock = open("half hold")
ngx.sleep(0.1)
shake(sock, false, "a.test", true)
sock = open("reset")
ngx.sleep(0.1)
shake(sock, false, "a.test", true)
--- response_body
"at once" nil "handshake failed"
"at once" nil "handshake failed"
"at once" nil "handshake failed"
