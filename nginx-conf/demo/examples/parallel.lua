-- Three fetches side by side, one light thread for each. Answers are shown in
-- the order in which they come: the slowest was asked first.
local function fetch(seconds)
    local sock = ngx.socket.tcp()
    sock:settimeout(3000)
    local ok, err = sock:connect("127.0.0.1", ngx.var.server_port)
    if not ok then
        return nil, err
    end
    ok, err = sock:send("GET /slow?" .. seconds .. " HTTP/1.0\r\nHost: backend.demo\r\n\r\n")
    if not ok then
        return nil, err
    end
    local response
    response, err = sock:receive("*a") -- until the other side closes
    sock:close()
    return response and response:match("\r\n\r\n(.-)\n$"), err
end

ngx.update_time() -- ngx.now is a cached clock
local start = ngx.now()

local threads = {}
for _, seconds in ipairs { 0.6, 0.4, 0.2 } do
    local thread, err = ngx.thread.spawn(fetch, seconds)
    if not thread then
        ngx.say("failed to spawn: ", err)
        return
    end
    threads[#threads + 1] = thread
end

while #threads > 0 do
    -- Waits for whichever ends first.
    local ok, answer, err = ngx.thread.wait(unpack(threads))
    ngx.update_time()
    if ok and answer then
        ngx.say(string.format("%.2f s  %s", ngx.now() - start, answer))
    else
        ngx.say("failed: ", err or answer)
    end
    ngx.flush() -- show each line as soon as it is there
    for i = #threads, 1, -1 do
        if coroutine.status(threads[i]) == "dead" then
            table.remove(threads, i)
        end
    end
end
