# ngx.md5, md5_bin, sha1_bin, hmac_sha1, crc32_short, crc32_long, encode_base64,
# decode_base64, decode_base64mime.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

run_tests();

__DATA__

=== TEST 1: digests
--- lua
local function hex(s) return (s:gsub(".", function(b) return ("%02x"):format(b:byte()) end)) end
for _, s in ipairs { "", "hello", ("a"):rep(1000), "\0\255", 32, true } do
    show(ngx.md5(s), hex(ngx.md5_bin(s)) == ngx.md5(s), hex(ngx.sha1_bin(s)), ngx.crc32_short(s), ngx.crc32_long(s))
end
show(ngx.md5(nil) == ngx.md5(""), ngx.sha1_bin(false) == ngx.sha1_bin(""), ngx.crc32_long(nil))
show(hex(ngx.hmac_sha1("thisisverysecretstuff", "some string we want to sign")))
show(hex(ngx.hmac_sha1("key", "The quick brown fox jumps over the lazy dog")))
show(hex(ngx.hmac_sha1(("\170"):rep(80), "Test Using Larger Than Block-Size Key - Hash Key First")))
show(hex(ngx.hmac_sha1("", "")))
--- response_body
"d41d8cd98f00b204e9800998ecf8427e" true "da39a3ee5e6b4b0d3255bfef95601890afd80709" 0 0
"5d41402abc4b2a76b9719d911017c592" true "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d" 907060870 907060870
"cabe45dcc9ae5b66ba86600cca6b8ba8" true "291e9a6c66994949b57ba5e650361e98fc36b1ba" 2587417091 2587417091
"d07d34efac6328007ad67c7e0a985e00" true "aa3e5dcdd77b153f2e59bd0d8794fde33cb4e486" 1826356594 1826356594
"6364d3f0f495b6ab9dcf8d3b5c6e0b01" true "cb4e5208b4cd87268b208e49452ed6e89a68e0b8" 2103780943 2103780943
"b326b5062b2f0e69046810717534cb09" true "5ffe533b830f08a0326348a9160afafc8ada44db" 4261170317 4261170317
true true 0
"47fa6fc731c2e0d2ed8fb4be917160fcd78f4e69"
"de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9"
"aa4ae5e15272d00e95705637ce8a3b55ed402112"
"fbdb1d1b18aa6c08324b7d64b71fb76370690e1d"



=== TEST 2: Base64
--- lua
for _, s in ipairs { "", "h", "he", "hel", "hello", "\0\255\254", 12, false } do
    local text = ngx.encode_base64(s)
    show(text, ngx.encode_base64(s, true), ngx.encode_base64(s, false) == text, ngx.decode_base64(text) == tostring(s))
end
show(ngx.encode_base64(nil))
local long = ("x"):rep(500000)
show(ngx.decode_base64(ngx.encode_base64(long)) == long, #ngx.encode_base64(long))
show(ngx.decode_base64("aGVsbG8"), ngx.decode_base64("aGVsbG8="), ngx.decode_base64("aGVsbG8=x"))
show(ngx.decode_base64("a"), ngx.decode_base64("^*~"), ngx.decode_base64("aGVs\nbG8="), ngx.decode_base64("-_-_"))
show(ngx.decode_base64mime("aGVs\r\nbG8="), ngx.decode_base64mime("a-G_V.s"), ngx.decode_base64mime(""))
show(ngx.decode_base64mime("a"))
--- response_body
"" "" true true
"aA==" "aA" true true
"aGU=" "aGU" true true
"aGVs" "aGVs" true true
"aGVsbG8=" "aGVsbG8" true true
"AP/+" "AP/+" true true
"MTI=" "MTI" true true
"ZmFsc2U=" "ZmFsc2U" true true
""
true 666668
"hello" "hello" "hello"
nil nil nil nil
"hello" "hel" ""
nil "invalid base64 string"



=== TEST 3: bad arguments
--- lua
for _, name in ipairs { "md5", "md5_bin", "sha1_bin", "crc32_short", "crc32_long", "encode_base64", "decode_base64",
    "decode_base64mime", "hmac_sha1" } do
    fails(ngx[name])
    fails(ngx[name], {})
end
show(ngx.md5(("a"):gsub("b", "c")) == ngx.md5("a"), ngx.crc32_short("", 1), ngx.decode_base64("YQ", 1))
fails(ngx.hmac_sha1, "a", {})
fails(ngx.hmac_sha1, nil, "a")
fails(ngx.hmac_sha1, "a", true)
fails(ngx.encode_base64, "a", "b")
fails(ngx.decode_base64, 12)
fails(ngx.decode_base64, nil)
--- response_body
expecting one argument
bad argument #1 to '?' (string expected, got table)
expecting one argument
bad argument #1 to '?' (string expected, got table)
expecting one argument
bad argument #1 to '?' (string expected, got table)
expecting one argument
bad argument #1 to '?' (string expected, got table)
expecting one argument
bad argument #1 to '?' (string expected, got table)
expecting one argument
bad argument #1 to '?' (string expected, got table)
expecting one argument
string argument only
expecting one argument
string argument only
expecting two arguments
expecting two arguments
true 0 "a"
bad argument #2 to '?' (string expected, got table)
bad argument #1 to '?' (string expected, got nil)
bad argument #2 to '?' (string expected, got boolean)
bad no_padding: boolean expected, got string
string argument only
string argument only



=== TEST 4: without a request
--- http_config
    init_by_lua_block { package.loaded.made = ngx.md5("a") .. ngx.encode_base64("a") }
--- lua
show(package.loaded.made)
--- response_body
"0cc175b9c0f1b6a831c399e269772661YQ=="
