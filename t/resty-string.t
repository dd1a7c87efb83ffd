# Debian's lua-nginx-string, as it is: digests, ciphers and random bytes by LuaJIT's FFI, which
# calls nginx and OpenSSL directly. Expected values are those of RFC 1321, FIPS 180 and openssl(1).

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;

plan skip_all => 'lua-nginx-string was not unpacked' if !lua_library('resty/string.lua');
plan 'no_plan';

run_tests();

__DATA__

=== TEST 1: hexadecimal text and numbers
--- lua
local str = require "resty.string"
show(str.to_hex("\0hello\255"))
show(str.to_hex(""))
show(str.atoi("32"), str.atoi("x"))
--- response_body
"0068656c6c6fff"
""
32 -1
--- no_error_log
[error]



=== TEST 2: digests of "abc", at once and in pieces; a digest begun anew
--- lua
local str = require "resty.string"
-- By the name in Debian, by which the libraries load each other: loaded under both names, as
-- "resty.sha512", too, they declare their structs twice.
for _, name in ipairs { "md5", "sha1", "sha224", "sha256", "sha384", "sha512" } do
    local digest = require("nginx." .. name):new()
    show(name, digest:update("ab"), digest:update("c"))
    local first = digest:final()
    show(str.to_hex(first))
    digest:reset()
    digest:update("abc")
    show(digest:final() == first)
end
show(str.to_hex(ngx.md5_bin("abc")) == ngx.md5("abc"), str.to_hex(ngx.sha1_bin("abc")))
--- response_body
"md5" true true
"900150983cd24fb0d6963f7d28e17f72"
true
"sha1" true true
"a9993e364706816aba3e25717850c26c9cd0d89d"
true
"sha224" true true
"23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"
true
"sha256" true true
"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
true
"sha384" true true
"cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
true
"sha512" true true
"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
true
true "a9993e364706816aba3e25717850c26c9cd0d89d"
--- no_error_log
[error]



=== TEST 3: AES, with a key of a text and with a key and an initial vector
--- lua
local str, aes = require "resty.string", require "resty.aes"
local plain = aes:new("secret")
local sealed = plain:encrypt("hello")
show(str.to_hex(sealed), plain:decrypt(sealed))
local known = assert(aes:new("\43\126\21\22\40\174\210\166\171\247\21\136\9\207\79\60", nil,
    aes.cipher(128, "cbc"), { iv = "\0\1\2\3\4\5\6\7\8\9\10\11\12\13\14\15" }))
-- NIST SP 800-38A, F.2.1: the first block.
local block = "\107\193\190\226\46\64\159\150\233\61\126\17\115\147\23\42"
show(str.to_hex(known:encrypt(block):sub(1, 16)))
show(known:decrypt("not a block"))
show(aes:new("secret", "short"))
--- response_body
"7b47a4dbb11e2cddb2f3740c9e3a552b" "hello"
"7649abac8119b246cee98e9b12e9197d"
nil
nil "salt must be 8 characters or nil"
--- no_error_log
[error]



=== TEST 4: random bytes
--- lua
local random = require "resty.random"
for _, strong in ipairs { true, false } do
    local a, b = random.bytes(16, strong), random.bytes(16, strong)
    show(#a, #b, a ~= b)
end
--- response_body
16 16 true
16 16 true
--- no_error_log
[error]
