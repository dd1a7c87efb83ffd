-- Sockets with many lines to read.

local t = require "puppet"

local m = {}

-- A command of the puppet's that sends `text`.
function m.say(text)
    return "say:" .. text:gsub("[^%w]", function(byte) return ("%%%02X"):format(byte:byte()) end)
end

-- "1\n2\n…" up to n.
function m.numbers(n)
    local lines = {}
    for i = 1, n do
        lines[i] = i .. "\n"
    end
    return table.concat(lines)
end

-- A socket that is read line by line: of the lines 1 to n, `from` is the next. The peer then
-- does what `script` says.
function m.open(n, from, script)
    local sock = t.open(m.say(m.numbers(n)) .. " " .. (script or "hold"))
    for i = 1, from - 1 do
        assert(sock:receive() == tostring(i))
    end
    return sock
end

return m
