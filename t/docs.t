# The documents are true: links lead somewhere, the functions they name exist,
# commands are targets of the Makefile, both READMEs list every directive and
# every function of the Lua API with the right status, and their example runs.
use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::Peer;
use Cwd 'abs_path';
use File::Basename 'dirname';
use Test::More ();

binmode $_, ':encoding(UTF-8)' for map { Test::More->builder->$_ } qw( output failure_output );

my $root = abs_path( dirname(__FILE__) . '/..' );
my @readmes = qw( README.md README.zh-CN.md );
my @documents = map { substr $_, 1 + length $root }
    grep {-f} map { glob "$root/$_" } qw( *.md docs/*.md t/*.md );
my %text = map { $_ => slurp($_) } @documents;

sub slurp {
    my ($path) = @_;
    open my $in, '<:encoding(UTF-8)', "$root/$path" or die "$path: $!";
    local $/;
    return scalar <$in>;
}

sub none {
    my ( $bad, $name ) = @_;
    return Test::More::ok( !@$bad, $name ) || Test::More::diag( map {"    $_\n"} @$bad );
}

# ---- links

# Anchors as GitHub makes them of headings.
sub anchors {
    my ($text) = @_;
    $text =~ s/^```.*?^```//msg;
    return map {
        my $anchor = lc;
        $anchor =~ s/\[([^]]*)\]\([^)]*\)/$1/g;
        $anchor =~ s/[^\w\- ]//g;
        $anchor =~ tr/ /-/;
        ( $anchor => 1 )
    } $text =~ /^#+ +(.*?)\s*$/mg;
}

for my $document (@documents) {
    ( my $text = $text{$document} ) =~ s/^```.*?^```//msg;
    my $dir = dirname($document);
    my @bad;
    while ( $text =~ /\[([^][]*(?:\[[^]]*\])?[^][]*)\]\(([^()\s]+)\)/g ) {
        my ( $label, $target ) = ( $1, $2 );
        next if $target =~ /^[a-z]+:/;
        my ( $path, $anchor ) = $target =~ /^([^#]*)#?(.*)$/;
        my $file = $path eq '' ? $document : "$dir/$path";
        1 while $file =~ s{(^|/)(?!\.\./)[^/]+/\.\./}{$1};
        $file =~ s{^(?:\./)+|/\z}{}g;
        if ( !-e "$root/$file" ) {
            push @bad, "$target: no such file";
            next;
        }
        if ( $anchor ne '' ) {
            my %known = anchors( slurp($file) );
            push @bad, "$target: no such heading" if !$known{$anchor};
        }
        # A function, type or constant in the text of a link to Rust code.
        if ( $file =~ /\.rs$/ && $label =~ /^`(?:[\w:]+::)?(\w+)(?:\(\))?`$/ ) {
            push @bad, "$file does not define $1"
                if slurp($file) !~ /\b(?:fn|struct|enum|trait|type|const|static|union) $1\b/;
        }
    }
    none( \@bad, "links of $document" );
}

# ---- commands

my %targets = map { $_ => 1 } slurp('Makefile') =~ /^([a-z0-9-]+):/mg;
for my $document (@documents) {
    my @commands = $text{$document} =~ /(?:^|`)\s*make ([a-z0-9-]+)\b/mg;
    none( [ map {"make $_"} grep { !$targets{$_} } @commands ], "commands of $document" );
}

# ---- tables

# Names in the table after a marker: status by name; `X*` of a directive is three.
sub table {
    my ( $document, $marker ) = @_;
    my ($table) = $text{$document} =~ /^<!-- \Q$marker\E -->\n((?:\|.*\n)+)/m
        or die "$document has no table $marker";
    my %status;
    for my $row ( split /\n/, $table ) {
        my @cells = split /\s*\|\s*/, $row;
        my $status = pop @cells;
        for my $name ( map {/`([^`]+)`/g} @cells ) {
            my @names = $marker eq 'directives' && $name =~ s/_by_lua\K\*$// ? ( '', '_block', '_file' ) : '';
            $status{"$name$_"} = $status for @names;
        }
    }
    return \%status;
}

my %directives = map { $_ => 1 } slurp('src/conf/directives.rs') =~ /\bc"([a-z0-9_]+)"/g;
Test::More::cmp_ok( scalar keys %directives, '>', 30, 'the directives were found' );
for my $document (@readmes) {
    my $status = table( $document, 'directives' );
    none( [ grep { ( $status->{$_} // '' ) ne "\x{2705}" } sort keys %directives ],
        "$document lists every directive as done" );
    none( [ grep { $status->{$_} eq "\x{2705}" && !$directives{$_} } sort keys %$status ],
        "$document lists no directive as done that is not there" );
}
Test::More::is_deeply( table( 'README.zh-CN.md', $_ ), table( 'README.md', $_ ), "both READMEs say the same of $_" )
    for qw( directives api );

# The API's names with their status go to the handler, which compares.
my $status = table( 'README.md', 'api' );
our $names = join ",\n", map { sprintf '["%s"] = %s', $_, $status->{$_} eq "\x{2705}" ? 'true' : 'false' }
    sort keys %$status;

# ---- the example

our ($example) = $text{'README.md'} =~ /^<!-- example -->\n```nginx\n(.*?)^```/ms or die 'no example';
$example =~ s/\b6379\b/\$TEST_NGINX_PONG_PORT/ or die 'the example has no port';
Test::Nginx::Peer->tcp( PONG => sub {
    my ($socket) = @_;
    while ( my $line = <$socket> ) { print {$socket} $line eq "PING\r\n" ? "+PONG\r\n" : "-ERR\r\n" }
} );

our $walk = <<'LUA';
local documented = {
    NAMES
}

local wrong = {}
local function complain(...)
    wrong[#wrong + 1] = table.concat({ ... })
end

-- Every function and constant there is has a row, and the row says so.
local function check(name)
    if documented[name] or documented[name:gsub("^(ngx%.HTTP_).*", "%1*")] then
        return
    end
    if documented[name] == false then
        complain(name, " is there, but README.md does not say so")
    else
        complain(name, " is not in README.md")
    end
end
local seen = {}
local function walk(prefix, t)
    seen[t] = true
    for key, value in pairs(t) do
        if type(key) == "string" and key:sub(1, 1) ~= "_" then
            if type(value) == "table" and not documented[prefix .. key] then
                if not seen[value] then
                    walk(prefix .. key .. ".", value)
                end
            else
                check(prefix .. key)
            end
        end
    end
end
walk("ngx.", ngx)
local tcp = ngx.socket.tcp()
walk("tcp:", getmetatable(tcp).__index)
local udp = ngx.socket.udp()
walk("udp:", getmetatable(udp).__index)
walk("coroutine.", coroutine)

-- What has a row that says so is there, and nothing else.
local roots = setmetatable({ tcp = tcp, udp = udp }, { __index = _G })
local function find(name)
    local value = roots
    for key in name:gmatch("[%w_]+") do
        value = value[key]
        if value == nil then
            return nil
        end
    end
    return value
end
for name, done in pairs(documented) do
    if not name:find("*", 1, true) then
        local found, value = pcall(find, name)
        local there = found and value ~= nil
        if done and not there then
            complain(name, " is not there, but README.md says so")
        elseif there and not done then
            complain(name, " is there, but README.md does not say so")
        end
    end
end

table.sort(wrong)
ngx.say(#wrong == 0 and "all true" or table.concat(wrong, "\n"))
LUA
$walk =~ s/NAMES/$names/;

no_long_string();
run_tests();

__DATA__

=== TEST 1: the API is what the tables say
--- config eval: "location = /t { content_by_lua_block { $::walk } }"
--- request
GET /t
--- response_body
all true
--- no_error_log
[error]



=== TEST 2: the example of the README
--- config eval: $::example
--- request eval
["GET /ping", "GET /ping"]
--- response_body eval
["+PONG\n", "+PONG\n"]
--- no_error_log
[error]
