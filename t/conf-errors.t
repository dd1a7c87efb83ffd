# Lua code that nginx must refuse, and the line it blames.
use Test::Nginx::Socket::Lua;

plan tests => blocks() * 2;

no_long_string();
run_tests();

__DATA__

=== TEST 1: a block without end
--- config
    location /t {
        content_by_lua_block {
            local t = {{{{{{
    }
--- must_die
--- error_log eval
qr{\[emerg\] .*? unexpected end of file, expecting terminating characters for lua code block in .*/nginx\.conf:40$}m



=== TEST 2: a long string without end
--- config
    location /t {
        content_by_lua_block {
            local s = 1
            local t = [==[ ]] } ]=]
        }
    }
--- must_die
--- error_log eval
qr{\[emerg\] .*? Lua code block missing the closing long bracket "\]==\]" in .*/nginx\.conf:42$}m



=== TEST 3: a long comment without end
--- config
    location /t {
        content_by_lua_block {
            --[[ }
        }
    }
--- must_die
--- error_log eval
qr{"content_by_lua_block" of line 40 has an unfinished long comment: Lua code block missing the closing long bracket "\]\]" in .*/nginx\.conf:41$}m



=== TEST 4: a string without end
--- config
    location /t {
        content_by_lua_block {
            local s = "abc }
        }
    }
--- must_die
--- error_log eval
qr{"content_by_lua_block" of line 40 has an unfinished string: Lua code block missing the closing quote \["\] in .*/nginx\.conf:41$}m



=== TEST 5: code twice, in different forms
--- config
    location /t {
        content_by_lua 'return';
        content_by_lua_block {
            return
        }
    }
--- must_die
--- error_log eval
qr{"content_by_lua_block" directive is duplicate in .*/nginx\.conf:41$}m



=== TEST 6: init_by_lua twice
--- http_config
    init_by_lua_block { }
    init_by_lua_file a.lua;
--- config
--- must_die
--- error_log
"init_by_lua_file" directive is duplicate



=== TEST 7: empty code
--- config
    location /t { content_by_lua ''; }
--- must_die
--- error_log eval
qr{invalid location config: no runnable Lua code in .*/nginx\.conf:39$}m



=== TEST 8: an empty block
--- config
    location /t { rewrite_by_lua_block {} }
--- must_die
--- error_log
invalid location config: no runnable Lua code



=== TEST 9: no block
--- config
    location /t { access_by_lua_block; }
--- must_die
--- error_log
directive "access_by_lua_block" has no opening "{"



=== TEST 10: a block with arguments
--- config
    location /t { access_by_lua_block x { } }
--- must_die
--- error_log
invalid number of arguments in "access_by_lua_block" directive



=== TEST 11: lines are counted through a large block
--- config eval
"location /t {\n content_by_lua_block {\n" . ( "-- } '\n" x 5000 ) . "}\n nonsense;\n }"
--- must_die
--- error_log eval
qr{unknown directive "nonsense" in .*/nginx\.conf:5042$}m



=== TEST 12: lines are counted in an included file and behind it
--- config
    location /t {
        include ../html/block.conf;
        nonsense;
    }
--- user_files
>>> block.conf
content_by_lua_block {
    -- }


}
--- must_die
--- error_log eval
qr{unknown directive "nonsense" in .*/nginx\.conf:41$}m



=== TEST 13: an included file that ends inside of a block
--- config
    location /t {
        include ../html/block.conf;
    }
--- user_files
>>> block.conf

content_by_lua_block {
    local t = {
}
--- must_die
--- error_log eval
qr{unexpected end of file, expecting terminating characters for lua code block in .*/html/block\.conf:2$}m
