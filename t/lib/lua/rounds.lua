-- Does round(i) $TEST_NGINX_ROUNDS times and shows what has grown: nothing may,
-- neither in Lua (by 32 KB, which the register of socket objects takes) nor in the
-- worker (by `most` KB, which allocators and OpenSSL take while they warm up), and
-- no descriptor may be left.

local t = require "puppet"

return function(round, most)
    most = most or 512
    local function rounds(n)
        for i = 1, n do round(i) end
        -- Twice: what a finalizer holds goes with the second.
        collectgarbage()
        collectgarbage()
        return t.memory(), collectgarbage("count"), t.fds()
    end

    local count = tonumber(os.getenv("TEST_NGINX_ROUNDS"))
    local before = { rounds(count / 10) }
    local seconds, memory, heap, fds = t.timed(rounds, count)
    ngx.log(ngx.WARN, count, " rounds in ", seconds, " s: from ", before[1], " KB to ", memory,
        " KB, Lua's part from ", before[2], " to ", heap)
    t.show(memory - before[1] < most or memory - before[1], heap - before[2] < 32 or heap - before[2],
        fds - before[3])
end
