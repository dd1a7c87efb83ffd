# Debian's lua-nginx-dns, as it is, against a real DNS server (dnsmasq), and against
# servers that lose datagrams.

use Test::Nginx::Socket::Lua;
use Test::Nginx::Puppet;
use Test::Nginx::Peer;

plan skip_all => 'lua-nginx-dns was not unpacked' if !lua_library('resty/dns/resolver.lua');
plan skip_all => 'dnsmasq is not installed' if !Test::Nginx::Peer->has('dnsmasq');
plan 'no_plan';

Test::Nginx::Peer->command(
    DNSMASQ => [
        qw( dnsmasq --keep-in-foreground --log-facility=- --port=%PORT% --listen-address=127.0.0.1
            --bind-interfaces --conf-file=/dev/null --no-resolv --no-hosts --pid-file --user
            --local-ttl=77 --local=/test/ --local=/arpa/ ),
        '--host-record=a.test,127.0.0.1',
        '--host-record=b.test,127.0.0.2,::2',
        '--host-record=r.test,10.0.0.1,2001:db8::1',
        '--cname=c.test,a.test',
        '--mx-host=a.test,b.test,5',
        '--srv-host=_s._tcp.test,a.test,8080,1,2',
        '--txt-record=a.test,one',
        # Too large for a datagram of 512 bytes.
        '--txt-record=long.test,' . join ',', ('0123456789' x 20) x 5,
    ]
);

# Servers that lose datagrams: all, or the first of each name.
Test::Nginx::Peer->udp( DEAF => sub { return } );
my %asked;
Test::Nginx::Peer->udp(
    LOSSY => sub {
        my ($query) = @_;
        return if !$asked{ substr $query, 12 }++;
        my $id = substr $query, 0, 2;
        my $question = substr $query, 12;
        my $answer = sub {
            return pack( 'n6', $_[0], 0x8180, 1, 1, 0, 0 ) . $question
                . pack( 'n3Nn/a*', 0xC00C, 1, 1, 9, pack 'C4', 192, 0, 2, 1 );
        };
        # One that is late, for an earlier query, comes first.
        return ( $answer->( unpack( 'n', $id ) ^ 1 ), [ 0.05, $answer->( unpack 'n', $id ) ] );
    }
);
my $free = IO::Socket::INET->new( LocalAddr => '127.0.0.1', Proto => 'udp' );
$ENV{TEST_NGINX_REFUSING_PORT} = $free->sockport;
close $free;

add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value( 'http_config', <<'END' . $block->http_config );
init_by_lua_block {
    package.loaded.ask = function(name, options, method, resolver)
        local dns = require "resty.dns.resolver"
        local r = assert(dns:new(resolver or { nameservers = { { "127.0.0.1", $TEST_NGINX_DNSMASQ_PORT } } }))
        local answers, err = r[method or "query"](r, name, options)
        if not answers then
            return ngx.say(err)
        end
        if answers.errcode then
            return ngx.say(answers.errcode, " ", answers.errstr)
        end
        local lines = {}
        for i, a in ipairs(answers) do
            local txt = type(a.txt) == "table" and table.concat(a.txt, "+") or a.txt
            local rest = a.address or a.cname or a.exchange or a.target or a.ptrdname or txt
            lines[i] = table.concat({ a.name, a.type, a.class, rest, a.port or a.preference }, " ")
        end
        table.sort(lines)
        ngx.say(table.concat(lines, "\n"))
        return answers, r
    end
}
END
    }
);

run_tests();

__DATA__

=== TEST 1: records of all kinds
--- lua
local dns, ask = require "resty.dns.resolver", require "ask"
local answers = ask("a.test")
show(answers[1].ttl, answers[1].section)
ask("b.test", { qtype = dns.TYPE_A })
ask("b.test", { qtype = dns.TYPE_AAAA })
ask("c.test")
ask("a.test", { qtype = dns.TYPE_MX })
ask("_s._tcp.test", { qtype = dns.TYPE_SRV })
ask("a.test", { qtype = dns.TYPE_TXT })
ask("2001:db8:0:0:0:0:0:1", nil, "reverse_query")
ask("nothing.test")
--- response_body
a.test 1 1 127.0.0.1
77 1
b.test 1 1 127.0.0.2
b.test 28 1 0:0:0:0:0:0:0:2
a.test 1 1 127.0.0.1
c.test 5 1 a.test
a.test 15 1 b.test 5
_s._tcp.test 33 1 a.test 8080
a.test 16 1 one
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa 12 1 r.test
3 name error



=== TEST 2: a truncated answer is asked for again over TCP
--- lua
local dns, ask = require "resty.dns.resolver", require "ask"
local answers = ask("long.test", { qtype = dns.TYPE_TXT })
show(#answers, #answers[1].txt)
--- response_body_like
^long.test 16 1 (0123456789)+[+](0123456789)+[+].*
1 5$



=== TEST 3: TCP at once
--- lua
local ask = require "ask"
for i = 1, 3 do
    ask("a.test", nil, "tcp_query")
end
--- response_body
a.test 1 1 127.0.0.1
a.test 1 1 127.0.0.1
a.test 1 1 127.0.0.1



=== TEST 4: many queries over one socket
--- lua
local dns = require "resty.dns.resolver"
local r = assert(dns:new { nameservers = { { "127.0.0.1", $TEST_NGINX_DNSMASQ_PORT } } })
local before, right = t.datagrams(), 0
for i = 1, 200 do
    local answers = assert(r:query(i % 2 == 0 and "a.test" or "b.test"))
    if answers[1].address == (i % 2 == 0 and "127.0.0.1" or "127.0.0.2") then
        right = right + 1
    end
end
show(right, t.datagrams() - before)
--- response_body
200 0



=== TEST 5: no answer: every try times out
--- lua
local ask = require "ask"
local seconds = t.timed(ask, "a.test", nil, nil, {
    nameservers = { { "127.0.0.1", $TEST_NGINX_DEAF_PORT } }, retrans = 3, timeout = 100,
})
show(t.about(seconds, 0.3))
--- response_body eval
"failed to receive reply from UDP server 127.0.0.1:$ENV{TEST_NGINX_DEAF_PORT}: timeout\n\"about 0.3\"\n"
--- grep_error_log: lua udp socket read timed out
--- grep_error_log_out
lua udp socket read timed out
lua udp socket read timed out
lua udp socket read timed out



=== TEST 6: a lost datagram is sent again; an answer to another query is passed over
--- lua
local ask = require "ask"
local seconds = t.timed(ask, "lost.test", nil, nil, {
    nameservers = { { "127.0.0.1", $TEST_NGINX_LOSSY_PORT } }, retrans = 2, timeout = 200,
})
show(t.about(seconds, 0.25))
--- response_body
lost.test 1 1 192.0.2.1
"about 0.25"
--- error_log
lua udp socket read timed out



=== TEST 7: the next server answers where one does not
--- lua
local dns = require "resty.dns.resolver"
local r = assert(dns:new {
    nameservers = { { "127.0.0.1", $TEST_NGINX_DEAF_PORT }, { "127.0.0.1", $TEST_NGINX_DNSMASQ_PORT } },
    retrans = 2, timeout = 100,
})
for i = 1, 2 do
    local answers, err = r:query("a.test")
    show(answers and answers[1].address, err)
end
--- response_body
"127.0.0.1" nil
"127.0.0.1" nil
--- grep_error_log: attempt to
--- grep_error_log_out



=== TEST 8: a server that is not there; the resolver can be used again
--- lua
local dns = require "resty.dns.resolver"
local r = assert(dns:new {
    nameservers = { { "127.0.0.1", $TEST_NGINX_REFUSING_PORT } }, retrans = 1, timeout = 500,
})
for i = 1, 3 do
    local answers, err = r:query("a.test")
    show((err:gsub("%d+%.%d+%.%d+%.%d+:%d+", "IT")))
end
--- response_body
"failed to receive reply from UDP server IT: connection refused"
"failed to receive reply from UDP server IT: connection refused"
"failed to receive reply from UDP server IT: connection refused"
--- error_log
recv() failed (111: Connection refused)



=== TEST 9: reverse queries
--- lua
local ask = require "ask"
ask("2001:db8::1", nil, "reverse_query")
ask("10.0.0.1", nil, "reverse_query")
--- response_body
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa 12 1 r.test
1.0.0.10.in-addr.arpa 12 1 r.test
