# Chunked coding: the bytes that a client gets, whoever makes the chunks. A response that
# stands in one buffer is framed in place; nginx's own filter, which says "http chunk" when it
# makes one, then has nothing to do.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * ( blocks() * 2 + 12 );
no_long_string();

our $http_config = <<'_EOC_';
    lua_package_path "$prefix/html/?.lua;;";
_EOC_

# What comes over the wire after the header, or the answers to several requests.
our $raw = <<'_EOC_';
>>> raw.lua
return function(request)
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", ngx.var.server_port))
    assert(sock:send(request))
    local answer = assert(sock:receive("*a"))
    sock:close()
    return answer, answer:match("\r\n\r\n(.*)$")
end
>>> get.lua
local raw = require "raw"
return function(uri, ...)
    local lines = { "GET " .. uri .. " HTTP/1.1", "Host: a", "Connection: close", ... }
    local answer, body = raw(table.concat(lines, "\r\n") .. "\r\n\r\n")
    return body, answer
end
_EOC_

add_block_preprocessor( sub {
    my ($block) = @_;
    $block->set_value( http_config => $main::http_config ) unless defined $block->http_config;
    $block->set_value( user_files => $main::raw );
    $block->set_value( request => 'GET /t' );
} );

run_tests();

__DATA__

=== TEST 1: one buffer is one chunk, and nginx makes none
--- config
    location = /hello {
        content_by_lua_block { ngx.say("hello, ", "world") }
    }
    location = /t {
        content_by_lua_block {
            local body, answer = require "get" ("/hello")
            local _, count = answer:gsub("Transfer%-Encoding: chunked\r\n", "")
            ngx.header["Content-Length"] = 21
            ngx.print(count, "|", (body:gsub("\r\n", "~")))
        }
    }
--- response_body chomp
1|d~hello, world
~0~~
--- no_error_log
[error]
http chunk:



=== TEST 2: sizes with one digit to five, and those that fill a buffer
--- config
    location = /size {
        content_by_lua_block {
            local size = tonumber(ngx.var.arg_n)
            if ngx.var.arg_say then
                ngx.say(string.rep("x", size - 1))
            else
                ngx.print(string.rep("x", size))
            end
        }
    }
    location = /t {
        content_by_lua_block {
            local get = require "get"
            local sizes = { 1, 2, 9, 10, 15, 16, 17, 255, 256, 257, 503, 504, 505, 511, 512, 513, 514,
                            519, 520, 521, 527, 528, 529, 3899, 3900, 3901, 4095, 4096, 4097, 16383,
                            16384, 65535, 65536, 65537, 70000 }
            for _, n in ipairs(sizes) do
                for _, say in ipairs { "", "&say=1" } do
                    local text = string.rep("x", n)
                    if say ~= "" then text = text:sub(2) .. "\n" end
                    local body = get("/size?n=" .. n .. say)
                    local chunks = {}
                    while true do
                        local digits, rest = body:match("^(%x+)\r\n(.*)$")
                        local size = tonumber(digits, 16)
                        assert(digits == string.format("%x", size), digits)
                        assert(rest:sub(size + 1, size + 2) == "\r\n")
                        chunks[#chunks + 1] = rest:sub(1, size)
                        body = rest:sub(size + 3)
                        if size == 0 then break end
                    end
                    assert(body == "" and table.concat(chunks) == text, n .. say)
                end
            end
            ngx.say("all right")
        }
    }
--- response_body
all right
--- no_error_log
[error]



=== TEST 3: nothing, flushes, waits and an end of their own
--- config
    location = /nothing {
        content_by_lua_block { ngx.print("") }
    }
    location = /flush {
        content_by_lua_block {
            ngx.say("a")
            ngx.flush(true)
            ngx.say("b")
            ngx.sleep(0.001)
            ngx.say("c")
        }
    }
    location = /eof {
        content_by_lua_block {
            ngx.say("a")
            ngx.eof()
            ngx.sleep(0.001)
        }
    }
    location = /t {
        content_by_lua_block {
            local get = require "get"
            for _, uri in ipairs { "/nothing", "/flush", "/eof" } do
                ngx.say(uri, " ", (get(uri):gsub("\r\n", "~"):gsub("\n", "_")))
            end
        }
    }
--- response_body
/nothing 0~~
/flush 2~a_~2~b_~2~c_~0~~
/eof 2~a_~0~~
--- no_error_log
[error]



=== TEST 4: filters of nginx that put parts of the buffer into others
--- config
    location = /sub {
        sub_filter_types *;
        sub_filter "b" "";
        sub_filter "y" "long";
        sub_filter_once off;
        content_by_lua_block { ngx.print(ngx.var.arg_text) }
    }
    location = /ssi {
        ssi on;
        ssi_types text/plain;
        content_by_lua_block { ngx.print('<!--# echo var="arg_text" -->', ngx.var.arg_text) }
    }
    location = /addition {
        addition_types text/plain;
        add_after_body /after;
        content_by_lua_block { ngx.print(ngx.var.arg_text) }
    }
    location = /after {
        content_by_lua_block { ngx.print("after") }
    }
    location = /t {
        content_by_lua_block {
            local get = require "get"
            local function body(uri)
                local rest, text = get(uri), ""
                repeat
                    local size, after = rest:match("^(%x+)\r\n(.*)$")
                    size = tonumber(size, 16)
                    text, rest = text .. after:sub(1, size), after:sub(size + 3)
                until size == 0
                return text, rest == ""
            end
            for _, text in ipairs { "a", "ab", "ba", "aba", "bab", "aya", "ya", "ay", "y" } do
                ngx.say(text, " ", body("/sub?text=" .. text))
            end
            ngx.say(body("/ssi?text=tail"))
            ngx.say(body("/addition?text=before-"))
        }
    }
--- response_body
a atrue
ab atrue
ba atrue
aba aatrue
bab atrue
aya alongatrue
ya longatrue
ay alongtrue
y longtrue
tailtailtrue
before-aftertrue
--- no_error_log
[error]



=== TEST 5: gzip and filters in Lua
--- config
    gzip on;
    gzip_min_length 1;
    gzip_types text/plain;
    location = /text {
        content_by_lua_block { ngx.say(string.rep("text ", 50)) }
    }
    location = /filter {
        gzip off;
        content_by_lua_block { ngx.say("text") }
        body_filter_by_lua_block { ngx.arg[1] = ngx.arg[1]:upper() .. (ngx.arg[2] and "!" or "") }
    }
    location = /seen {
        gzip off;
        content_by_lua_block { ngx.print("text") }
        body_filter_by_lua_block { ngx.log(ngx.WARN, "seen: ", ngx.arg[1], ngx.arg[2]) }
    }
    location = /t {
        content_by_lua_block {
            local get = require "get"
            local body, answer = get("/text", "Accept-Encoding: gzip")
            local size, gz = body:match("^(%x+)\r\n(.*)\r\n0\r\n\r\n$")
            ngx.say(answer:match("Content%-Encoding: %w+"), " ", tonumber(size, 16) == #gz, " ",
                    gz:byte(1, 2))
            ngx.say((get("/filter"):gsub("\r\n", "~"):gsub("\n", "_")))
            ngx.say((get("/seen"):gsub("\r\n", "~")))
        }
    }
--- response_body
Content-Encoding: gzip true 31139
6~TEXT_!~0~~
4~text~0~~
--- error_log
seen: texttrue
--- no_error_log
[error]



=== TEST 6: trailers are nginx's to write
--- config
    location = /trailer {
        add_trailer X-Sum "of it" always;
        content_by_lua_block { ngx.print("text") }
    }
    location = /t {
        content_by_lua_block {
            ngx.say((require "get" ("/trailer"):gsub("\r\n", "~")))
        }
    }
--- response_body
4~text~0~X-Sum: of it~~
--- error_log
http chunk: 4
--- no_error_log
[error]



=== TEST 7: no chunks where there must be none
--- config
    location = /text {
        content_by_lua_block { ngx.print("text") }
    }
    location = /off {
        chunked_transfer_encoding off;
        content_by_lua_block { ngx.print("text") }
    }
    location = /length {
        content_by_lua_block {
            ngx.header["Content-Length"] = 4
            ngx.print("text")
        }
    }
    location = /empty {
        content_by_lua_block { ngx.status = 204; ngx.print("text") }
    }
    location = /t {
        content_by_lua_block {
            local raw, get = require "raw", require "get"
            ngx.say(get("/off"), "|", get("/length"), "|", get("/empty"), "|")
            local answer, body = raw("HEAD /text HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            ngx.say(answer:match("200 OK"), " [", body, "]")
            ngx.say(select(2, raw("GET /text HTTP/1.0\r\n\r\n")))
        }
    }
--- response_body
text|text||
200 OK []
text
--- no_error_log
[error]



=== TEST 8: one response after the other on a connection
--- config
    location = /text {
        content_by_lua_block { ngx.print(ngx.var.arg_text) }
    }
    location = /t {
        content_by_lua_block {
            local requests = {}
            for i = 1, 3 do
                requests[i] = "GET /text?text=number" .. i .. " HTTP/1.1\r\nHost: a\r\n"
                    .. (i == 3 and "Connection: close\r\n" or "") .. "\r\n"
            end
            local answer = require "raw" (table.concat(requests))
            for body in answer:gmatch("\r\n\r\n(%d.-0\r\n\r\n)") do
                ngx.say((body:gsub("\r\n", "~")))
            end
        }
    }
--- response_body
7~number1~0~~
7~number2~0~~
7~number3~0~~
--- no_error_log
[error]



=== TEST 9: a subrequest's output among that of others
--- config
    location = /page {
        ssi on;
        ssi_types text/plain;
        content_by_lua_block {
            ngx.print('x<!--# include virtual="/part?n=x" -->z<!--# include virtual="/part?n=z" -->')
        }
    }
    location = /part {
        content_by_lua_block { ngx.print("out", ngx.var.arg_n) }
    }
    location = /t {
        content_by_lua_block {
            local body = require "get" ("/page")
            ngx.say((body:gsub("%x+\r\n", ""):gsub("\r\n", "")))
        }
    }
--- response_body
xoutxzoutz
--- no_error_log
[error]
