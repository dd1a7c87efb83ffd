-- An HTTP client that sends what it is told to the nginx that runs it.

-- `seen` is what handlers want to tell the block.
local m = { seen = {} }

local function chunked(data, from)
    local body = {}
    while true do
        local _, last, size = data:find("^(%x+)\r\n", from)
        size = tonumber(size or "", 16)
        if not size or last + size + 2 > #data then
            return table.concat(body) .. "(cut)", #data + 1
        end
        if size == 0 then
            return table.concat(body), last + 3
        end
        body[#body + 1] = data:sub(last + 1, last + size)
        from = last + size + 3
    end
end

-- Prints the responses in `data`: status, Connection header, body.
local function report(data)
    local from = 1
    while from <= #data do
        local _, last, header = data:find("^(HTTP/1.1 .-\r\n)\r\n", from)
        if not last then
            ngx.say("garbage: ", data:sub(from))
            return
        end
        local status = header:match("^%S+ (%d+)")
        from = last + 1
        local body = ""
        local length = tonumber(header:match("\r\nContent%-Length: (%d+)"))
        if header:find("\r\nTransfer-Encoding: chunked", 1, true) then
            body, from = chunked(data, from)
        elseif length then
            body, from = data:sub(from, from + length - 1), from + length
            body = #body == length and body or body .. "(cut)"
        elseif status ~= "100" then
            body, from = data:sub(from), #data + 1
        end
        ngx.print(status, " ", header:match("\r\nConnection: (%S+)") or "-", "\n", body)
        if #body > 0 and body:sub(-1) ~= "\n" then
            ngx.say()
        end
    end
end

-- Sends the strings, pauses for the
-- numbers (seconds), waits for "until" a string where a table says so, ends its sending
-- half for `false`; returns all that came.
function m.raw(...)
    local sock = ngx.socket.tcp()
    sock:settimeout(2000)
    assert(sock:connect("127.0.0.1", m.port or ngx.var.server_port))
    sock:setoption("tcp-nodelay", true)
    local got = {}
    for i = 1, select("#", ...) do
        local piece = select(i, ...)
        if type(piece) == "number" then
            ngx.sleep(piece)
        elseif type(piece) == "table" then
            local read = sock:receiveuntil(piece[1], { inclusive = true })
            local data, err, partial = read()
            got[#got + 1] = data or partial .. "(" .. err .. ")"
        elseif piece == false then
            require("client").shutdown(sock)
        else
            sock:send(piece)
        end
    end
    local data, err, partial = sock:receive("*a")
    sock:close()
    got[#got + 1] = data or partial .. "(" .. err .. ")"
    return table.concat(got)
end

-- The same, printing the responses.
function m.talk(...)
    report((m.raw(...):gsub("%(closed%)$", "")))
end

-- The same; the connection is closed without waiting for any answer.
function m.leave(...)
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", m.port or ngx.var.server_port))
    sock:setoption("tcp-nodelay", true)
    for i = 1, select("#", ...) do
        local piece = select(i, ...)
        if type(piece) == "number" then
            ngx.sleep(piece)
        else
            sock:send(piece)
        end
    end
    sock:close()
end

-- Ends the sending half.
function m.shutdown(sock)
    local ffi = require "ffi"
    pcall(ffi.cdef, "int shutdown(int, int);")
    ffi.C.shutdown(sock:getfd(), 1)
end

-- A request's header; `lines` may be nil.
function m.post(path, lines, body)
    return "POST " .. path .. " HTTP/1.1\r\nHost: localhost\r\n" .. (lines or "") .. "\r\n" .. (body or "")
end

return m
