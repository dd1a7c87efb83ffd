-- WebSocket ends for tests, on lua-nginx-websocket.

local m = {}

-- A client that is connected to /echo, or `uri`.
function m.connect(opts, uri, connect_opts)
    local client = require "resty.websocket.client"
    local ws = assert(client:new(opts or { timeout = 2000, max_payload_len = 1000000 }))
    assert(ws:connect(uri or "ws://127.0.0.1:" .. ngx.var.server_port .. "/echo", connect_opts))
    return ws
end

-- A server that echoes; texts that begin with "!" are commands.
function m.echo()
    local ws, err = require "resty.websocket.server":new { timeout = 2000, max_payload_len = 1000000 }
    if not ws then
        ngx.log(ngx.WARN, "refused: ", err)
        return ngx.exit(400)
    end
    local parts = {}
    while true do
        local data, kind, err = ws:recv_frame()
        if kind == "ping" then
            assert(ws:send_pong(data))
        elseif kind == "pong" then
            ngx.log(ngx.WARN, "pong: ", data)
        elseif kind == "close" then
            ngx.log(ngx.WARN, "close: ", tostring(err), " ", data)
            ws:send_close(err, data)
            return
        elseif kind == "continuation" or err == "again" then
            parts[#parts + 1] = kind .. " " .. data
            if err ~= "again" then
                assert(ws:send_text(table.concat(parts, ", ")))
                parts = {}
            end
        elseif data == "!ping" then
            assert(ws:send_ping("are you there?"))
        elseif data == "!wait" then
            ngx.sleep(0.05)
            assert(ws:send_text("waited"))
        elseif data == "!timeout" then
            ws:set_timeout(30)
            local _, _, err = ws:recv_frame()
            ws:set_timeout(2000)
            assert(ws:send_text(err))
        elseif data then
            assert(ws["send_" .. kind](ws, data))
        else
            ngx.log(ngx.WARN, "failed: ", err)
            return ngx.exit(444)
        end
    end
end

-- Sends 20 messages of 640,000 bytes in one light thread while another receives as many,
-- which the peer sends at the same time. Says how it went: neither direction may wait
-- for the other to finish.
function m.exchange(ws, name)
    local sent, received, both = 0, 0, false
    local writer = ngx.thread.spawn(function()
        for i = 1, 20 do
            assert(ws:send_binary(string.char(64 + i):rep(640000)))
            sent = sent + 640000
            both = both or received > 0 and received < 12800000
        end
    end)
    local reader = ngx.thread.spawn(function()
        for i = 1, 20 do
            local data, kind = assert(ws:recv_frame())
            assert(kind == "binary" and data == string.char(64 + i):rep(640000))
            received = received + #data
            both = both or sent > 0 and sent < 12800000
        end
    end)
    assert(ngx.thread.wait(writer))
    assert(ngx.thread.wait(reader))
    return ("%s: sent %d and received %d, %s"):format(name, sent, received,
        both and "both at once" or "one after the other")
end

-- The server's end of an exchange.
function m.both()
    local ws = assert(require "resty.websocket.server":new { timeout = 20000, max_payload_len = 1000000 })
    assert(ws:send_text(m.exchange(ws, "server")))
end

return m
