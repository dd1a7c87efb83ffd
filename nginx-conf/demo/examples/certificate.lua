-- The server vault.demo has no certificate of its own: demo/handshake.lua looks it
-- up in a Redis, while the handshake waits (ssl_certificate_by_lua_file).
local vault = require "vault"

local function try(name)
    local sock = ngx.socket.tcp()
    sock:settimeout(2000)
    local ok, err = sock:connect("127.0.0.1", ngx.var.tls_port)
    if not ok then
        return "connect: " .. err
    end
    local session
    session, err = sock:sslhandshake(nil, name, true) -- checks the certificate
    if not session then
        return "handshake: " .. err
    end
    ok, err = sock:send("GET / HTTP/1.0\r\nHost: " .. name .. "\r\n\r\n")
    local response
    if ok then
        response, err = sock:receive("*a")
    end
    sock:close()
    return response and response:match("\r\n\r\n(.-)\n$") or err
end

local function read(file)
    return assert(io.open(ngx.config.prefix() .. file)):read("*a")
end

ngx.say("nothing is stored -> ", try("vault.demo"))

local ok, err = vault.put("vault.demo", read("vault.pem"), read("vault.key"))
if not ok then
    ngx.say("failed to store the certificate: ", err)
    return
end
ngx.say("a certificate is  -> ", try("vault.demo"))

vault.remove("vault.demo")
ngx.say("not any more      -> ", try("vault.demo"))
