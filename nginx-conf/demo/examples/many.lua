-- Ten slow answers, each half a second away, in about half a second: all
-- questions are asked before the first answer is awaited. No thread and no
-- second worker is involved.
local function ask()
    local sock = ngx.socket.tcp()
    sock:settimeout(3000)
    local ok, err = sock:connect("127.0.0.1", ngx.var.server_port)
    if not ok then
        return nil, err
    end
    ok, err = sock:send("GET /slow?0.5 HTTP/1.0\r\nHost: backend.demo\r\n\r\n")
    if not ok then
        return nil, err
    end
    return sock
end

ngx.update_time() -- ngx.now is a cached clock
local start = ngx.now()

local socks = {}
for i = 1, 10 do
    local sock, err = ask()
    if not sock then
        ngx.say("failed to ask: ", err)
        return
    end
    socks[i] = sock
end

for i, sock in ipairs(socks) do
    local response, err = sock:receive("*a") -- until the other side closes
    if not response then
        ngx.say("failed to receive: ", err)
        return
    end
    sock:close()
    ngx.update_time()
    ngx.say(string.format("%.2f s  answer %2d: %s", ngx.now() - start, i,
        response:match("\r\n\r\n(.-)\n$")))
    ngx.flush() -- show each line as soon as it is there
end
