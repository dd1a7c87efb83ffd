-- The second server block answers /slow?1.2 after more than a second; this
-- handler is only willing to wait for half a second at a time.
local sock = ngx.socket.tcp()
sock:settimeout(500)

local ok, err = sock:connect("127.0.0.1", ngx.var.server_port)
if not ok then
    ngx.say("failed to connect: ", err)
    return
end
sock:send("GET /slow?1.2 HTTP/1.0\r\nHost: backend.demo\r\n\r\n")

ngx.update_time()
local start = ngx.now()
for try = 1, 5 do
    local line, receive_err = sock:receive()
    ngx.update_time()
    ngx.say(string.format("%.2f s  try %d: %s", ngx.now() - start, try,
        line and "received " .. line or "receive returned nil, " .. receive_err))
    ngx.flush()
    if line then
        break
    end
    -- A timeout is the one error after which the connection is still good.
end
sock:close()
