-- An HTTP client in forty lines, talking to the second server block of this
-- very nginx. The worker is client and server at once: while the handler
-- waits for the answer, the same worker writes it.
local sock = ngx.socket.tcp()
sock:settimeout(1000)

local ok, err = sock:connect("127.0.0.1", ngx.var.server_port)
if not ok then
    ngx.say("failed to connect: ", err)
    return
end

-- A table of strings is sent as it is; there is no need to join them first.
local bytes
bytes, err = sock:send({
    "GET /any/path HTTP/1.1\r\n",
    "Host: backend.demo\r\n",
    "Connection: close\r\n",
    "\r\n",
})
if not bytes then
    ngx.say("failed to send: ", err)
    return
end

-- The header ends at the first empty line, wherever the packets end.
local read_header = sock:receiveuntil("\r\n\r\n")
local header
header, err = read_header()
if not header then
    ngx.say("failed to read the header: ", err)
    return
end

local status = header:match("^HTTP/%d%.%d (%d+)")
local length = tonumber(header:match("[Cc]ontent%-[Ll]ength: *(%d+)"))
ngx.say("status ", status, ", ", length, " bytes of body; the header was:")
ngx.say((("\n" .. header):gsub("\r?\n", "\n    ")))

local body
body, err = sock:receive(length) -- exactly so many bytes
if not body then
    ngx.say("failed to read the body: ", err)
    return
end
ngx.say("\nThe body: ", body)
sock:close()
