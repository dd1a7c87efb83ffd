-- A small HTTP/2 client that sends what it is told to the nginx that runs it.

local bit = require "bit"

local DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8

local m = {}
m.__index = m

local function u32(n)
    return string.char(bit.band(bit.rshift(n, 24), 255), bit.band(bit.rshift(n, 16), 255),
        bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
end

local function number(data, from)
    local a, b, c, d = data:byte(from, from + 3)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

local function frame(kind, flags, stream, payload)
    return u32(#payload):sub(2) .. string.char(kind, flags) .. u32(stream) .. payload
end

-- A header line, without compression.
local function line(name, value)
    return "\0" .. string.char(#name) .. name .. string.char(#value) .. value
end

function m.connect(port)
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", port or ngx.var.server_port))
    sock:setoption("tcp-nodelay", true)
    sock:settimeout(2000)
    sock:send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. frame(SETTINGS, 0, 0, ""))
    return setmetatable({ sock = sock, last = -1, streams = {} }, m)
end

-- Begins a request with a body; returns the number of its stream. `headers` is a table of
-- names and values in turn.
function m:post(path, headers)
    self.last = self.last + 2
    self.streams[self.last] = { body = "", window = 65535 }
    local block = line(":method", "POST") .. line(":scheme", "http") .. line(":path", path)
        .. line(":authority", "localhost")
    for i = 1, #(headers or {}), 2 do
        block = block .. line(headers[i], headers[i + 1])
    end
    self.sock:send(frame(HEADERS, 4, self.last, block)) -- END_HEADERS
    return self.last
end

-- Sends a piece of the body; the last one ends it.
function m:data(stream, data, last)
    self.streams[stream].window = self.streams[stream].window - #data
    return self.sock:send(frame(DATA, last and 1 or 0, stream, data))
end

function m:reset(stream)
    return self.sock:send(frame(RST_STREAM, 0, stream, u32(8))) -- CANCEL
end

-- Reads frames until `done` says so of one, or for `timeout` ms; returns whether it did.
function m:read(timeout, done)
    self.sock:settimeout(timeout)
    while true do
        local head, err = self.sock:receive(9)
        if not head then
            return false, err
        end
        local kind, flags, stream = head:byte(4), head:byte(5), number(head, 6)
        local payload = assert(self.sock:receive(number("\0" .. head, 1)))
        local s = self.streams[stream]
        if kind == SETTINGS and flags == 0 then
            self.sock:send(frame(SETTINGS, 1, 0, "")) -- ACK
            for i = 1, #payload, 6 do
                if payload:sub(i, i + 1) == "\0\4" then
                    for _, each in pairs(self.streams) do
                        each.window = each.window + number(payload, i + 2) - 65535
                    end
                end
            end
        elseif s and kind == WINDOW_UPDATE then
            s.window = s.window + number(payload, 1)
        elseif s and kind == HEADERS then
            s.status = ({ [0x88] = 200, [0x8c] = 400, [0x8e] = 500 })[payload:byte()] or "other"
        elseif s and kind == DATA then
            s.body = s.body .. payload
        elseif s and kind == RST_STREAM then
            s.reset = number(payload, 1)
        elseif kind == GOAWAY then
            self.goaway = number(payload, 5)
        end
        if s and bit.band(flags, 1) == 1 and (kind == DATA or kind == HEADERS) then
            s.ended = true
        end
        if done and done(s or {}) then
            return true
        end
    end
end

-- Waits for the response of a stream and prints it.
function m:say(stream)
    local s = self.streams[stream]
    while not (s.ended or s.reset) and self:read(2000, function() return true end) do end
    ngx.print(tostring(s.status), "\n", s.body)
end

function m:close()
    self.sock:close()
end

return m
