-- Runs f in a light thread, directly and in a coroutine of its own, and kills
-- it while it waits. Says how that went; returns how many descriptors are left
-- over.

local t = require "puppet"

return function(f)
    local before = t.fds()
    for _, run in ipairs { f, function() coroutine.wrap(f)() end } do
        local thread = ngx.thread.spawn(function()
            run()
            ngx.log(ngx.ERR, "ran on")
        end)
        ngx.sleep(0.01)
        t.show(coroutine.status(thread) == "dead", ngx.thread.kill(thread))
        t.show(coroutine.status(thread), ngx.thread.kill(thread))
    end
    ngx.sleep(0.02)
    collectgarbage()
    collectgarbage()
    return t.fds() - before
end
