-- Handlers that do at random what threads, coroutines, timers, semaphores and sockets can do,
-- nested at random. t/stress-threads.t uses it.

local t = require "puppet"

local m = { running = 0 }

local random = math.random
local POOL = { pool = "chaos", pool_size = 3, backlog = 5 }

local scripts = { "hold", "echo", "say:x%0A", "say:abc%0Adef%0A", "wait:0.003 say:late%0A hold", "drip:0.001:drip%0A", "reset", "" }

-- What may end a thread early: a call to be killed, an error, an exit.
local act

local acts = {
    function() coroutine.yield() end,
    function() ngx.sleep(0) end,
    function() ngx.sleep(random() * 0.004) end,
    function() return m.semaphore:wait(random() * 0.005) end,
    function() m.semaphore:post(random(3)) end,
    function() collectgarbage("step", 200) end,
    function() if random(20) == 1 then collectgarbage() end end,
    function() if random(12) == 1 then error("chaos") end end,
    function(self) if random(60) == 1 then ngx.exit(random(2) == 1 and 444 or 200) end end,
    -- A socket that is used as far as it goes; shared with the other threads of the handler.
    function(self)
        local sock = ngx.socket.tcp()
        sock:settimeout(random(10))
        self.sock = sock
        if sock:connect("127.0.0.1", t.port, random(2) == 1 and POOL or nil) then
            if sock:getreusedtimes() == 0 then sock:send(scripts[random(#scripts)] .. "\n") end
            act(self)
            sock:receive()
            act(self)
            if random(2) == 1 then sock:setkeepalive(random(20)) elseif random(2) == 1 then sock:close() end
        end
    end,
    function(self) if self.sock then pcall(self.sock.receive, self.sock, random(5)) end end,
    function(self) if self.sock then pcall(self.sock.send, self.sock, ("x"):rep(random(100000))) end end,
    function(self) if self.sock then pcall(self.sock.close, self.sock) end end,
    function(self)
        if self.sock then
            local ok, reader = pcall(self.sock.receiveuntil, self.sock, "\n")
            if ok and reader then pcall(reader) pcall(act, self) pcall(reader, 2) end
        end
    end,
    function(self)
        local sock = ngx.socket.udp()
        sock:settimeout(random(5))
        if sock:setpeername("127.0.0.1", t.port) then sock:send("x") sock:receive() end
    end,
    function(self)
        local sock = ngx.socket.tcp()
        sock:settimeout(random(20))
        self.sock = sock
        if sock:connect("127.0.0.1", t.port) then
            sock:send(random(2) == 1 and "tls:good echo\n" or "hold\n")
            if sock:sslhandshake(random(2) == 1 and nil) then sock:send("a line\n") sock:receive() end
        end
    end,
    function(self)
        local sock = ngx.socket.tcp()
        sock:settimeout(random(20))
        sock:connect(random(2) == 1 and "slow.test" or "mute.test", t.port)
    end,
    -- Coroutines.
    function(self) coroutine.wrap(function() act(self) act(self) end)() end,
    function(self)
        local co = coroutine.create(function() act(self) coroutine.yield(1) act(self) return 2 end)
        self.co = co
        coroutine.resume(co)
        act(self)
        coroutine.resume(co)
        coroutine.status(co)
    end,
    function(self) if self.co then pcall(coroutine.resume, self.co) end end,
    function(self) pcall(act, self) end,
    -- Threads.
    function(self)
        if self.left > 0 then
            self.left = self.left - 1
            local thread = ngx.thread.spawn(function() for i = 1, random(6) do act(self) end return self end)
            self.threads[#self.threads + 1] = thread
        end
    end,
    function(self)
        local thread = self.threads[random(math.max(1, #self.threads))]
        if thread then pcall(ngx.thread.kill, thread) end
    end,
    function(self)
        local n = #self.threads
        if n > 0 then pcall(ngx.thread.wait, self.threads[random(n)], self.threads[random(n)]) end
    end,
    function(self)
        local thread = self.threads[random(math.max(1, #self.threads))]
        if thread then pcall(coroutine.status, thread) pcall(coroutine.resume, thread) end
    end,
    -- Timers.
    function(self)
        if ngx.timer.running_count() + ngx.timer.pending_count() < 20 then
            ngx.timer.at(random() * 0.003, function() m.handler(true) end)
        end
    end,
}

-- Not too deep: acts call acts.
function act(self)
    if self.acts <= 0 then return end
    self.acts = self.acts - 1
    return acts[random(#acts)](self)
end

function m.handler(in_timer)
    local self = { threads = {}, left = 12, acts = 60 }
    if not in_timer and random(4) == 1 then
        ngx.on_abort(function() act(self) if random(2) == 1 then ngx.exit(499) end end)
    end
    if not in_timer and random(3) == 1 then ngx.say("x") end
    for i = 1, random(20) do
        act(self)
    end
end

-- Clients that stay, and clients that leave, for a number of seconds.
function m.drive(seconds)
    m.semaphore = require("ngx.semaphore").new()
    local stop = ngx.now() + seconds
    local count = 0
    local function client()
        while ngx.now() < stop do
            count = count + 1
            local sock = ngx.socket.tcp()
            if sock:connect("127.0.0.1", ngx.var.server_port) then
                sock:send("GET /chaos HTTP/1.0\r\n\r\n")
                sock:settimeout(random(3) == 1 and random(10) or 5000)
                local _, err = sock:receive("*a")
                sock:close()
            end
        end
    end
    local clients = {}
    for i = 1, 10 do clients[i] = ngx.thread.spawn(client) end
    for i = 1, 10 do ngx.thread.wait(clients[i]) end
    return count
end

return m
