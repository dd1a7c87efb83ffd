# Tracebacks in error.log, across coroutines and light threads.

use Test::Nginx::Socket::Lua 'no_plan';

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value(
            grep_error_log => qr/thread aborted: .*|coroutine \d+:|in function '\w+'|in main chunk|:\d+: in function </ );
    }
);

run_tests();

__DATA__

=== TEST 1: an error that coroutine.wrap passes on: each coroutine, the one that failed first
--- config
    location = /t {
        content_by_lua_block {
            local function innermost() ngx.sleep(0.001) error("deep") end
            local function middle() coroutine.wrap(function() innermost() end)() end
            local function outer() coroutine.wrap(function() middle() end)() end
            outer()
        }
    }
--- request
GET /t
--- error_code: 500
--- response_body_like: 500
--- grep_error_log_out
thread aborted: runtime error: content_by_lua(nginx.conf:40):2: deep
coroutine 0:
in function 'error'
in function 'innermost'
:3: in function <
coroutine 1:
in function 'middle'
:4: in function <
coroutine 2:
in function 'outer'
in main chunk



=== TEST 2: in a light thread
--- config
    location = /t {
        content_by_lua_block {
            local function fails() error("here") end
            local thread = ngx.thread.spawn(function()
                ngx.sleep(0.001)
                coroutine.wrap(fails)()
            end)
            ngx.say(ngx.thread.wait(thread))
        }
    }
--- request
GET /t
--- response_body_like: ^falsecontent_by_lua\(nginx\.conf:\d+\):2: here$
--- grep_error_log_out
thread aborted: runtime error: content_by_lua(nginx.conf:40):2: here
coroutine 0:
in function 'error'
:2: in function <
coroutine 1:
:5: in function <



=== TEST 3: an error that somebody caught is no part of a later one
--- config
    location = /t {
        content_by_lua_block {
            pcall(coroutine.wrap(function() error("caught") end))
            coroutine.resume(coroutine.create(function() error("caught, too") end))
            error("not caught")
        }
    }
--- request
GET /t
--- error_code: 500
--- response_body_like: 500
--- grep_error_log_out
thread aborted: runtime error: content_by_lua(nginx.conf:40):4: not caught
coroutine 0:
in function 'error'
in main chunk



=== TEST 4: of hundreds of coroutines those next to the error
--- config
    location = /t {
        content_by_lua_block {
            local function bottom() error("bottom", 0) end
            local function nest(n)
                if n == 0 then bottom() end
                coroutine.wrap(function() nest(n - 1) end)()
            end
            nest(500)
        }
    }
--- request
GET /t
--- error_code: 500
--- response_body_like: 500
--- grep_error_log_out eval
"thread aborted: runtime error: bottom\ncoroutine 0:\nin function 'error'\nin function 'bottom'\nin function 'nest'\n:5: in function <\n"
. CORE::join '', map {"coroutine $_:\nin function 'nest'\n:5: in function <\n"} 1 .. 4
