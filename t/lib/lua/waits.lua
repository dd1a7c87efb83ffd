-- Every way to wait, and handlers that are ended while they do. t/clean-ends.t uses it.

local t = require "puppet"

local m = {}

local QUEUE = { pool = "waits", pool_size = 1, backlog = 100 }

-- What waits too long for any test. The request's client sends part of a body only.
local forever = {
    sleep = function() ngx.sleep(60) end,
    yield = function()
        ngx.thread.wait(ngx.thread.spawn(function() while true do coroutine.yield() end end))
    end,
    semaphore = function() m.semaphore:wait(60) end,
    thread = function() ngx.thread.wait(ngx.thread.spawn(ngx.sleep, 60), ngx.thread.spawn(ngx.sleep, 50)) end,
    connect = function() ngx.socket.tcp():connect("127.0.0.1", m.blackhole) end,
    resolve = function() ngx.socket.tcp():connect("mute.test", 80) end,
    queue = function() ngx.socket.tcp():connect("127.0.0.1", t.port, QUEUE) end,
    handshake = function() t.open("mute"):sslhandshake() end,
    ["slow handshake"] = function() t.open("drip:0.005:" .. m.hello .. " mute"):sslhandshake() end,
    read = function() t.open("say:some mute"):receive("*a") end,
    ["until"] = function() t.open("say:some mute"):receiveuntil("--")() end,
    any = function() t.open("mute"):receiveany(10) end,
    write = function() t.open("mute"):send(("x"):rep(8000000)) end,
    ["TLS read"] = function()
        local sock = t.open("tls:good mute")
        assert(sock:sslhandshake(false))
        sock:receive()
    end,
    ["TLS write"] = function()
        local sock = t.open("tls:good mute")
        assert(sock:sslhandshake(false))
        sock:send(("x"):rep(8000000))
    end,
    ["both ways"] = function()
        local sock = t.open("mute")
        ngx.thread.spawn(function() sock:receive() end)
        sock:send(("x"):rep(8000000))
    end,
    datagram = function()
        local sock = ngx.socket.udp()
        sock:setpeername("127.0.0.1", t.port)
        sock:settimeout(60000)
        sock:receive()
    end,
    ["datagram resolve"] = function() ngx.socket.udp():setpeername("mute.test", 80) end,
    body = function() ngx.req.read_body() end,
    ["body socket"] = function() ngx.req.socket():receive("*a") end,
    flush = function() ngx.print(("x"):rep(8000000)) ngx.flush(true) end,
}

-- The first bytes of an answer to a handshake: the head of a record of 16 KB.
m.hello = "%16%03%03%3F%00%02%00%00%50%03%03" .. ("%61"):rep(32)

-- Where it waits: in the thread itself, in a coroutine, in one that a coroutine runs.
local places = {
    function(wait) wait() end,
    function(wait) coroutine.wrap(wait)() end,
    function(wait) coroutine.wrap(function() coroutine.wrap(wait)() end)() end,
    function(wait) ngx.thread.wait(ngx.thread.spawn(wait)) end,
}

-- What is not for all: a body socket says "client aborted", a flush may fail before anybody
-- hears of the client, nginx ends a request whose body breaks off, and the threads of a killed
-- thread go on.
local except = {
    client = { ["body socket"] = true, flush = true },
    callback = { ["body socket"] = true, flush = true, body = true },
    kill = { ["both ways"] = true, [4] = true },
    exit = {},
    error = {},
}

-- The handler that is to be ended: `how` is who ends it.
function m.handler()
    local state, how = m.state, ngx.var.arg_how
    local wait, place = forever[ngx.unescape_uri(ngx.var.arg_kind)], places[tonumber(ngx.var.arg_place)]
    local function run()
        state.began = state.began + 1
        place(wait)
        state.ran_on = state.ran_on + 1
    end
    if how == "callback" then
        ngx.on_abort(function()
            state.called = state.called + 1
            ngx.exit(499)
        end)
    end
    if how == "client" or how == "callback" then
        return run()
    end
    local thread = ngx.thread.spawn(run)
    while not state.go do ngx.sleep(0.005) end
    if how == "exit" then
        ngx.exit(444)
    elseif how == "error" then
        error("on purpose")
    end
    state.killed = state.killed + (ngx.thread.kill(thread) and 1 or 0)
    -- Until the client goes.
    ngx.sleep(60)
end

-- Begins every wait in a thread of this handler, and in a coroutine of one; those that want
-- a request only where there is one.
function m.all()
    m.semaphore = m.semaphore or require("ngx.semaphore").new()
    local holder = t.open("mute", QUEUE)
    local in_request = ngx.get_phase() == "content"
    for kind, wait in pairs(forever) do
        local wants_request = kind == "body" or kind == "body socket" or kind == "flush"
        if not wants_request then
            ngx.thread.spawn(wait)
            ngx.thread.spawn(places[2], wait)
        elseif in_request and kind == "body" then
            ngx.thread.spawn(wait)
        end
    end
end

local connect = {
    http1 = function(path)
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", ngx.var.server_port))
        sock:send("POST " .. path .. " HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        return sock
    end,
    -- Closes the stream, not the connection.
    http2 = function(path)
        local h2 = require("h2").connect(m.h2_port)
        local stream = h2:post(path)
        return {
            close = function()
                if stream then h2:reset(stream) else h2:close() end
                stream = nil
            end,
        }
    end,
}

-- Begins requests of each kind, two at each place, by "http1" or "http2", and ends them as
-- `how` says. Shows what goes wrong; says how many kinds it has tried.
function m.check(how, protocol)
    local count, kinds = 0, {}
    for kind in pairs(forever) do
        if not except[how][kind] then kinds[#kinds + 1] = kind end
    end
    table.sort(kinds)
    local holder = t.open("mute", QUEUE)
    -- nginx keeps its socket to the DNS server.
    ngx.socket.tcp():connect("none.test", 80)
    local by_client = how == "client" or how == "callback"
    local all = 2 * (except[how][4] and 3 or 4)
    for _, kind in ipairs(kinds) do
        local state = { began = 0, ran_on = 0, killed = 0, called = 0 }
        m.state, m.semaphore = state, require("ngx.semaphore").new()
        local before, clients = t.fds(), {}
        for i = 1, all do
            clients[i] = connect[protocol](("/wait?how=%s&kind=%s&place=%d"):format(how, ngx.escape_uri(kind),
                math.ceil(i / 2)))
        end
        local function close()
            for i = 1, all do clients[i]:close() end
        end
        t.eventually(all, function() return state.began end)
        ngx.sleep(0.03)
        state.go = true
        if by_client then close() end
        local killed = how == "kill" and t.eventually(all, function() return state.killed end) or all
        local called = how == "callback" and t.eventually(all, function() return state.called end) or all
        -- The connections, of which both ends are in this worker.
        local kept = all * ((how == "kill" or protocol == "http2") and 2 or by_client and 0 or 1)
        local left = t.eventually(kept, function() return t.fds() - before end) - kept
        close()
        close()
        t.eventually(before, t.fds)
        local waiting = m.semaphore:count()
        if state.began ~= all or state.ran_on > 0 or killed ~= all or called ~= all or left ~= 0 or waiting ~= 0 then
            t.show(kind, all, state, left, waiting)
        end
        count = count + 1
    end
    -- No slot of the pool and no place in its queue got lost.
    holder:close()
    for i = 1, 3 do
        local sock = t.open("say:x hold", QUEUE)
        assert(sock:receive(1) == "x" and sock:close())
    end
    ngx.say(count)
end

return m
