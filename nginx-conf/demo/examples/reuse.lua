-- setkeepalive puts a connection into the worker's pool; the next connect to
-- the same host and port takes it from there, without a new TCP handshake.
-- Load this page again: the count goes on where it was, for ten idle seconds.
for round = 1, 5 do
    local sock = ngx.socket.tcp()
    sock:settimeout(1000)

    local ok, err = sock:connect(ngx.var.redis_host, ngx.var.redis_port,
        { pool = "reuse-demo" })
    if not ok then
        ngx.say("failed to connect: ", err)
        return
    end

    local times
    times, err = sock:getreusedtimes()
    if not times then
        ngx.say("failed to ask: ", err)
        return
    end

    sock:send("*1\r\n$4\r\nPING\r\n") -- an error would show in the receive
    local reply
    reply, err = sock:receive()
    ngx.say("round ", round, ": ",
        times == 0 and "a new connection" or "reused, times so far: " .. times,
        "; the answer: ", reply or err)

    ok, err = sock:setkeepalive(10000, 5) -- idle milliseconds, connections
    if not ok then
        ngx.say("failed to keep the connection: ", err)
        return
    end
end
