-- Certificates with their keys, kept in a Redis: what a TLS server with thousands
-- of names would rather look up than load.
local vault = {}
local host, port

-- Says where the Redis is; called by demo.conf.
function vault.server(redis_host, redis_port)
    host, port = redis_host, redis_port
end

-- Sends one command. Returns its reply: text, nil where there is none; or nil and
-- an error.
local function command(...)
    local sock = ngx.socket.tcp()
    sock:settimeout(1000)
    local ok, err = sock:connect(host, port)
    if not ok then
        return nil, err
    end
    local words = { ... }
    local out = { "*", #words, "\r\n" }
    for _, word in ipairs(words) do
        out[#out + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
    end
    local line
    ok, err = sock:send(out)
    if ok then
        line, err = sock:receive()
    end
    if not line then
        return nil, err
    end
    local length = tonumber(line:match("^%$(%d+)$"))
    if length then
        line, err = sock:receive(length)
        ok = line and sock:receive(2)
        if not ok then
            return nil, err
        end
    elseif line == "$-1" then
        line = nil
    end
    sock:setkeepalive(10000, 10)
    return line
end

function vault.put(name, certificate, key)
    local ok, err = command("SET", "cosocket:certificate:" .. name, certificate)
    if ok then
        ok, err = command("SET", "cosocket:key:" .. name, key)
    end
    return ok, err
end

-- Returns certificate and key; nil where there are none; or nil, nil and an error.
function vault.get(name)
    local certificate, err = command("GET", "cosocket:certificate:" .. name)
    if not certificate then
        return nil, nil, err
    end
    local key
    key, err = command("GET", "cosocket:key:" .. name)
    return certificate, key, err
end

function vault.remove(name)
    return command("DEL", "cosocket:certificate:" .. name, "cosocket:key:" .. name)
end

return vault
