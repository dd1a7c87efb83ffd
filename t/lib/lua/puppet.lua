-- What the Lua code of blocks with Test::Nginx::Puppet may call.

local ffi = require "ffi"

local t = { port = tonumber(os.getenv("TEST_NGINX_PUPPET_PORT")) }

local escapes = { ["\n"] = "\\n", ["\r"] = "\\r", ["\0"] = "\\0", ['"'] = '\\"', ["\\"] = "\\\\" }

local quote

-- A value as Lua source, about: strings in quotes, the keys of tables in order.
function quote(value)
    if type(value) == "table" then
        local fields = {}
        for key, field in pairs(value) do
            fields[#fields + 1] = tostring(key) .. "=" .. quote(field)
        end
        table.sort(fields)
        return "{" .. table.concat(fields, " ") .. "}"
    end
    if type(value) ~= "string" then
        return tostring(value)
    end
    return '"' .. value:gsub('[%z\n\r"\\]', escapes) .. '"'
end

-- Says all values in one line.
function t.show(...)
    local text = {}
    for i = 1, select("#", ...) do
        text[i] = quote((select(i, ...)))
    end
    ngx.say(table.concat(text, " "))
end

-- Says how f(...) fails, without the position that Lua puts before a message.
function t.fails(f, ...)
    local ok, message = pcall(f, ...)
    if ok then
        return ngx.say("no error")
    end
    ngx.say((tostring(message):gsub("^[%w_]+%b():%d+: ", "")))
end

local function read_file(path)
    local file = assert(io.open(path))
    local text = file:read("*a")
    file:close()
    return text
end

-- A socket whose peer follows the script.
function t.open(script, opts)
    local sock = ngx.socket.tcp()
    sock:settimeout(8000)
    assert(sock:connect("127.0.0.1", t.port, opts))
    if sock:getreusedtimes() == 0 then
        assert(sock:send(script .. "\n"))
    end
    return sock
end

ffi.cdef [[
    int fcntl(int fd, int command, ...);
    int getsockopt(int fd, int level, int name, void *value, unsigned *size);
]]

-- Shows what sslhandshake returned.
function t.shook(result, ...)
    if type(result) ~= "userdata" then
        return t.show(result, ...)
    end
    ngx.say("session")
end

-- A file of Test::Nginx::CA.
function t.pem(name)
    return read_file(os.getenv("TEST_NGINX_CA") .. "/" .. name)
end

-- How many descriptors the worker has open.
function t.fds()
    local count = 0
    for fd = 0, 4095 do
        if ffi.C.fcntl(fd, 1) >= 0 then -- F_GETFD
            count = count + 1
        end
    end
    return count
end

-- How many datagram sockets the worker has open.
function t.datagrams()
    local kind, size, count = ffi.new("int[1]"), ffi.new("unsigned[1]"), 0
    for fd = 0, 4095 do
        size[0] = 4
        -- SOL_SOCKET, SO_TYPE; SOCK_DGRAM
        if ffi.C.getsockopt(fd, 1, 3, kind, size) == 0 and kind[0] == 2 then
            count = count + 1
        end
    end
    return count
end

-- The worker's resident memory in KB.
function t.memory()
    return tonumber(read_file("/proc/self/status"):match("VmRSS:%s*(%d+)"))
end

-- Seconds that f(...) takes, and its results.
function t.timed(f, ...)
    local function since(start, ...)
        ngx.update_time()
        return ngx.now() - start, ...
    end
    ngx.update_time()
    return since(ngx.now(), f(...))
end

-- Whether a duration is about what is expected: not shorter, not much longer.
function t.about(seconds, expected)
    if seconds >= expected - 0.01 and seconds < expected + 3 then
        return "about " .. expected
    end
    return seconds
end

-- What f() gives, once that is what is expected, or after a while.
function t.eventually(expected, f)
    local value
    for _ = 1, 400 do
        value = f()
        if value == expected then break end
        ngx.sleep(0.01)
    end
    return value
end

return t
