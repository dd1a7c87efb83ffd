# ngx.req.set_body_data, set_body_file, init_body, discard_body, get_body_file, get_post_args, set_method,
# raw_header, is_internal.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

add_block_preprocessor( sub {
    my ($block) = @_;
    if ( defined $block->script ) {
        $block->set_value( http_config => $block->http_config . 'chunked_transfer_encoding off;' );
        $block->set_value( config => ( $block->config // '' ) . "
            location = /echo {
                content_by_lua_block {
                    ngx.req.read_body()
                    ngx.say(ngx.req.get_method(), ' ', ngx.var.http_content_length, ' ',
                        ngx.var.http_transfer_encoding, ' ', ngx.req.get_body_data())
                }
            }
            location = /t {
                content_by_lua_block {
                    local function fails(f, ...) ngx.say((select(2, pcall(f, ...)))) end
                    local function talk(request, late)
                        local sock = ngx.socket.tcp()
                        sock:settimeout(3000)
                        assert(sock:connect('127.0.0.1', ngx.var.server_port))
                        assert(sock:send(request))
                        if late then
                            ngx.sleep(0.05)
                            sock:send(late)
                        end
                        local data = assert(sock:receive('*a'))
                        sock:close()
                        ngx.print((data:gsub('HTTP/1.1 (%d+) [^\\r]*\\r\\n.-\\r\\n\\r\\n', '%1 ')))
                    end
                    local function post(uri, body, more)
                        return 'POST ' .. uri .. ' HTTP/1.1\\r\\nHost: localhost\\r\\n' .. (more or '')
                            .. 'Content-Length: ' .. #body .. '\\r\\n\\r\\n' .. body
                    end
                    local close = 'Connection: close\\r\\n'
                    @{[ $block->script ]}
                }
            }" );
    }
    $block->set_value( request => 'GET /t' ) if !defined $block->request;
    $block->set_value( no_error_log => "[error]\n[alert]" ) if !defined $block->error_log;
} );
no_long_string();
run_tests();

__DATA__

=== TEST 1: another body, as Lua and a server behind see it
--- config
    location = /data {
        rewrite_by_lua_block {
            ngx.req.read_body()
            ngx.req.set_method(ngx.HTTP_PUT)
            ngx.req.set_body_data("changed")
        }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
    }
    location = /empty {
        rewrite_by_lua_block { ngx.req.read_body() ngx.req.set_body_data("") }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
    }
    location = /file {
        rewrite_by_lua_block { ngx.req.read_body() ngx.req.set_body_file("$TEST_NGINX_HTML_DIR/body.txt") }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
    }
    location = /discard {
        rewrite_by_lua_block { ngx.req.discard_body() }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
    }
--- user_files
>>> body.txt
a=file&b
--- script
local chunks = "Host: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
for _, uri in ipairs { "/data", "/empty", "/file", "/discard" } do
    talk(post(uri, "hello") .. post(uri, "again", close))
    talk("POST " .. uri .. " HTTP/1.1\r\n" .. chunks)
end
--- response_body
200 PUT 7 nil changed
200 PUT 7 nil changed
200 PUT 7 nil changed
200 POST 0 nil nil
200 POST 0 nil nil
200 POST 0 nil nil
200 POST 9 nil a=file&b

200 POST 9 nil a=file&b

200 POST 9 nil a=file&b

200 POST 0 nil nil
200 POST 0 nil nil
200 POST 0 nil nil



=== TEST 2: arguments of the body
--- config
    location = /args {
        content_by_lua_block {
            local function say(args, err)
                local list = {}
                for key, value in pairs(args or {}) do
                    list[#list + 1] = key .. "=" .. (type(value) == "table" and table.concat(value, ",") or tostring(value))
                end
                table.sort(list)
                ngx.say(args and table.concat(list, " "), " ", err)
            end
            ngx.say((select(2, pcall(ngx.req.get_post_args))))
            ngx.req.read_body()
            say(ngx.req.get_post_args())
            say(ngx.req.get_post_args(1))
            local own = { old = 1 }
            ngx.say(ngx.req.get_post_args(0, own) == own, " ", own.old)
            ngx.req.set_body_data("x=%41+b")
            say(ngx.req.get_post_args())
            ngx.req.set_body_data("")
            say(ngx.req.get_post_args())
            ngx.req.set_body_file("$TEST_NGINX_HTML_DIR/body.txt")
            say(ngx.req.get_post_args())
        }
    }
--- user_files
>>> body.txt
a=file&b
--- script
talk(post("/args", "a=1&b=2&a=3&c", close))
--- response_body
200 no request body found; maybe you should turn on lua_need_request_body?
a=1,3 b=2 c=true nil
a=1 truncated
true nil
x=A b nil
 nil
nil request body in temp file not supported



=== TEST 3: files: nginx's own, one that stays, one that goes
--- config
    client_body_in_file_only clean;
    location = /files {
        content_by_lua_block {
            local function exists(name)
                local file = io.open(name)
                if file then file:close() end
                return file ~= nil
            end
            local function copy(name)
                name = "$TEST_NGINX_HTML_DIR/" .. name
                local file = io.open(name, "w")
                file:write("copied")
                file:close()
                return name
            end
            local open_files = require "puppet".fds
            ngx.say(ngx.req.get_body_file())
            ngx.req.read_body()
            local before = open_files()
            ngx.say(ngx.req.get_body_file():match("/0*1$") , " ", ngx.req.get_body_data())
            ngx.req.set_body_data("memory")
            ngx.say(ngx.req.get_body_file(), " ", ngx.req.get_body_data(), " ", open_files() - before)
            local stays, goes, last = copy("stays"), copy("goes"), copy("last")
            ngx.req.set_body_file(stays)
            ngx.say(ngx.req.get_body_file() == stays, " ", ngx.req.get_body_data(), " ", open_files() - before)
            ngx.req.set_body_file(goes, true)
            ngx.say(ngx.req.get_body_file() == goes, " ", exists(stays), " ", exists(goes), " ", open_files() - before)
            ngx.req.set_body_file(last, true)
            ngx.say(exists(goes), " ", exists(last), " ", ngx.var.content_length)
            package.loaded.last = function() return exists(last) end
        }
    }
--- script
talk(post("/files", "0123456789", close))
ngx.sleep(0.05)
ngx.say(package.loaded.last())
--- response_body
200 nil
/0000000001 nil
nil memory -1
true nil 0
true true true 0
false true 6
false



=== TEST 4: calls that do not fit
--- config
    location = /unread {
        content_by_lua_block {
            local function fails(f, ...) ngx.say((select(2, pcall(f, ...)))) end
            fails(ngx.req.set_body_data, "x")
            fails(ngx.req.set_body_file, "/")
        }
    }
    location = /late {
        content_by_lua_block {
            local function fails(f, ...) ngx.say((select(2, pcall(f, ...)))) end
            ngx.req.discard_body()
            ngx.req.discard_body()
            fails(ngx.req.set_body_data, "x")
            ngx.say(ngx.req.socket())
            ngx.req.read_body()
            ngx.say(ngx.req.get_body_data(), " ", next(ngx.req.get_post_args()))
            ngx.sleep(0.1)
        }
    }
    location = /filter {
        return 204;
        header_filter_by_lua_block {
            ngx.req.set_method(ngx.HTTP_PATCH)
            ngx.header.X = ngx.req.get_method() .. " " .. select(2, pcall(ngx.req.set_body_data, "x"))
        }
    }
--- script
talk(post("/unread", "a", close))
talk((post("/late", "abc", close):gsub("Length: 3", "Length: 4")), "d")
ngx.req.read_body()
for _, args in ipairs { {}, { {} }, { "a", "b" } } do fails(ngx.req.set_body_data, unpack(args)) end
for _, args in ipairs { {}, { "/none/such" }, { "/tmp" }, { "/tmp", 1 }, { "/tmp", true, 1 } } do
    fails(ngx.req.set_body_file, unpack(args))
end
fails(ngx.req.get_post_args, "x")
fails(ngx.req.get_post_args, 1, "x")
fails(ngx.req.set_method, 3)
fails(ngx.req.set_method, "PUT")
fails(ngx.req.set_method)
ngx.req.set_method(ngx.HTTP_TRACE)
ngx.say(ngx.var.request_method, " ", ngx.req.is_internal())
local sock = ngx.socket.connect("127.0.0.1", ngx.var.server_port)
sock:send("GET /filter HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
ngx.say(sock:receive("*a"):match("X: ([^\r]*)"))
--- response_body
200 request body not read yet
request body not read yet
200 request body already discarded asynchronously
nilrequest body discarded
nil nil
expecting 1 arguments but seen 0
bad argument #1 to '?' (string expected, got table)
expecting 1 arguments but seen 2
expecting 1 or 2 arguments but seen 0
stat() "/none/such" failed
"/tmp" is not a regular file
bad argument #2 to '?' (boolean expected, got number)
expecting 1 or 2 arguments but seen 3
bad argument #1 to '?' (number expected, got string)
bad argument #2 to '?' (table expected, got string)
unsupported HTTP method: 3
bad method number
bad method number
TRACE false
PATCH API disabled in the context of header_filter_by_lua*



=== TEST 5: the header as text; internal requests
--- config
    location = /raw {
        content_by_lua_block {
            ngx.say((ngx.req.raw_header():gsub("\r\n", "|")))
            ngx.say((ngx.req.raw_header(true):gsub("\r\n", "|")))
            ngx.say(ngx.req.is_internal())
        }
    }
    location = /exec { content_by_lua_block { ngx.exec("/raw") } }
--- script
talk(post("/exec?a", "", "X-A: b\r\n" .. close))
--- response_body
200 POST /exec?a HTTP/1.1|Host: localhost|X-A: b|Connection: close|Content-Length: 0||
Host: localhost|X-A: b|Connection: close|Content-Length: 0||
true



=== TEST 6: a file that nginx made can be opened by its name, and goes with the request
--- config
    client_body_buffer_size 1k;
    location = /large {
        content_by_lua_block {
            ngx.req.read_body()
            local name = ngx.req.get_body_file()
            local file = assert(io.open(name))
            ngx.say(ngx.req.get_body_data(), " ", #file:read("*a"))
            file:close()
            package.loaded.exists = function()
                local file = io.open(name)
                return file ~= nil
            end
        }
    }
--- script
talk(post("/large", ("x"):rep(5000), close))
ngx.sleep(0.05)
ngx.say(package.loaded.exists())
--- response_body
200 nil 5000
false



=== TEST 7: an empty file
--- config
    location = /empty {
        access_by_lua_block {
            local name = "$TEST_NGINX_HTML_DIR/empty"
            io.open(name, "w"):close()
            ngx.req.read_body()
            ngx.req.set_body_file(name)
        }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
    }
--- script
talk(post("/empty", "abc", close))
--- response_body
200 POST 0 nil nil



=== TEST 8: the old body stays for who mirrors the request
--- config
    client_body_in_file_only clean;
    location = /main {
        mirror /mirror;
        content_by_lua_block { ngx.req.read_body() ngx.req.set_body_data("new") ngx.say(ngx.req.get_body_data()) }
    }
    location = /mirror { internal; proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/mirrored; }
    location = /mirrored {
        client_body_in_file_only off;
        content_by_lua_block { ngx.req.read_body() package.loaded.mirrored = ngx.req.get_body_data() }
    }
--- script
talk(post("/main", "old", close))
ngx.sleep(0.05)
ngx.say(package.loaded.mirrored)
--- response_body
200 new
old



=== TEST 9: what is thrown away in HTTP/2 is not promised to an upstream
--- http_config
    server {
        listen unix:$TEST_NGINX_HTML_DIR/behind.sock;
        location / { content_by_lua_block { ngx.say(ngx.req.get_method(), " ", ngx.var.http_content_length) } }
    }
--- config
    location = /discard {
        access_by_lua_block { ngx.req.discard_body() }
        proxy_pass http://unix:$TEST_NGINX_HTML_DIR/behind.sock:/;
    }
--- http2
--- request
POST /discard
0123456789
--- response_body
POST 0



=== TEST 10: a body in the place of one that a request socket has read, once it is at its end
--- config
    location = /socket {
        access_by_lua_block {
            local sock = ngx.req.socket()
            local text = sock:receive(2)
            local ok, err = pcall(ngx.req.set_body_data, "early")
            text = text .. sock:receive("*a")
            ngx.req.set_body_data(text:upper() .. " " .. tostring(err))
        }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
    }
    location = /at-once {
        access_by_lua_block {
            local sock = ngx.req.socket()
            ngx.req.set_body_data("new")
            ngx.var.args = sock:receive("*a")
        }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
    }
--- script
local next = "GET /echo HTTP/1.1\r\nHost: localhost\r\n" .. close .. "\r\n"
talk(post("/socket", "hello"):sub(1, -3), "lo" .. next)
talk("POST /socket HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "2\r\nlo\r\n0\r\n\r\n" .. next)
talk(post("/at-once", "hello") .. next)
--- response_body
200 POST 31 nil HELLO request body not read yet
200 GET nil nil nil
200 POST 31 nil HELLO request body not read yet
200 GET nil nil nil
200 POST 3 nil new
200 GET nil nil nil



=== TEST 11: init_body, append_body, finish_body
--- config
    client_body_buffer_size 1k;
    location = /build {
        content_by_lua_block {
            ngx.req.read_body()
            local function show()
                local file = ngx.req.get_body_file()
                local data = file and io.open(file):read("*a") or ngx.req.get_body_data()
                ngx.say(file and "file " or "memory ", ngx.var.http_content_length, " ", data and #data, " ",
                    data and ngx.crc32_long(data))
            end
            local function build(size, ...)
                ngx.req.init_body(size)
                for _, piece in ipairs { ... } do ngx.req.append_body(piece) end
                ngx.req.finish_body()
                show()
            end
            build(10, "he", "", "llo")
            build(5, "he", 110)
            build(4, "he", "l", "lo, ", "world")
            build(1, "hello, world")
            build(100)
            local long = ("x"):rep(1024)
            build(0, long)
            build(0, long, "y")
            ngx.say(ngx.crc32_long("hello"), " ", ngx.crc32_long("he110"), " ", ngx.crc32_long("hello, world"), " ",
                ngx.crc32_long(long), " ", ngx.crc32_long(long .. "y"))
            -- One that is not finished changes nothing, one that is begun anew starts empty.
            ngx.req.init_body(1)
            ngx.req.append_body("not this")
            show()
            ngx.req.init_body()
            ngx.req.append_body("a")
            ngx.req.finish_body()
            show()
        }
    }
--- script
talk(post("/build", "old", close))
--- response_body
200 memory 5 5 907060870
memory 5 5 2796909593
file 12 12 4289425978
file 12 12 4289425978
memory 0 nil nil
memory 1024 1024 1222111331
file 1025 1025 791200007
907060870 2796909593 4289425978 1222111331 791200007
file 1025 1025 791200007
memory 1 1 3904355907



=== TEST 12: a filter of request bodies, piece by piece
--- config
    location = /filter {
        access_by_lua_block {
            local sock = ngx.req.socket()
            ngx.req.init_body(tonumber(ngx.var.arg_size))
            local ok, err = pcall(ngx.req.finish_body)
            while true do
                local piece = sock:receiveany(3)
                if not piece then break end
                ngx.req.append_body(piece:upper())
            end
            ngx.req.append_body(" " .. tostring(err))
            ngx.req.finish_body()
        }
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
    }
--- script
local next = "GET /echo HTTP/1.1\r\nHost: localhost\r\n" .. close .. "\r\n"
talk(post("/filter?size=4", "hello"):sub(1, -3), "lo" .. next)
talk("POST /filter?size=100 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "2\r\nlo\r\n0\r\n\r\n" .. next)
--- response_body
200 POST 31 nil HELLO request body not read yet
200 GET nil nil nil
200 POST 31 nil HELLO request body not read yet
200 GET nil nil nil



=== TEST 13: init_body, append_body, finish_body: what they refuse
--- config
    location = /refuse {
        content_by_lua_block {
            local function fails(f, ...) ngx.say((select(2, pcall(f, ...)))) end
            fails(ngx.req.init_body)
            fails(ngx.req.finish_body)
            ngx.req.read_body()
            fails(ngx.req.append_body, "x")
            fails(ngx.req.finish_body)
            for _, size in ipairs { -1, "x", {} } do fails(ngx.req.init_body, size) end
            fails(ngx.req.init_body, 1, 2)
            ngx.req.init_body()
            fails(ngx.req.append_body)
            fails(ngx.req.append_body, {})
            fails(ngx.req.append_body, nil)
            ngx.req.finish_body()
            fails(ngx.req.append_body, "x")
        }
        log_by_lua_block { ngx.log(ngx.WARN, select(2, pcall(ngx.req.init_body))) }
    }
--- script
talk(post("/refuse", "old", close))
--- response_body
200 request body not read yet
request body not read yet
request_body not initialized
request_body not initialized
bad size argument: -1
bad argument #1 to '?' (number expected, got string)
bad argument #1 to '?' (number expected, got table)
expecting 0 or 1 argument but seen 2
expecting 1 arguments but seen 0
bad argument #1 to '?' (string expected, got table)
bad argument #1 to '?' (string expected, got nil)
request_body not initialized
--- error_log
API disabled in the context of log_by_lua*



=== TEST 14: the file of a body that is begun anew, or cannot be written, is gone at once
--- config
    location = /files {
        content_by_lua_block {
            local ffi = require "ffi"
            local function fails(f, ...) ngx.say((select(2, pcall(f, ...)))) end
            ffi.cdef[[
                struct rlimit { unsigned long soft, hard; };
                int getrlimit(int what, struct rlimit *limit);
                int setrlimit(int what, const struct rlimit *limit);
                intptr_t signal(int number, intptr_t handler);
            ]]
            local function show(what)
                local list = io.popen("ls -l /proc/" .. ngx.worker.pid() .. "/fd")
                local _, open = list:read("*a"):gsub("client_body/%d", "")
                list:close()
                ngx.say(what, open)
            end
            ngx.req.read_body()
            for _ = 1, 5 do
                ngx.req.init_body(1)
                ngx.req.append_body("not this")
            end
            show("begun: ")
            local FSIZE, SIGXFSZ, IGNORE = 1, 25, 1
            local limit = ffi.new("struct rlimit")
            ffi.C.signal(SIGXFSZ, IGNORE)
            ffi.C.getrlimit(FSIZE, limit)
            local before = limit.soft
            limit.soft = 1048576
            ffi.C.setrlimit(FSIZE, limit)
            local piece = ("x"):rep(1048576)
            ngx.req.append_body(piece:sub(9))
            fails(ngx.req.append_body, "too much")
            limit.soft = before
            ffi.C.setrlimit(FSIZE, limit)
            show("failed: ")
            fails(ngx.req.append_body, "more")
            fails(ngx.req.finish_body)
        }
    }
--- script
talk(post("/files", "old", close))
--- response_body
200 begun: 1
write() failed
failed: 0
request_body not initialized
request_body not initialized
--- error_log
File too large
