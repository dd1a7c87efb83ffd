-- A conversation over TCP, step by step. Every call returns nil and an error
-- message when it fails, so each step checks before the next one starts.
local sock = ngx.socket.tcp()
sock:settimeouts(1000, 1000, 1000) -- connect, send, read: in milliseconds

-- The local address to connect from. Without bind, the system chooses one.
local ok, err = sock:bind("127.0.0.1")
if not ok then
    ngx.say("failed to bind: ", err)
    return
end

ok, err = sock:connect("127.0.0.1", ngx.var.server_port)
if not ok then
    ngx.say("failed to connect: ", err)
    return
end
ngx.say("connected")

local bytes
bytes, err = sock:send("GET /greeting HTTP/1.0\r\nHost: backend.demo\r\n\r\n")
if not bytes then
    ngx.say("failed to send: ", err)
    return
end
ngx.say("sent ", bytes, " bytes")

local line
line, err = sock:receive() -- one line, without its line end
if not line then
    ngx.say("failed to receive: ", err)
    return
end
ngx.say("received: ", line)

ok, err = sock:close()
if not ok then
    ngx.say("failed to close: ", err)
    return
end
ngx.say("closed")
