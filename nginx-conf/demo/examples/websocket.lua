-- Answers each WebSocket message with itself in capital letters.
local bit = require("bit")

local key = ngx.var.http_sec_websocket_key
if not key then
    ngx.say("This one speaks WebSocket: open its page in a browser.")
    return
end

-- The handshake is an HTTP response like any other; then the connection is ours.
ngx.status = 101
ngx.header["Upgrade"] = "websocket"
ngx.header["Sec-WebSocket-Accept"] =
    ngx.encode_base64(ngx.sha1_bin(key .. "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
ngx.header["Content-Type"] = nil
ngx.send_headers()
ngx.flush(true)

local sock, err = ngx.req.socket(true)
if not sock then
    ngx.log(ngx.ERR, "no raw socket: ", err)
    return ngx.exit(444)
end
sock:settimeout(300000) -- five minutes without a word

local TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

-- One frame from the client: what it is, and its payload; or nil and an error.
local function read_frame()
    local head, failed = sock:receive(2)
    if not head then
        return nil, failed
    end
    local first, second = head:byte(1, 2)
    local size = second - 128 -- the mask bit: clients always set it
    if first < 128 or size < 0 or size == 127 then
        return nil, "fragments and giants are left to the libraries"
    end
    if size == 126 then
        local high, low = assert(sock:receive(2)):byte(1, 2)
        size = high * 256 + low
    end
    local mask = { assert(sock:receive(4)):byte(1, 4) }
    local masked, bytes = assert(sock:receive(size)), {}
    for i = 1, size do
        bytes[i] = string.char(bit.bxor(masked:byte(i), mask[(i - 1) % 4 + 1]))
    end
    return first - 128, table.concat(bytes)
end

local function send_frame(kind, data)
    local size = #data < 126 and string.char(#data)
        or string.char(126, math.floor(#data / 256), #data % 256)
    return sock:send({ string.char(128 + kind), size, data })
end

local kind, data
repeat
    kind, data = read_frame()
    if kind == TEXT or kind == BINARY then
        send_frame(kind, data:upper())
    elseif kind == PING then
        send_frame(PONG, data)
    elseif kind == CLOSE then
        send_frame(CLOSE, data)
    end
until not kind or kind == CLOSE
