-- Redis' protocol is plain text with lengths, so a client is two functions.
-- A command is an array of strings: "*2\r\n$3\r\nGET\r\n$5\r\nhello\r\n".
local function encode(...)
    local words = { ... }
    local out = { "*", #words, "\r\n" }
    for _, word in ipairs(words) do
        word = tostring(word)
        out[#out + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
    end
    return out
end

-- The first byte of a reply tells its kind.
local function read_reply(sock)
    local line, err = sock:receive()
    if not line then
        return nil, err
    end
    local kind, rest = line:sub(1, 1), line:sub(2)
    if kind == "+" then
        return rest
    elseif kind == "-" then
        return nil, rest
    elseif kind == ":" then
        return tonumber(rest)
    elseif kind == "$" then
        local length = tonumber(rest)
        if length < 0 then
            return ngx.null -- no such key
        end
        local data, data_err = sock:receive(length + 2)
        return data and data:sub(1, -3), data_err
    end
    return nil, "unexpected reply: " .. line
end

local sock = ngx.socket.tcp()
sock:settimeout(1000)
local ok, err = sock:connect(ngx.var.redis_host, ngx.var.redis_port)
if not ok then
    ngx.say("failed to connect: ", err)
    return
end

-- A pipeline: all commands leave in one send, then the replies are read.
local commands = {
    { "PING" },
    { "SET", "cosocket:greeting", "hello from a cosocket" },
    { "GET", "cosocket:greeting" },
    { "INCR", "cosocket:visits" },
    { "GET", "cosocket:missing" },
    { "NO-SUCH-COMMAND" },
}
local pipeline = {}
for i, command in ipairs(commands) do
    pipeline[i] = encode(unpack(command))
end
local bytes
bytes, err = sock:send(pipeline)
if not bytes then
    ngx.say("failed to send: ", err)
    return
end
for _, command in ipairs(commands) do
    local reply, reply_err = read_reply(sock)
    if reply == nil then
        reply = "error: " .. reply_err
    elseif reply == ngx.null then
        reply = "(no such key)"
    end
    ngx.say(table.concat(command, " "), "\n    -> ", reply)
end

-- Not closed but kept: the next visit finds the connection ready.
ok, err = sock:setkeepalive(10000, 10)
if not ok then
    ngx.say("failed to keep the connection: ", err)
end
