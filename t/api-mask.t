# Where each function of the API may be called, and the error where it may not:
# every function in every phase. Those of TLS handshakes have tests of their own.
use Test::Nginx::Socket::Lua;

plan tests => 5;
no_long_string();
log_level('error');
timeout(30);
run_tests();

__DATA__

=== TEST 1: all functions in all phases
--- http_config
    lua_package_path "$TEST_NGINX_SERVER_ROOT/html/?.lua;;";
    lua_socket_log_errors off;
    init_by_lua_block {
        package.loaded.mask = require "mask"
        require "mask".all("init")
    }
    init_worker_by_lua_block { require "mask".all("init_worker") }
    server_rewrite_by_lua_block { require "mask".try("server_rewrite") }
    upstream up {
        server 0.0.0.1;
        balancer_by_lua_block {
            require "ngx.balancer".set_current_peer("127.0.0.1", $TEST_NGINX_SERVER_PORT)
            require "mask".try("balancer")
        }
    }
--- config
    location /t {
        set_by_lua_block $v { require "mask".try("set") }
        rewrite_by_lua_block { require "mask".try("rewrite") }
        access_by_lua_block { require "mask".try("access") }
        precontent_by_lua_block { require "mask".try("precontent") }
        content_by_lua_block { require "mask".try("content") }
        header_filter_by_lua_block { require "mask".try("header_filter") }
        body_filter_by_lua_block { require "mask".try("body_filter") }
        log_by_lua_block { require "mask".try("log") }
    }
    location /balancer { proxy_pass http://up/end; }
    location /end { return 200; }
    location /drive { content_by_lua_block { require "mask".drive($TEST_NGINX_SERVER_PORT) } }
    location /report { content_by_lua_block { require "mask".report() } }
--- user_files
>>> mask.lua
local balancer = require "ngx.balancer"
local semaphore = require "ngx.semaphore"
local ssl = require "ngx.ssl"

local function set(names, ...)
    local s = {}
    for name in names:gmatch("%S+") do s[name] = true end
    for _, other in ipairs { ... } do
        for name in pairs(other) do s[name] = true end
    end
    return s
end
local none = set ""
local make = set "server_rewrite rewrite access precontent content"
local change = set("set balancer header_filter body_filter", make)
local request = set("log", change)
local wait = set("header_filter body_filter log init_worker timer", make)
local worker = set("init_worker timer", request)
local all = set("init", worker)

local functions, list = {}, {}
local function add(allowed, name, f)
    functions[name] = { allowed = allowed, f = f }
    list[#list + 1] = name
end

add(set "set body_filter", "ngx.arg", function() return ngx.arg[1] end)
add(request, "ngx.var", function() return ngx.var.uri end)
add(request, "ngx.var=", function() ngx.var.limit_rate = 0 end)
add(worker, "ngx.ctx", function() return ngx.ctx.x end)
add(worker, "ngx.ctx=", function() ngx.ctx = {} end)
add(request, "ngx.status", function() return ngx.status end)
add(request, "ngx.status=", function() ngx.status = 200 end)
add(request, "ngx.header", function() return ngx.header.Foo end)
add(request, "ngx.header=", function() ngx.header.Foo = "bar" end)
add(request, "ngx.headers_sent", function() return ngx.headers_sent end)
add(request, "ngx.is_subrequest", function() return ngx.is_subrequest end)
add(request, "ngx.req.start_time", function() ngx.req.start_time() end)
add(request, "ngx.req.http_version", function() ngx.req.http_version() end)
add(request, "ngx.req.get_method", function() ngx.req.get_method() end)
add(request, "ngx.req.get_uri_args", function() ngx.req.get_uri_args() end)
add(request, "ngx.req.get_headers", function() ngx.req.get_headers() end)
add(request, "ngx.req.get_body_data", function() ngx.req.get_body_data() end)
add(change, "ngx.req.set_uri", function() ngx.req.set_uri("/t") end)
add(set "rewrite", "ngx.req.set_uri jump", function() ngx.req.set_uri("/end", true) end)
add(change, "ngx.req.set_uri_args", function() ngx.req.set_uri_args(ngx.var.args) end)
add(change, "ngx.req.set_header", function() ngx.req.set_header("a", "b") end)
add(change, "ngx.req.clear_header", function() ngx.req.clear_header("a") end)
add(make, "ngx.req.read_body", function() ngx.req.read_body() end)
add(make, "ngx.req.discard_body", function() ngx.req.discard_body() end)
add(change, "ngx.req.set_method", function() ngx.req.set_method(ngx.HTTP_GET) end)
add(request, "ngx.req.get_body_file", function() ngx.req.get_body_file() end)
add(request, "ngx.req.is_internal", function() ngx.req.is_internal() end)
add(request, "ngx.resp.get_headers", function() ngx.resp.get_headers() end)
add(make, "ngx.req.socket", function() ngx.req.socket() end)
add(make, "ngx.exec", function() ngx.exec("/end") end)
add(make, "ngx.redirect", function() ngx.redirect("/end") end)
add(make, "ngx.send_headers", function() ngx.send_headers() end)
add(make, "ngx.print", function() ngx.print("") end)
add(make, "ngx.say", function() ngx.say("") end)
add(make, "ngx.flush", function() ngx.flush() end)
add(make, "ngx.eof", function() ngx.eof() end)
add(make, "ngx.on_abort", function() ngx.on_abort(function() end) end)
add(set("header_filter balancer timer", make), "ngx.exit", function() ngx.exit(ngx.OK) end)
add(wait, "ngx.sleep", function() ngx.sleep(0) end)
add(wait, "ngx.thread.spawn", function() ngx.thread.spawn(function() end) end)
add(wait, "ngx.thread.wait", function() ngx.thread.wait() end)
add(wait, "ngx.thread.kill", function() ngx.thread.kill() end)
add(wait, "ngx.socket.tcp", function() ngx.socket.tcp() end)
add(wait, "ngx.socket.udp", function() ngx.socket.udp() end)
add(wait, "ngx.socket.connect", function() ngx.socket.connect("127.0.0.1", 1) end)
add(wait, "semaphore:wait", function() semaphore.new(1):wait(0) end)
add(all, "semaphore:post", function() semaphore.new(1):post(1) end)
add(worker, "ngx.timer.at", function() assert(ngx.timer.at(0, function() end)) end)
add(worker, "ngx.timer.every", function() assert(ngx.timer.every(100, function() end)) end)
add(all, "ngx.timer.running_count", function() ngx.timer.running_count() end)
add(all, "ngx.worker.pid", function() ngx.worker.pid() end)
add(all, "ngx.get_phase", function() ngx.get_phase() end)
add(all, "ngx.log", function() ngx.log(ngx.DEBUG, "x") end)
add(all, "ngx.escape_uri", function() ngx.escape_uri("a b") end)
add(all, "ngx.re.gsub", function() ngx.re.gsub("a", "b", "c", "jo") end)
add(all, "ngx.md5", function() ngx.md5("") end)
add(all, "ngx.update_time", function() ngx.update_time() end)
add(all, "coroutine.yield", function() coroutine.wrap(function() coroutine.yield() end)() end)
for _, name in ipairs { "set_current_peer", "set_more_tries", "get_last_failure", "set_timeouts", "recreate_request",
        "enable_keepalive", "bind_to_local_addr", "set_upstream_tls" } do
    add(set "balancer", "ngx.balancer." .. name, function() balancer[name](unpack(({
        set_current_peer = { "127.0.0.1", tonumber(ngx.var.server_port) },
        set_more_tries = { 0 },
        bind_to_local_addr = { "127.0.0.1" },
    })[name] or {})) end)
end
add(request, "ngx.ssl.server_name", function() ssl.server_name() end)
add(none, "ngx.ssl.clear_certs", function() ssl.clear_certs() end)

local instead = { set = ", use rewrite_by_lua* instead", balancer = ", use access_by_lua* instead" }
local function refusal(phase)
    if phase == "init" then return "no request found" end
    local where = phase == "timer" and "ngx.timer" or phase .. "_by_lua*"
    return "API disabled in the context of " .. where .. (instead[phase] or "")
end

local state = { calls = {}, wrong = {}, done = {} }
local function call(phase, name)
    local case = functions[name]
    state.calls[phase] = (state.calls[phase] or 0) + 1
    local place = #state.wrong + 1
    if not case.allowed[phase] then state.wrong[place] = name .. " ended " .. phase end
    -- Some of those that are allowed do not return.
    local ok, err = pcall(case.f)
    err = not ok and err:gsub("^[^ ]*%.lua:%d+: ", "") or nil
    local refused = err == refusal(phase)
    if case.allowed[phase] then
        if refused or err and err:find("disabled") then table.insert(state.wrong, name .. " in " .. phase .. ": " .. err) end
    elseif refused then
        table.remove(state.wrong, place)
    else
        state.wrong[place] = name .. " in " .. phase .. ": " .. (err or "no error")
    end
end

local mask = {}

-- Calls the function that the request asks for, where it asks for that.
function mask.try(phase)
    local args = ngx.decode_args(ngx.var.args or "")
    local case = phase .. (args.f or "")
    if args.p ~= phase or state.done[case] then return end
    state.done[case] = true
    call(phase, args.f)
end

function mask.all(phase)
    for _, name in ipairs(list) do call(phase, name) end
end

function mask.drive(port)
    for phase in pairs(request) do
        for _, name in ipairs(list) do
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", port))
            sock:send("GET /" .. (phase == "balancer" and phase or "t") .. "?" .. ngx.encode_args { p = phase, f = name }
                .. " HTTP/1.0\r\n\r\n")
            sock:receive("*a")
            sock:close()
        end
    end
    for _, name in ipairs(list) do
        ngx.timer.at(0, function() call("timer", name) end)
    end
    ngx.sleep(0.1)
    ngx.say("driven")
end

function mask.report()
    for phase in pairs(all) do
        if state.calls[phase] ~= #list then ngx.say(phase, ": ", state.calls[phase], " calls of ", #list) end
    end
    ngx.say(#state.wrong, " wrong\n", table.concat(state.wrong, "\n"))
end

return mask
--- request eval
["GET /drive", "GET /report"]
--- response_body eval
["driven\n", "0 wrong\n\n"]
--- no_error_log
[alert]
