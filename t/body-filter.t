# body_filter_by_lua: Lua sees and changes each part of the response body. With
# `?w=1` in the request the code waits for a moment, which holds that part.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

add_block_preprocessor( sub {
    my ($block) = @_;
    $block->set_value( http_config => ( $block->http_config // '' ) . <<'END' );
init_by_lua_block {
    package.loaded.wait = function()
        if ngx.var.arg_w then ngx.sleep(0.01) end
    end
}
END
} );

no_long_string();
run_tests();

__DATA__

=== TEST 1: a chunk is replaced, by all forms of the directive
--- http_config
    body_filter_by_lua 'require "wait"() ngx.arg[1] = ngx.arg[1]:upper()';
--- config
    location /a { content_by_lua_block { ngx.say("hello ", ngx.get_phase()) } }
    location /b { alias html/a.txt; }
    location /c { return 200 "c\n"; body_filter_by_lua_file html/$arg_f.lua; }
    location /d {
        set $yes 1;
        if ($yes) {
            body_filter_by_lua_block { require "wait"() ngx.arg[1] = ngx.get_phase():sub(1, #ngx.arg[1] - 1) .. ngx.arg[1]:sub(-1) }
        }
        return 200 "some bytes.\n";
    }
--- user_files
>>> a.txt
some text
>>> f.lua
require "wait"() ngx.arg[1] = ngx.arg[1]:rep(1):gsub("c", "C")
--- request eval
[map { ("GET /a$_", "GET /b$_", "GET /c$_&f=f", "GET /d$_") } "?", "?w=1"]
--- response_body eval
[("HELLO CONTENT\n", "SOME TEXT\n", "C\n", "body_filter\n") x 2]
--- no_error_log
[error]



=== TEST 2: each part comes in a call of its own, in order
--- config
    location /t {
        content_by_lua_block {
            for i = 1, 5 do
                ngx.say("part ", i)
                ngx.flush(i % 2 == 0)
                if i % 2 == 1 then ngx.sleep(0.005) end
            end
        }
        body_filter_by_lua_block {
            ngx.ctx.calls = (ngx.ctx.calls or 0) + 1
            require "wait"()
            if #ngx.arg[1] > 0 then ngx.arg[1] = "<" .. ngx.arg[1] .. ">" end
            if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. "eof, calls > 3: " .. tostring(ngx.ctx.calls > 3) .. "\n" end
        }
    }
--- pipelined_requests eval
["GET /t", "GET /t?w=1", "GET /t"]
--- response_body_like eval
[(qr/^<part 1\n>.*part 5\n>.*eof, calls > 3: true\n$/s) x 3]
--- no_error_log
[error]



=== TEST 3: eof can be set; what comes then is dropped
--- config
    location /t {
        content_by_lua_block {
            for _, word in ipairs { "one", "two", "three" } do
                ngx.say(word)
                ngx.flush(true)
            end
        }
        body_filter_by_lua_block {
            require "wait"()
            ngx.log(ngx.WARN, "chunk ", ngx.arg[1])
            if ngx.arg[1]:find("two") then ngx.arg[2] = true end
        }
    }
    location /u {
        content_by_lua_block { ngx.say("one") ngx.flush(true) ngx.say("two") }
        body_filter_by_lua_block {
            require "wait"()
            ngx.arg[1] = nil
            ngx.arg[2] = true
        }
    }
    location /v {
        content_by_lua_block { ngx.say("one") }
        body_filter_by_lua_block { require "wait"() if ngx.arg[2] then ngx.arg[2] = false end }
    }
--- pipelined_requests eval
["GET /t", "GET /t?w=1", "GET /u", "GET /u?w=1", "GET /v", "GET /v?w=1"]
--- response_body eval
["one\ntwo\n", "one\ntwo\n", "", "", "one\n", "one\n"]
--- no_error_log
chunk three
[error]



=== TEST 4: what can be assigned, and what cannot
--- config
    location /t {
        content_by_lua_block { ngx.print("x") }
        body_filter_by_lua_block {
            require "wait"()
            if ngx.arg[1] == "" then return end
            local out = {}
            for _, value in ipairs { "s", 12, { "a", { "b", 3 } }, {}, "" } do
                ngx.arg[1] = value
                out[#out + 1] = ngx.arg[1]
            end
            ngx.arg[1] = nil
            out[#out + 1] = ngx.arg[1]
            for _, value in ipairs { true, print, { true }, { a = 1 } } do
                local ok, err = pcall(function() ngx.arg[1] = value end)
                out[#out + 1] = "\n" .. err:gsub("^.-: ", "")
            end
            out[#out + 1] = "\n" .. tostring(ngx.arg[2]) .. tostring(ngx.arg[3])
            out[#out + 1] = "\n" .. tostring(pcall(function() ngx.arg[3] = 1 end))
            ngx.arg[1] = out
        }
    }
--- request eval
["GET /t", "GET /t?w=1"]
--- response_body eval
[("s12ab3
bad chunk data type: boolean
bad chunk data type: function
bad chunk data type: boolean
bad chunk data type: non-array table
truenil
false") x 2]
--- no_error_log
[alert]
[error]



=== TEST 5: parts that are not touched pass as they are
--- config
    location /t {
        content_by_lua_block { ngx.print(("x"):rep(100000)) ngx.say("end") }
        body_filter_by_lua_block { require "wait"() local _ = ngx.arg[1] }
    }
    location /s/ { alias html/; body_filter_by_lua_block { require "wait"() } }
--- user_files eval
">>> a.txt\n" . "y" x 100_000
--- request eval
["GET /t", "GET /t?w=1", "GET /s/a.txt", "GET /s/a.txt?w=1"]
--- response_body eval
[("x" x 100_000 . "end\n") x 2, ("y" x 100_000) x 2]
--- no_error_log
[error]



=== TEST 6: an error, or ngx.ERROR, cuts the response
--- config
    location /t {
        content_by_lua_block { ngx.say("one") ngx.flush(true) ngx.say("two") }
        body_filter_by_lua_block {
            require "wait"()
            if ngx.arg[1]:find("two") then
                if ngx.var.arg_error then error("bang") end
                return ngx.ERROR
            end
        }
    }
--- request eval
[map { "GET /t?$_" } "", "w=1", "error=1", "error=1&w=1"]
--- raw_response_body_like
x
--- ignore_response
--- error_log
failed to run body_filter_by_lua*: body_filter_by_lua(nginx.conf:
bang
--- no_error_log
[alert]



=== TEST 7: what makes output or leads elsewhere is not to be called
--- config
    location /t {
        content_by_lua_block { ngx.say("body") }
        body_filter_by_lua_block {
            require "wait"()
            if ngx.arg[1] == "" then return end
            local failed = {}
            for _, call in ipairs {
                function() ngx.say("x") end, function() ngx.flush() end, function() ngx.eof() end,
                function() ngx.send_headers() end, function() ngx.redirect("/") end,
                function() ngx.exec("/") end, function() ngx.req.socket() end,
                function() ngx.req.read_body() end, function() ngx.exit(500) end,
            } do
                local ok, err = pcall(call)
                failed[#failed + 1] = tostring(ok) .. " " .. err:gsub("^.-: ", "")
            end
            ngx.header.X = "late"
            ngx.status = 500
            ngx.arg[1] = failed[1] .. "\n"
            for i = 2, #failed do
                if failed[i] ~= failed[1] then ngx.arg[1] = failed[i] end
            end
        }
    }
--- request eval
["GET /t", "GET /t?w=1"]
--- response_body eval
[("false API disabled in the context of body_filter_by_lua*\n") x 2]
--- response_headers eval
["! X", "! X"]
--- error_log
attempt to set ngx.header.HEADER after sending out response headers
attempt to set ngx.status after sending out response headers



=== TEST 8: ngx.arg elsewhere
--- config
    location /t {
        content_by_lua_block {
            ngx.say(pcall(function() return ngx.arg[1] end))
            ngx.say(pcall(function() ngx.arg[1] = "x" end))
        }
    }
--- request
GET /t
--- response_body_like
^false.*API disabled in the context of content_by_lua\*
false.*API disabled in the context of content_by_lua\*$



=== TEST 9: a length that is not that of Content-Length ends the connection
--- config
    location /s/ {
        alias html/;
        body_filter_by_lua_block { require "wait"() ngx.arg[1] = ngx.unescape_uri(ngx.var.arg_text) }
    }
    location /eof/ { alias html/; body_filter_by_lua_block { require "wait"() ngx.arg[1] = "" ngx.arg[2] = true } }
--- user_files
>>> a.txt
some text
--- lua
for _, query in ipairs { "text=some+TEXT%0a", "text=short", "text=some+longer", "w=1&text=short" } do
    talk("GET /s/a.txt?" .. query .. " HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /s/a.txt?text=0123456789 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
end
talk("GET /eof/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
--- response_body
200 keep-alive
some TEXT
200 close
0123456789
200 keep-alive
short(cut)
200 keep-alive
some longe
garbage: r
200 keep-alive
short(cut)
200 keep-alive
(cut)



=== TEST 10: a length that filters in Lua have made right leaves the connection open
--- config
    location = /header {
        content_by_lua_block { ngx.say("hello world") }
        header_filter_by_lua_block { require "wait"() ngx.header.content_length = 6 }
        body_filter_by_lua_block { require "wait"() ngx.arg[1] = ngx.arg[2] and "short\n" or "" }
    }
    location = /content {
        content_by_lua_block { ngx.header.content_length = 6 ngx.print("hello ") ngx.flush() ngx.say("world") }
        body_filter_by_lua_block { require "wait"() ngx.arg[1] = ngx.arg[2] and "short\n" or "" }
    }
    location = /waits {
        content_by_lua_block { ngx.header.content_length = 99 ngx.say("short") }
        header_filter_by_lua_block { ngx.sleep(0.01) ngx.header.content_length = 6 }
    }
    location = /end { return 200 "end\n"; }
--- lua
for _, uri in ipairs { "/header", "/header?w=1", "/content", "/content?w=1", "/waits" } do
    talk("GET " .. uri .. " HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
end
--- response_body
200 keep-alive
short
200 close
end
200 keep-alive
short
200 close
end
200 keep-alive
short
200 close
end
200 keep-alive
short
200 close
end
200 keep-alive
short
200 close
end
