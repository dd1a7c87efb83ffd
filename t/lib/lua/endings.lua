-- Handlers with many threads that one of them ends. t/thread-end.t uses it.

local t = require "puppet"
local semaphore = require "ngx.semaphore"

local m = { ran_on = 0, semaphore = semaphore.new() }

local how = {
    exit = function() ngx.exit(204) end,
    status = function() ngx.exit(403) end,
    exec = function() ngx.exec("/target", "a=1") end,
    named = function() ngx.exec("@named") end,
    redirect = function() ngx.redirect("/elsewhere") end,
    jump = function()
        ngx.req.set_uri_args("how=jump&who=x")
        ngx.req.set_uri("/target", true)
    end,
}

local function ran_on() m.ran_on = m.ran_on + 1 end

local waits = {
    function() ngx.sleep(1) ran_on() end,
    function() t.open("mute"):receive() ran_on() end,
    function() m.semaphore:wait(1) ran_on() end,
    function() coroutine.wrap(function() t.open("mute"):receive() ran_on() end)() end,
    function() ngx.thread.wait(ngx.thread.spawn(ngx.sleep, 1)) ran_on() end,
    function() for i = 1, 1000 do coroutine.yield() ngx.sleep(0.001) end ran_on() end,
}

local who = {
    entry = function(finish) ngx.sleep(0.01) finish() end,
    thread = function(finish)
        ngx.thread.spawn(function() ngx.sleep(0.01) finish() ran_on() end)
        ngx.sleep(1)
    end,
    coroutine = function(finish)
        ngx.thread.spawn(function()
            coroutine.wrap(function() ngx.sleep(0.01) pcall(finish) ran_on() end)()
            ran_on()
        end)
        t.open("mute"):receive()
    end,
    nested = function(finish)
        ngx.thread.wait(ngx.thread.spawn(function()
            ngx.thread.wait(ngx.thread.spawn(function() ngx.sleep(0.01) finish() ran_on() end))
            ran_on()
        end))
    end,
    -- The entry thread has ended before.
    late = function(finish)
        ngx.thread.spawn(function() ngx.sleep(0.01) finish() ran_on() end)
        return "ends"
    end,
    ["at once"] = function(finish)
        ngx.thread.spawn(function() finish() ran_on() end)
    end,
}

function m.handler()
    local args = ngx.req.get_uri_args()
    for _, wait in ipairs(waits) do ngx.thread.spawn(wait) end
    if who[args.who](how[args.how]) ~= "ends" then ran_on() end
end

-- Status, and body or location, of an answer.
function m.get(path)
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", ngx.var.server_port))
    sock:send("GET " .. path .. " HTTP/1.0\r\n\r\n")
    local answer = sock:receive("*a")
    sock:close()
    local status, head, body = answer:match("^HTTP/1.1 (%d+)(.-)\r\n\r\n(.*)$")
    if not status then return "nothing" end
    local location = head:match("Location: (%S+)")
    return status .. (location and " " .. location:gsub("^http://[^/]*", "") or status == "200" and " " .. body:gsub("\n$", "") or "")
end

return m
