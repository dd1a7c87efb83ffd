# ngx.config, ngx.worker, in and out of requests.
use Test::Nginx::Socket::Lua;

repeat_each(2);
plan tests => repeat_each() * 8;
no_long_string();
run_tests();

__DATA__

=== TEST 1: ngx.config
--- http_config
    init_by_lua_block { in_init = ngx.config.prefix() .. ngx.config.nginx_version }
--- config
    location /t {
        content_by_lua_block {
            ngx.say(ngx.config.subsystem, " ", type(ngx.config.debug))
            ngx.say(ngx.config.prefix())
            ngx.say(ngx.config.prefix() .. ngx.config.nginx_version == in_init)
            ngx.say(ngx.config.nginx_version >= 1022000, " ", ngx.config.ngx_lua_version >= 10000)
            ngx.say(ngx.config.nginx_configure():find("--with-", 1, true) ~= nil)
        }
    }
--- request
GET /t
--- response_body_like eval
"\\Ahttp boolean
" . Test::Nginx::Util::server_root() . "/
true
true true
true
\\z"



=== TEST 2: ngx.config.nginx_version is that of nginx
--- config
    location /t {
        content_by_lua_block {
            local version = ngx.config.nginx_version
            ngx.say(math.floor(version / 1000000), ".", math.floor(version / 1000) % 1000, ".", version % 1000)
        }
    }
    location /nginx { return 200 "$nginx_version\n"; }
--- request eval
["GET /t", "GET /nginx"]
--- response_body eval
my ($v) = `$Test::Nginx::Util::NginxBinary -v 2>&1` =~ m{nginx/([\d.]+)};
["$v\n", "$v\n"]



=== TEST 3: ngx.worker without a master
--- http_config
    init_by_lua_block { init = { ngx.worker.pid(), ngx.worker.id(), ngx.worker.count(), ngx.worker.exiting() } }
    init_worker_by_lua_block { worker = { ngx.worker.pid(), ngx.worker.id(), ngx.worker.count(), ngx.worker.exiting() } }
--- config
    location /t {
        content_by_lua_block {
            ngx.say(ngx.worker.pid() == tonumber(io.open("/proc/self/stat"):read("*n")), " ", ngx.worker.id(), " ",
                    ngx.worker.count(), " ", ngx.worker.exiting())
            ngx.say(init[1] == ngx.worker.pid(), " ", init[2], " ", init[3], " ", init[4])
            ngx.say(worker[1] == ngx.worker.pid(), " ", worker[2], " ", worker[3], " ", worker[4])
        }
    }
--- request
GET /t
--- response_body
true 0 1 false
true 0 1 false
true 0 1 false
