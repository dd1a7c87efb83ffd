-- What can go wrong comes back as nil and a message; nothing is thrown, and
-- the handler goes on.
local function try(title, ...)
    local sock = ngx.socket.tcp()
    sock:settimeout(500)
    local ok, err = sock:connect(...)
    ngx.say(title)
    ngx.say("    connect returned ", tostring(ok), ", ", err, "\n")
end

try("A port where nobody listens:", "127.0.0.1", 1)
try("A unix socket that does not exist:", "unix:/nowhere/at/all.sock")
try("A name, in a server block without a resolver:", "example.invalid", 80)
try("A port that cannot be:", "127.0.0.1", 65536)
