# One request through every phase it can meet, each of which waits where it may.
use Test::Nginx::Socket::Lua;

plan tests => 13;
no_long_string();

our $upstream = <<'CONF';
    init_worker_by_lua_block { ngx.sleep(0.001) ngx.log(ngx.WARN, "worker: ", ngx.get_phase()) }
    exit_worker_by_lua_block { ngx.sleep(0.001) ngx.log(ngx.WARN, "worker: ", ngx.get_phase()) }
    init_by_lua_block {
        function step(wait)
            local trace = ngx.ctx.trace or {}
            ngx.ctx.trace = trace
            -- A body may come in several parts.
            if trace[#trace] ~= ngx.get_phase() then table.insert(trace, ngx.get_phase()) end
            if wait then ngx.sleep(0.001) end
        end
    }
    upstream backend {
        server 0.0.0.1;
        balancer_by_lua_block {
            step()
            assert(require("ngx.balancer").set_current_peer("127.0.0.1", ngx.var.server_port))
        }
    }
CONF
our $location = <<'CONF';
        set_by_lua_block $ignored { step() }
        rewrite_by_lua_block { step(true) }
        access_by_lua_block { step(true) }
        precontent_by_lua_block { step(true) }
        header_filter_by_lua_block { step(true) ngx.header.content_length = nil }
        body_filter_by_lua_block {
            step(true)
            if ngx.arg[2] then ngx.arg[1] = ngx.arg[1] .. "filtered\n" end
        }
        log_by_lua_block {
            step(true)
            ngx.log(ngx.WARN, "trace: ", table.concat(ngx.ctx.trace, " "), ".")
        }
CONF
run_tests();

__DATA__

=== TEST 1: made by content_by_lua, twice on one connection
--- http_config eval: $::upstream
--- config eval
"server_rewrite_by_lua_block { step(true) }
location /t {
    $::location
    content_by_lua_block { step(true) ngx.say('content') }
}"
--- pipelined_requests eval
["GET /t", "GET /t"]
--- response_body eval
["content\nfiltered\n", "content\nfiltered\n"]
--- wait: 0.2
--- grep_error_log eval: qr/trace: [^,.]+/
--- grep_error_log_out
trace: server_rewrite set rewrite access precontent content header_filter body_filter log
trace: server_rewrite set rewrite access precontent content header_filter body_filter log
--- error_log
worker: init_worker
--- shutdown_error_log
worker: exit_worker



=== TEST 2: proxied, through a balancer
--- http_config eval: $::upstream
--- config eval
"location /t {
    $::location
    proxy_pass http://backend/back;
}
location /back { content_by_lua_block { ngx.sleep(0.001) ngx.say('proxied') } }
server_rewrite_by_lua_block { if ngx.var.uri == '/t' then step(true) end }"
--- request
GET /t
--- response_body
proxied
filtered
--- wait: 0.2
--- grep_error_log eval: qr/trace: [^,.]+/
--- grep_error_log_out
trace: server_rewrite set rewrite access precontent balancer header_filter body_filter log



=== TEST 3: a static file
--- http_config eval: $::upstream
--- config eval
"location /t.txt {
    $::location
}
server_rewrite_by_lua_block { step(true) }"
--- user_files
>>> t.txt
static
--- request
GET /t.txt
--- response_body
static
filtered
--- wait: 0.2
--- grep_error_log eval: qr/trace: [^,.]+/
--- grep_error_log_out
trace: server_rewrite set rewrite access precontent header_filter body_filter log
