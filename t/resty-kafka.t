# Debian's lua-nginx-kafka, as it is: sends from requests, and from timers that gather
# messages, to a broker that Test::Nginx::Kafka plays.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Kafka;
use Test::Nginx::Puppet;

plan skip_all => 'lua-nginx-kafka was not unpacked' if !lua_library('nginx/kafka/producer.lua');
plan 'no_plan';

# What blocks call: a producer, and what the broker has got.
add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( http_config => <<'END' . $block->http_config );
    init_by_lua_block {
        function produce(config, cluster)
            local brokers = { { host = "127.0.0.1", port = tonumber(os.getenv("TEST_NGINX_KAFKA_PORT")) } }
            return require("nginx.kafka.producer"):new(config and config.brokers or brokers, config, cluster)
        end
        function got(topic)
            local lines = {}
            for line in io.lines(os.getenv("TEST_NGINX_KAFKA_LOG")) do
                if line:find(topic .. " ", 1, true) == 1 then lines[#lines + 1] = line:sub(#topic + 2) end
            end
            return lines
        end
    }
END
    }
);

no_long_string();
master_on();
run_tests();

__DATA__

=== TEST 1: a message is there when send returns; its key chooses the partition
--- lua
for version = 0, 2 do
    local topic = "plain" .. version
    local producer = produce { api_version = version }
    for i = 1, 6 do
        local key = "key" .. i
        local offset = assert(producer:send(topic, key, "value " .. i))
        if i == 6 then show(tonumber(offset), ngx.crc32_short(key) % 2) end
    end
    assert(producer:send(topic, "big", ("x"):rep(500000)))
    local lines = got(topic)
    show(#lines, #lines[7] > 500000)
    for i = 1, 6 do
        assert(lines[i]:match("^(%d) %d+ (key%d value %d)$") == tostring(ngx.crc32_short("key" .. i) % 2))
    end
end
--- response_body
3 1
7 true
3 1
7 true
3 1
7 true
--- timeout: 10



=== TEST 2: connections are pooled
--- lua
local before
local producer = produce { keepalive_size = 4 }
for i = 1, 50 do
    assert(producer:send("pooled", nil, "x"))
    before = before or t.fds()
end
show(#got("pooled"), t.fds() - before <= 1)
--- response_body
50 true



=== TEST 3: errors: those that may pass are tried again
--- lua
local producer = produce { retry_backoff = 10, socket_timeout = 5000 }
show((producer:send("once-6-t", "k", "again")))
show(#got("once-6-t"))
show(producer:send("error-10-t", "k", "too large"))
show(#got("error-10-t"))
show(producer:send("error-5-t", "k", "no leader"))
show(#got("error-5-t"))
show(producer:send("none", "k", "no such topic"))
show(produce({ retry_backoff = 10, socket_timeout = 500 }):send("mute", "k", "no answer"))
show(select(2, produce({ brokers = { { host = "127.0.0.1", port = 1 } } }):send("x", "k", "no broker")))
show((tonumber((produce { socket_timeout = 5000 }:send("slow", "k", "late")))))
--- response_body
1LL
2
nil "MessageSizeTooLarge" false
1
nil "LeaderNotAvailable" true
3
nil "not found topic"
nil "timeout" nil
"not found topic"
1
--- error_log
lua tcp socket read timed out
connect() failed (111: Connection refused)
all brokers failed in fetch topic metadata
--- timeout: 10



=== TEST 4: asynchronous: timers send what came together, in order, from many handlers
--- config
    location = /send {
        content_by_lua_block {
            local producer = produce({ producer_type = "async", flush_time = 50, batch_num = 40 }, "many")
            for i = 1, 50 do
                assert(producer:send("async", "k" .. i % 2, ngx.var.arg_name .. " " .. i))
                if i % 10 == 0 then ngx.sleep(0) end
            end
            ngx.say("sent")
        }
    }
--- lua
local threads = {}
for i = 1, 10 do
    threads[i] = ngx.thread.spawn(function() return c.raw("GET /send?name=" .. i .. " HTTP/1.0\r\n\r\n") end)
end
for i = 1, 10 do ngx.thread.wait(threads[i]) end
show(t.eventually(500, function() return #got("async") end))
local last, ordered = {}, true
for _, line in ipairs(got("async")) do
    local partition, name, i = line:match("^(%d) %d+ k%d (%d+) (%d+)$")
    local who = partition .. " " .. name
    ordered = ordered and tonumber(i) > (last[who] or 0)
    last[who] = tonumber(i)
end
show(ordered)
--- response_body
500
true
--- timeout: 20



=== TEST 5: asynchronous: what cannot be sent is handed back
--- lua
local failed
local producer = produce({ producer_type = "async", flush_time = 10, retry_backoff = 10,
    error_handle = function(topic, partition, queue, index, err, retryable)
        failed = { topic, partition, index / 2, queue[2], err, retryable }
    end }, "failing")
assert(producer:send("error-10-a", nil, "lost"))
t.eventually(true, function() return failed ~= nil end)
show(unpack(failed))
assert(producer:send("kept", nil, "sent"))
show(t.eventually(1, function() return #got("kept") end))
--- response_body
"error-10-a" 1 1 "lost" "MessageSizeTooLarge" false
1



=== TEST 6: a worker that leaves sends what it holds
--- config
    location = /send {
        content_by_lua_block {
            local producer = produce({ producer_type = "async", flush_time = 3600000 }, "leaving")
            ngx.sleep(0.05)
            for i = 1, 100 do assert(producer:send("last", "k", "x" .. i)) end
            ngx.say(#got("last"))
            require("ngx.process").signal_graceful_exit()
        }
    }
    location = /got {
        content_by_lua_block {
            local t = require "puppet"
            ngx.say(t.eventually(100, function() return #got("last") end))
        }
    }
--- request eval
["GET /send", "GET /got"]
--- response_body eval
["0\n", "100\n"]
--- no_error_log
[error]
