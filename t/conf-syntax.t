# `nginx -t` compiles the Lua code it can see; a start leaves that to requests.
use strict;
use warnings;

use File::Path qw( make_path );
use File::Temp qw( tempdir );
use Test::More tests => 12;
use Test::Nginx::Config qw( module_paths );

my $prefix = tempdir( CLEANUP => 1 );
make_path("$prefix/logs");
my $modules = join ' ', map {"load_module $_;"} module_paths();

# Debian's nginx wants to write to folders below /var that are not there where it
# was only unpacked, and are not ours where we are not root.
my $own_paths = join ' ',
    "access_log off;", map {"${_}_temp_path $prefix/$_;"} qw( client_body proxy fastcgi uwsgi scgi );
my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';

sub spew {
    my ( $file, $text ) = @_;
    open my $out, '>', "$prefix/$file" or die "$file: $!";
    print {$out} $text;
    close $out or die "$file: $!";
    return;
}

# Tests a configuration; `$code` begins in line 5.
sub check {
    my ( $option, $code ) = @_;
    spew( 'nginx.conf', <<"CONF");
$modules
error_log stderr; pid logs/pid; events {}
http { $own_paths
server { listen unix:$prefix/sock; location / {
$code
} } }
CONF
    my $output = qx{$nginx $option -e stderr -p $prefix/ -c nginx.conf 2>&1};
    return ( $? >> 8, $output );
}

my ( $status, $output ) = check( '-t', "content_by_lua_block {\n\n  local = 1\n}" );
is( $status, 1, 'inline code that does not compile' );
like(
    $output,
    qr{\[emerg\] .*?: content_by_lua\(nginx\.conf:5\):3: .* in \S+/nginx\.conf:5$}m,
    'says where'
);

( $status, $output ) = check( '-t', "access_by_lua 'local = 1';" );
is( $status, 1, 'quoted code that does not compile' );
like( $output, qr{access_by_lua\(nginx\.conf:5\):1: }, 'says where' );

spew( 'bad.lua', "#!/usr/bin/luajit\nlocal = 1\n" );
( $status, $output ) = check( '-t', 'rewrite_by_lua_file bad.lua;' );
is( $status, 1, 'a file that does not compile' );
like( $output, qr{\Q$prefix\E/bad\.lua:2: .* in \S+/nginx\.conf:5$}m, 'says where' );

spew( 'good.lua', "#!/usr/bin/luajit\nlocal x = 1\n" );
( $status, $output ) = check( '-t', 'rewrite_by_lua_file good.lua;' );
is( $status, 0, 'a good file' ) or diag($output);

( $status, $output ) = check( '-t', 'rewrite_by_lua_file missing.lua;' );
is( $status, 0, 'a missing file is looked for later' ) or diag($output);

( $status, $output ) = check( '-t', 'rewrite_by_lua_file $arg_file.lua;' );
is( $status, 0, 'a file that a request names' ) or diag($output);

( $status, $output ) = check( '-t', 'lua_code_cache off;' );
like(
    $output,
    qr{\[warn\] .*lua_code_cache is off; this will hurt performance in \S+/nginx\.conf:5$}m,
    'lua_code_cache off is warned about'
);

my $block = "content_by_lua_block {\n" . ( "  -- } ]] '\n" x 20_000 ) . '}';
( $status, $output ) = check( '-T', $block );
is( $status, 0, 'a block of 200 kilobytes' ) or diag($output);
ok( index( $output, $block ) > 0, 'nginx -T prints it whole' );
