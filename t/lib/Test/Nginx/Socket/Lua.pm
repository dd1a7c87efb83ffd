package Test::Nginx::Socket::Lua;

# Test::Nginx::Socket for Lua code. TEST_NGINX_INIT_BY_LUA holds Lua code that is
# put at the start of every block's init_by_lua_block.

use strict;
use warnings;

use Test::Nginx::Socket -base;

my $code = $ENV{TEST_NGINX_INIT_BY_LUA};

if ( defined $code ) {
    Test::Nginx::Util::add_block_preprocessor(
        sub {
            my ($block) = @_;
            my $config = $block->http_config;
            $config = '' if !defined $config;
            $config =~ s/\binit_by_lua_block\s*\{/init_by_lua_block { $code /
                or $config .= "\n    init_by_lua_block { $code }\n";
            $block->set_value( http_config => $config );
        }
    );
}

1;
