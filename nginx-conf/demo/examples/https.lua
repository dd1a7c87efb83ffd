-- One server, asked under two names: its certificate is for the first one.
local function fetch(name)
    local sock = ngx.socket.tcp()
    sock:settimeout(2000)
    local ok, err = sock:connect("127.0.0.1", ngx.var.tls_port)
    if not ok then
        return nil, err
    end

    -- No session to resume; the name for SNI and for the check; do check.
    -- Trusted is what lua_ssl_trusted_certificate says in demo.conf.
    local session
    session, err = sock:sslhandshake(nil, name, true)
    if not session then
        return nil, err -- the connection is closed already
    end

    ok, err = sock:send("GET / HTTP/1.0\r\nHost: " .. name .. "\r\n\r\n")
    if not ok then
        return nil, err
    end
    local response
    response, err = sock:receive("*a") -- until the other side closes
    sock:close()
    return response and response:match("\r\n\r\n(.-)\n$"), err
end

for _, name in ipairs { "secure.demo", "other.demo" } do
    local answer, err = fetch(name)
    ngx.say(name, ": ", answer or err)
end
