# One thread ends them all: ngx.exit, ngx.exec, ngx.redirect and ngx.req.set_uri with a jump, in
# a light thread, in a coroutine of one, in the entry thread, and after the entry thread has ended.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Puppet;

# What t/lib/lua/endings.lua wants.
add_block_preprocessor(
    sub {
        my ($block) = @_;
        my $locations = '';
        for my $phase ( 'rewrite', 'access', 'content' ) {
            $locations .= "location = /$phase { ${phase}_by_lua_block { require('endings').handler() } }\n";
        }
        $block->set_value( config => $block->config . $locations . <<'END' );
    location = /target { content_by_lua_block { ngx.say("target ", ngx.var.args) } }
    location @named { content_by_lua_block { ngx.say("named") } }
END
        $block->set_value( http_config => $block->http_config . "lua_socket_log_errors off;\n" );
    }
);

run_tests();

__DATA__

=== TEST 1: in each phase, by each thread
--- lua
local endings = require "endings"
local before
for _, phase in ipairs { "rewrite", "access", "content" } do
    for _, how in ipairs { "exit", "status", "exec", "named", "redirect", "jump" } do
        local answers = {}
        for _, who in ipairs { "entry", "thread", "coroutine", "nested", "late", "at once" } do
            -- nginx lets rewrite change the URI, and no later phase.
            if how ~= "jump" or phase == "rewrite" then
                local answer = endings.get("/" .. phase .. "?how=" .. how .. "&who=" .. ngx.escape_uri(who))
                answers[answer] = (answers[answer] or "") .. " " .. who
            end
        end
        for answer, who in pairs(answers) do ngx.say(phase, " ", how, ": ", answer, " -", who) end
    end
    before = before or t.fds()
end
-- Nothing has run on, no socket is left, nobody waits.
ngx.sleep(0.1)
show(endings.ran_on, t.eventually(before, t.fds) - before, endings.semaphore:count())
--- response_body
rewrite exit: 204 - entry thread coroutine nested late at once
rewrite status: 403 - entry thread coroutine nested late at once
rewrite exec: 200 target a=1 - entry thread coroutine nested late at once
rewrite named: 200 named - entry thread coroutine nested late at once
rewrite redirect: 302 /elsewhere - entry thread coroutine nested late at once
rewrite jump: 200 target how=jump&who=x - entry thread coroutine nested late at once
access exit: 204 - entry thread coroutine nested late at once
access status: 403 - entry thread coroutine nested late at once
access exec: 200 target a=1 - entry thread coroutine nested late at once
access named: 200 named - entry thread coroutine nested late at once
access redirect: 302 /elsewhere - entry thread coroutine nested late at once
content exit: 204 - entry thread coroutine nested late at once
content status: 403 - entry thread coroutine nested late at once
content exec: 200 target a=1 - entry thread coroutine nested late at once
content named: 200 named - entry thread coroutine nested late at once
content redirect: 302 /elsewhere - entry thread coroutine nested late at once
0 0 0
--- timeout: 30



=== TEST 2: two that end the handler: the first one counts
--- config
    location = /two {
        content_by_lua_block {
            local sem = require("ngx.semaphore").new()
            for _, status in ipairs { 403, 404, 410 } do
                ngx.thread.spawn(function() sem:wait(5) ngx.exit(status) end)
            end
            sem:post(3)
            ngx.sleep(5)
        }
    }
--- request
GET /two
--- error_code: 403
--- response_body_like: 403 Forbidden
--- no_error_log
[error]



=== TEST 3: those that wait for a thread that ends the handler
--- config
    location = /waited {
        content_by_lua_block {
            local thread = ngx.thread.spawn(function() ngx.sleep(0.01) ngx.say("last") ngx.exit(200) end)
            pcall(ngx.thread.wait, thread)
            ngx.say("not reached")
            ngx.log(ngx.ERR, "ran on")
        }
    }
--- request
GET /waited
--- response_body
last
--- no_error_log
[error]



=== TEST 4: a timer's thread ends the timer, nothing else
--- lua
local seen = {}
ngx.timer.at(0, function()
    ngx.thread.spawn(function() ngx.sleep(0.03) seen[#seen + 1] = "ran on" end)
    ngx.thread.spawn(function() ngx.sleep(0.01) ngx.exit(0) end)
    ngx.sleep(0.05)
    seen[#seen + 1] = "ran on, too"
end)
ngx.timer.at(0, function() ngx.sleep(0.06) seen[#seen + 1] = "the other timer" end)
ngx.sleep(0.1)
t.eventually(0, ngx.timer.running_count)
show(seen)
--- response_body
{1="the other timer"}



=== TEST 5: threads that wake together go on in order, until one of them ends its handler
--- lua
local seen = {}
local function handler(name, last)
    return function()
        for i = 1, 6 do
            ngx.thread.spawn(function()
                ngx.sleep(0.05)
                seen[#seen + 1] = name .. i
                if i == last then ngx.exit(0) end
            end)
        end
    end
end
ngx.timer.at(0, handler("a", 3))
ngx.timer.at(0, handler("b", 6))
t.eventually(0, ngx.timer.pending_count)
t.eventually(0, ngx.timer.running_count)
show(table.concat(seen, " "))
--- response_body
"a1 a2 a3 b1 b2 b3 b4 b5 b6"
