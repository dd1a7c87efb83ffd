# require "ngx.ssl": certificates and keys.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: what parses
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
show(type(ssl._VERSION), require "ngx.ssl" == ssl)
show(type(ssl.parse_pem_cert(pem "client.pem")), type(ssl.parse_der_cert(pem "client.der")))
show(type(ssl.parse_pem_cert(pem "deep.pem")))
show(type(ssl.parse_pem_priv_key(pem "client.key")), type(ssl.parse_der_priv_key(pem "client.key.der")))
show(type(ssl.parse_pem_priv_key(pem "rsa.key")))
show(ssl.cert_pem_to_der(pem "client.pem") == pem "client.der")
local der = ssl.cert_pem_to_der(pem "deep.pem")
show(#der > #ssl.cert_pem_to_der(pem "sub.pem") * 2, type(ssl.parse_der_cert(der)))
local key = ssl.priv_key_pem_to_der(pem "client.key")
show(type(ssl.parse_der_priv_key(key)))
--- response_body
"string" true
"cdata" "cdata"
"cdata"
"cdata" "cdata"
"cdata"
true
true "cdata"
"cdata"



=== TEST 2: what does not
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
for _, text in ipairs { "", "x", pem "client.key", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ("x"):rep(100000) } do
    show(ssl.parse_pem_cert(text))
    show(ssl.cert_pem_to_der(text))
end
for _, text in ipairs { "", "x", pem "client.pem", "\48\130\255\255" } do
    show(ssl.parse_der_cert(text))
    show(ssl.parse_der_priv_key(text))
end
for _, text in ipairs { "", "x", pem "client.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" } do
    show(ssl.parse_pem_priv_key(text))
    show(ssl.priv_key_pem_to_der(text))
end
-- Errors are not left behind for others to find.
shook(open("tls:good say:x"):sslhandshake(false))
--- response_body eval
qq{nil "PEM_read_bio_X509_AUX() failed"\n} x 10
. qq{nil "d2i_X509_bio() failed"\nnil "d2i_PrivateKey_bio() failed"\n} x 4
. qq{nil "PEM_read_bio_PrivateKey() failed"\n} x 8
. "true\n"



=== TEST 3: an encrypted key is refused, nobody is asked for a password
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
show(ssl.parse_pem_priv_key(pem "encrypted.key"))
--- init
system("openssl pkey -in $ENV{TEST_NGINX_CA}/client.key -aes128 -passout pass:secret -out $ENV{TEST_NGINX_CA}/encrypted.key");
chmod 0644, "$ENV{TEST_NGINX_CA}/encrypted.key";
--- response_body
nil "PEM_read_bio_PrivateKey() failed"



=== TEST 4: arguments
--- lua
local ssl = require "ngx.ssl"
for _, name in ipairs {
    "parse_pem_cert", "parse_der_cert", "parse_pem_priv_key", "parse_der_priv_key",
    "cert_pem_to_der", "priv_key_pem_to_der",
} do
    for _, bad in ipairs { 1, {}, true, io.stdout } do
        local ok, err = pcall(ssl[name], bad)
        if ok or not err:find("string expected, got " .. type(bad), 1, true) then
            show(name, bad, ok, err)
        end
    end
    local ok, err = pcall(ssl[name])
    show(ok, (err:gsub(".*%(", "(")))
end
--- response_body eval
qq{false "(string expected, got no value)"\n} x 6



=== TEST 5: many, collected, in any order
--- lua
local t, ssl = require "puppet", require "ngx.ssl"
local cert, key = t.pem "deep.pem", t.pem "client.key"
local function make()
    for i = 1, 400 do
        local c, k = ssl.parse_pem_cert(cert), ssl.parse_pem_priv_key(key)
        if i % 100 == 0 then
            collectgarbage()
        end
    end
    collectgarbage() collectgarbage()
end
make()
local before = t.memory()
make()
show(t.memory() - before < 2000)
--- response_body
true
--- timeout: 20
