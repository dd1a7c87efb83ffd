# init_worker_by_lua: it may wait, and the worker starts all the same.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Instance;
use Test::Nginx::Peer;
use Time::HiRes qw( sleep time );

Test::Nginx::Peer->redis;
Test::Nginx::Peer->dns( 'start.test' => ['127.0.0.1'] );

repeat_each(1);
no_long_string();
run_tests();

# ---- workers that come and go

my $TROUBLE = qr/\[(?:alert|emerg|crit|error)\]|signal 11|panicked|open socket/;

sub is_clean {
    my ( $nginx, $name ) = @_;
    Test::More::unlike( $nginx->log, $TROUBLE, $name ) or Test::More::diag( $nginx->log );
}

sub said {
    my ($nginx) = @_;
    return join '; ', sort $nginx->log =~ /\[lua\] \S+:\d+: (.*)$/mg;
}

sub start {
    my ( $code, %more ) = @_;
    return Test::Nginx::Instance->start(
        main => "master_process on; worker_processes 1;\n$more{main}",
        http => "init_worker_by_lua_block { $code }\n$more{http}",
        server => 'location = /slow { content_by_lua_block { ngx.sleep(2) ngx.say("slow") } }'
    );
}

{
    my $nginx = start(
        'ngx.sleep(0.1) ngx.log(ngx.WARN, "worker ", ngx.worker.id())',
        main => '', http => 'proxy_cache_path cache keys_zone=z:1m;'
    );
    $nginx->signal('HUP');
    my $deadline = time + 5;
    sleep 0.05 until said($nginx) eq 'worker 0; worker 0' || time > $deadline;
    Test::More::is( said($nginx), 'worker 0; worker 0', 'a reload starts another worker' );
    $nginx->signal('QUIT');
    Test::More::ok( $nginx->ended(5), 'QUIT' );
    is_clean( $nginx, 'no helper of nginx ran it' );
}

{
    my $nginx = start( <<'END', main => '', http => '' );
        local semaphore = require("ngx.semaphore").new()
        ngx.thread.spawn(function() semaphore:wait(60) ngx.log(ngx.WARN, "woken") end)
        semaphore:post()
END
    my $slow = $nginx->begin('/slow');    # nor does the old worker's end wake the new one
    sleep 0.1;
    $nginx->signal('HUP');
    my $deadline = time + 1.5;
    sleep 0.05 until said($nginx) eq 'woken; woken' || time > $deadline;
    Test::More::is( said($nginx), 'woken; woken', 'who is woken goes on, though nothing else happens' );
    Test::More::is( $nginx->body($slow), "slow\n", 'the old worker' );
}

{
    my $nginx = Test::Nginx::Instance->start(
        main => 'master_process on; worker_processes 4;',
        http => 'init_worker_by_lua_block { ngx.sleep(0.05) ngx.log(ngx.WARN, ngx.worker.id()) }'
    );
    my $deadline = time + 5;
    sleep 0.05 until said($nginx) eq '0; 1; 2; 3' || time > $deadline;
    Test::More::is( said($nginx), '0; 1; 2; 3', 'four workers' );
    $nginx->signal('QUIT');
    Test::More::ok( $nginx->ended(5), 'QUIT' );
    is_clean( $nginx, 'four ends' );
}

{
    my $nginx = start( 'ngx.sleep(0.5) ngx.log(ngx.WARN, "done ", tostring(ngx.worker.exiting()))', main => '', http => '' );
    $nginx->signal('QUIT');
    Test::More::ok( $nginx->ended(5), 'QUIT while it waits' );
    Test::More::is( said($nginx), 'done true', 'it is waited for' );
    is_clean( $nginx, 'clean' );
}

{
    my $nginx = start( 'ngx.thread.spawn(ngx.sleep, 100) ngx.socket.tcp():connect("127.0.0.1", ' . $ENV{TEST_NGINX_REDIS_PORT}
            . ') ngx.sleep(100)', main => 'worker_shutdown_timeout 200ms;', http => '' );
    $nginx->signal('QUIT');
    Test::More::ok( $nginx->ended(5), 'worker_shutdown_timeout bounds that' );
    is_clean( $nginx, 'clean' );
}

{
    my $nginx = start( 'ngx.sleep(100)', main => '', http => '' );
    $nginx->signal('TERM');
    Test::More::ok( $nginx->ended(5), 'TERM does not wait' );
    is_clean( $nginx, 'clean' );
}

__DATA__

=== TEST 1: code that waits is done later, the worker serves meanwhile
--- http_config
    init_worker_by_lua_block {
        package.loaded.state = { "begun", ngx.get_phase() }
        ngx.sleep(0.3)
        package.loaded.state = { "done", ngx.get_phase(), ngx.timer.running_count() }
        ngx.log(ngx.WARN, "init_worker is done")
    }
--- config
    location = /t { content_by_lua_block { ngx.say(table.concat(require "state", " ")) } }
    location = /later { content_by_lua_block { ngx.sleep(0.5) ngx.say(table.concat(require "state", " ")) } }
--- pipelined_requests eval
["GET /t", "GET /later"]
--- response_body_like eval
["^(begun init_worker|done init_worker 0)\n", "^done init_worker 0\n"]
--- error_log
init_worker is done
--- no_error_log
[error]



=== TEST 2: code that does not wait is done before the first request
--- http_config
    init_worker_by_lua_block { package.loaded.state = "ready" }
--- config
    location = /t { content_by_lua_block { ngx.say(require "state") } }
--- request
GET /t
--- response_body
ready



=== TEST 3: cosockets, DNS by the resolver of http
--- http_config
    resolver $TEST_NGINX_RESOLVER ipv6=off;
    init_worker_by_lua_block {
        local sock = ngx.socket.tcp()
        sock:settimeout(3000)
        assert(sock:connect("start.test", $TEST_NGINX_REDIS_PORT))
        assert(sock:send("PING\r\n"))
        local line = sock:receive()
        assert(sock:setkeepalive())
        package.loaded.line = line
    }
--- config
    location = /t {
        content_by_lua_block {
            for i = 1, 300 do
                if package.loaded.line then break end
                ngx.sleep(0.01)
            end
            ngx.say(package.loaded.line)
        }
    }
--- request
GET /t
--- response_body
+PONG
--- no_error_log
[error]



=== TEST 4: threads and semaphores that wake each other before the first round
--- http_config
    init_worker_by_lua_block {
        local semaphore = require "ngx.semaphore"
        local a, b = semaphore.new(), semaphore.new()
        package.loaded.seen = {}
        local seen = package.loaded.seen
        local thread = ngx.thread.spawn(function()
            assert(a:wait(5))
            seen[#seen + 1] = "thread"
            b:post()
        end)
        a:post()
        assert(b:wait(5))
        seen[#seen + 1] = "entry"
        coroutine.yield()
        ngx.thread.wait(thread)
        seen[#seen + 1] = "end"
    }
--- config
    location = /t {
        content_by_lua_block {
            for i = 1, 300 do
                if require("seen")[3] then break end
                ngx.sleep(0.01)
            end
            ngx.say(table.concat(require "seen", " "))
        }
    }
--- request
GET /t
--- response_body
thread entry end
--- no_error_log
[error]



=== TEST 5: what needs a request stays disabled, also after a wait
--- http_config
    init_worker_by_lua_block {
        local errors = {}
        local function try(f, ...) errors[#errors + 1] = select(2, pcall(f, ...)) end
        local function all()
            try(ngx.say, "x")
            try(ngx.req.read_body)
            try(ngx.req.socket)
            try(ngx.exit, 0)
            try(ngx.redirect, "/")
            try(function() return ngx.req.get_headers() end)
            try(ngx.on_abort, print)
        end
        all()
        ngx.sleep(0)
        all()
        package.loaded.errors = errors
    }
--- config
    location = /t {
        content_by_lua_block {
            for i = 1, 300 do
                if package.loaded.errors then break end
                ngx.sleep(0.01)
            end
            for _, text in ipairs(require "errors") do ngx.say(text) end
        }
    }
--- request
GET /t
--- response_body eval
"API disabled in the context of init_worker_by_lua*\n" x 14



=== TEST 6: errors, before a wait and after
--- http_config
    init_worker_by_lua_block {
        ngx.ctx.a = 1
        ngx.sleep(0.01)
        error("later " .. ngx.ctx.a)
    }
--- config
    location = /t { return 200 "ok\n"; }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log eval
[qr/\[error\] .*init_worker_by_lua error: init_worker_by_lua\(nginx\.conf:\d+\):4: later 1$/, "stack traceback:"]



=== TEST 7: the error of a thread
--- http_config
    init_worker_by_lua_block {
        local ok, err = ngx.thread.wait(ngx.thread.spawn(function() ngx.sleep(0.01) error("in thread") end))
        ngx.log(ngx.WARN, "thread: ", tostring(ok), " ", err)
    }
--- config
    location = /t { return 200 "ok\n"; }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log eval
[qr/init_worker_by_lua error: lua user thread aborted: runtime error: init_worker_by_lua\(nginx\.conf:\d+\):2: in thread/,
qr/thread: false init_worker_by_lua\(nginx\.conf:\d+\):2: in thread/]



=== TEST 8: timers made in it, before a wait and after
--- http_config
    init_worker_by_lua_block {
        local function told(_, n) ngx.log(ngx.WARN, "timer ", n) end
        ngx.timer.at(0, told, 1)
        ngx.sleep(0.01)
        ngx.timer.at(0, told, 2)
    }
--- config
    location = /t { return 200 "ok\n"; }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log
timer 1
timer 2
--- no_error_log
[error]



=== TEST 9: a file
--- http_config
    init_worker_by_lua_file html/start.lua;
--- user_files
>>> start.lua
ngx.sleep(0.01)
ngx.log(ngx.WARN, "file slept")
--- config
    location = /t { return 200 "ok\n"; }
--- request
GET /t
--- response_body
ok
--- wait: 0.2
--- error_log
file slept



=== TEST 10: a missing file
--- http_config
    init_worker_by_lua_file html/missing.lua;
--- config
    location = /t { return 200 "ok\n"; }
--- request
GET /t
--- response_body
ok
--- error_log eval
qr/\[error\] .*init_worker_by_lua error: .*missing\.lua/
