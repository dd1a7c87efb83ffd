# require "ngx.ssl": certificates and keys.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: what parses
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
show(type(ssl._VERSION), require "ngx.ssl" == ssl, ssl.version == ssl._VERSION)
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
"string" true true
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



=== TEST 3: encrypted keys: with the password only, nobody is asked for one
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
local plain = ssl.priv_key_pem_to_der(pem "client.key")
for _, name in ipairs { "encrypted.key", "old.key" } do
    local key = pem(name)
    show(ssl.parse_pem_priv_key(key))
    show(ssl.priv_key_pem_to_der(key))
    show(ssl.priv_key_pem_to_der(key, nil))
    for _, wrong in ipairs { "", "Secret", "secret ", "secre", ("x"):rep(5000) } do
        show(ssl.priv_key_pem_to_der(key, wrong))
    end
    show(ssl.priv_key_pem_to_der(key, "secret") == plain)
end
show(ssl.priv_key_pem_to_der(pem "client.key", "not needed") == plain)
show(pcall(ssl.priv_key_pem_to_der, pem "client.key", 1))
-- Errors are not left behind for others to find.
shook(open("tls:good say:x"):sslhandshake(false))
--- init
for ( "pkey -aes128 -out $ENV{TEST_NGINX_CA}/encrypted.key", "ec -aes128 -out $ENV{TEST_NGINX_CA}/old.key" ) {
    system("openssl $_ -in $ENV{TEST_NGINX_CA}/client.key -passout pass:secret 2>/dev/null");
}
chmod 0644, glob "$ENV{TEST_NGINX_CA}/*.key";
--- response_body eval
( qq{nil "PEM_read_bio_PrivateKey() failed"\n} x 8 . "true\n" ) x 2
. qq{true\nfalse "bad argument #2 to '?' (string expected, got number)"\ntrue\n}



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



=== TEST 6: a chain that is cut or damaged is no chain
--- lua
local ssl, pem = require "ngx.ssl", require("puppet").pem
local chain = pem "deep.pem"
local _, leaf_end = chain:find("-----END CERTIFICATE-----\n", 1, true)
show(type(ssl.parse_pem_cert(chain .. "\nnotes that follow\n")))
for _, bad in ipairs {
    chain:sub(1, leaf_end + 100),
    chain:sub(1, -10),
    chain:sub(1, leaf_end) .. (chain:sub(leaf_end + 1):gsub("MII", "!II", 1)),
    chain .. "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
} do
    show(ssl.parse_pem_cert(bad))
    show(ssl.cert_pem_to_der(bad))
end
local der = ssl.cert_pem_to_der(chain)
show(ssl.parse_der_cert(der:sub(1, -2)))
show(ssl.parse_der_cert(der .. "x"))
show(ssl.parse_der_priv_key(ssl.priv_key_pem_to_der(pem "client.key"):sub(1, -20)))
--- response_body eval
qq{"cdata"\n} . qq{nil "PEM_read_bio_X509() failed"\n} x 8
. qq{nil "d2i_X509_bio() failed"\n} x 2 . qq{nil "d2i_PrivateKey_bio() failed"\n}



=== TEST 7: versions of the protocol
--- lua
local ssl = require "ngx.ssl"
show(ssl.SSL3_VERSION, ssl.TLS1_VERSION, ssl.TLS1_1_VERSION, ssl.TLS1_2_VERSION, ssl.TLS1_3_VERSION)
--- response_body
768 769 770 771 772
