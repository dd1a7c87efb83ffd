-- Runs twice for a request: to answer it (content_by_lua_file), and when it is
-- over (log_by_lua_file). In that second run the first wait detaches the code: the
-- client has its answer, nginx has freed the request, and ngx.var still knows it.
local function ask(...)
    local words = { ... }
    for i, word in ipairs(words) do
        words[i] = "$" .. #word .. "\r\n" .. word .. "\r\n"
    end
    local sock = ngx.socket.tcp()
    sock:settimeout(1000)
    local ok, err = sock:connect(ngx.var.redis_host, ngx.var.redis_port)
    if not ok then
        return nil, err
    end
    sock:send { "*", #words, "\r\n", words }
    local line
    line, err = sock:receive()
    local length = line and tonumber(line:match("^%$(%d+)$"))
    if length then
        line, err = sock:receive(length)
        sock:receive(2)
    end
    sock:setkeepalive(10000, 10)
    return line, err
end

if ngx.get_phase() == "log" then
    ngx.sleep(0.1) -- nobody waits for it
    local line = string.format("%s: %d, %d bytes to %s in %s s",
        ngx.var.request, ngx.status, ngx.var.bytes_sent, ngx.var.remote_addr, ngx.var.request_time)
    local ok, err = ask("SET", "cosocket:log", line)
    if not ok then
        ngx.log(ngx.ERR, "the log is lost: ", err)
    end
    return
end

local line, err = ask("GET", "cosocket:log")
if not line or line == "$-1" then
    ngx.say("The log is empty. Run it again.", err and " (" .. err .. ")" or "")
else
    ngx.say("The log of the last request:\n", line)
end
