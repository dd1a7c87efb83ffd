-- A question to a name server (RFC 1035): a header of six 16-bit numbers, then
-- the name as labels, each with its length before it, then type and class.
local function query(id, name)
    local labels = name:gsub("([^.]+)%.?", function(label)
        return string.char(#label) .. label
    end)
    return string.char(math.floor(id / 256), id % 256) -- comes back in the answer
        .. "\1\0" -- please find out for me
        .. "\0\1\0\0\0\0\0\0" -- one question and nothing else
        .. labels .. "\0" .. "\0\1\0\1" -- an address, of the Internet
end

local function ask(name)
    local sock = ngx.socket.udp()
    sock:settimeout(1000)
    local ok, err = sock:setpeername("127.0.0.1", ngx.var.dns_port)
    if not ok then
        return nil, err
    end
    local question = query(math.random(0, 65535), name)
    ok, err = sock:send(question)
    if not ok then
        return nil, err
    end
    local answer
    answer, err = sock:receive() -- one datagram
    sock:close()
    if not answer then
        return nil, err
    end
    if answer:sub(1, 2) ~= question:sub(1, 2) then
        return nil, "an answer to another question"
    end
    local code = answer:byte(4) % 16
    if code ~= 0 then
        return nil, "the name server answered with code " .. code
    end
    -- The question comes first; of the answer, the address is the last.
    return table.concat({ answer:byte(-4, -1) }, ".")
end

for _, name in ipairs { "cosocket.demo", "backend.demo", "missing.demo" } do
    local address, err = ask(name)
    if address then
        ngx.say(name, " has the address ", address)
    else
        ngx.say(name, ": ", err)
    end
end
