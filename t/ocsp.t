# require "ngx.ocsp": whom to ask, what to ask, whether to believe the answer;
# with a responder of openssl's, and with answers that openssl made.

use Test::Nginx::Socket::Lua 'no_plan';
use Test::Nginx::CA;
use Test::Nginx::Peer;
use Test::Nginx::Ports qw( reserve_port );
use Test::Nginx::Puppet;

my $dir = $ENV{TEST_NGINX_CA};

sub in_ca { return Test::Nginx::CA::openssl(@_) }

sub write_to {
    my ( $name, $bytes ) = @_;
    open my $file, '>:raw', "$dir/$name" or die "$name: $!";
    print {$file} $bytes;
    close $file;
    return;
}

sub read_from {
    my ($name) = @_;
    open my $file, '<:raw', "$dir/$name" or die "$name: $!";
    local $/;
    return scalar <$file>;
}

my $port = reserve_port();

# Certificates that name it, or can sign for the authority.
write_to( 'more', <<"_" );
[stapled]
authorityInfoAccess = OCSP;URI:http://127.0.0.1:$port/ocsp,OCSP;URI:http://other.test/
[delegate]
extendedKeyUsage = OCSPSigning
_
for my $name (qw( stapled delegate )) {
    in_ca( qw( ca -batch -notext -config config -name root -in ec.csr -extfile more -subj ),
        "/CN=$name", '-extensions', $name, '-out', "$name.pem" );
}
my @request = qw( -reqin request.der -index index.txt -ndays 1 -respout );
in_ca( qw( ocsp -no_nonce -issuer root.pem -cert stapled.pem -reqout request.der ) );
in_ca( qw( ocsp -CA root.pem -rkey root.key -rsigner root.pem ),     @request, 'good.resp' );
in_ca( qw( ocsp -CA root.pem -rkey ec.key -rsigner delegate.pem ),   @request, 'delegate.resp' );
in_ca( qw( ocsp -CA root.pem -rkey ec.key -rsigner stapled.pem ),    @request, 'itself.resp' );
in_ca( qw( ocsp -CA root.pem -rkey other.key -rsigner other.pem ),   @request, 'other.resp' );

Test::Nginx::Peer->command(
    OCSP => [
        qw( openssl ocsp -port %PORT% -ignore_err -nmin 10 -index ), "$dir/index.txt",
        '-CA', "$dir/root.pem", '-rsigner', "$dir/root.pem", '-rkey', "$dir/root.key",
    ],
    # A connection that is closed without a request would keep it busy for ever.
    port  => $port,
    ready => sub { $_[0]->log =~ /waiting for OCSP client/ }
);

# An answer from another day: an authority with an RSA key has signatures of one
# length, so that times can be replaced and the whole signed again.
in_ca( qw( req -new -x509 -config config -days 30 -subj /CN=old -extensions authority
        -key rsa.key -out old.pem ) );
in_ca( qw( x509 -req -in ec.csr -CA old.pem -CAkey rsa.key -set_serial 7 -out aged.pem ) );
in_ca( qw( ocsp -no_nonce -issuer old.pem -cert aged.pem -reqout aged.req ) );
write_to( 'aged.txt', "V\t301231235959Z\t\t07\tunknown\t/CN=aged\n" );
my @aged = qw( ocsp -reqin aged.req -index aged.txt -CA old.pem -rkey rsa.key -rsigner old.pem
    -resp_no_certs -respout );
in_ca( @aged, qw( now.resp -ndays 1 ) );
in_ca( @aged, 'forever.resp' );

# Begin and end of the value at an offset.
sub der_value {
    my ( $der, $at ) = @_;
    my $len = ord substr $der, $at + 1, 1;
    return ( $at + 2, $at + 2 + $len ) if $len < 128;
    my $bytes = $len & 127;
    my $begin = $at + 2 + $bytes;
    return ( $begin, $begin + hex unpack 'H*', substr $der, $at + 2, $bytes );
}

sub dated {
    my ( $name, $year ) = @_;
    my $der = read_from('now.resp');
    my ($at) = der_value( $der, 0 );            # OCSPResponse
    ( undef, $at ) = der_value( $der, $at );    # its status
    ($at) = der_value( $der, $at ) for 1 .. 2;  # [0], ResponseBytes
    ( undef, $at ) = der_value( $der, $at );    # the type
    ($at) = der_value( $der, $at ) for 1 .. 2;  # OCTET STRING, BasicOCSPResponse
    my ( undef, $end ) = der_value( $der, $at );
    my $data = substr $der, $at, $end - $at;
    $data =~ s/\x18\x0f\K\d{4}/$year/g;
    write_to( 'data', $data );
    in_ca( qw( dgst -sha256 -sign rsa.key -out signature data ) );
    substr( $der, $at, $end - $at ) = $data;
    substr( $der, -256 ) = read_from('signature');
    write_to( "$name.resp", $der );
    return;
}
dated( 'same', 1900 + (gmtime)[5] );
dated( 'past', 2001 );
dated( 'future', 2099 );
chmod 0644, glob "$dir/*";

# What all blocks begin with.
add_block_preprocessor(
    sub {
        my ($block) = @_;
        my $config = $block->config;
        $config =~ s/content_by_lua_block \{ \K/
            local ssl, ocsp, pem = require "ngx.ssl", require "ngx.ocsp", require("puppet").pem
            local function chain(name, issuer)
                return ssl.cert_pem_to_der(pem(name .. ".pem") .. (issuer and pem(issuer .. ".pem") or ""))
            end
        /;
        $block->set_value( config => $config );
    }
);

no_long_string();
run_tests();

__DATA__

=== TEST 1: the responder's address
--- lua
show(type(ocsp._VERSION), require "ngx.ocsp" == ocsp)
local url = "http://127.0.0.1:" .. $TEST_NGINX_OCSP_PORT .. "/ocsp"
local der = chain("stapled", "root")
show(ocsp.get_ocsp_responder_from_der_chain(der) == url)
show(ocsp.get_ocsp_responder_from_der_chain(der, #url) == url)
local short, err = ocsp.get_ocsp_responder_from_der_chain(der, #url - 1)
show(short == url:sub(1, -2), err)
show(ocsp.get_ocsp_responder_from_der_chain(der, 0))
-- A certificate that names none is no error.
show(select("#", ocsp.get_ocsp_responder_from_der_chain(chain("good", "root"))))
show(ocsp.get_ocsp_responder_from_der_chain(chain("good", "root")))
--- response_body
"string" true
true
true
true "truncated"
"" "truncated"
1
nil



=== TEST 2: the request is the one that openssl makes
--- lua
local der = chain("stapled", "root")
local request = ocsp.create_ocsp_request(der)
show(request == pem "request.der")
show(ocsp.create_ocsp_request(der, #request) == request)
local none, err = ocsp.create_ocsp_request(der, #request - 1)
show(none, (err:gsub("%d+", function(n) return n - #request end)))
-- The issuer may stand behind others.
show(ocsp.create_ocsp_request(chain("stapled", "other") .. chain "root") == request)
-- The chain of an intermediate authority.
local under = ocsp.create_ocsp_request(chain "under")
show(#under > 60 and under ~= request)
--- response_body
true
true
nil "output buffer too small: 0 > -1"
true
true



=== TEST 3: chains that will not do
--- lua
for _, der in ipairs { "", "junk", chain "stapled", chain("stapled", "other"), chain("stapled", "root"):sub(1, -2) } do
    show(ocsp.get_ocsp_responder_from_der_chain(der))
    show(ocsp.create_ocsp_request(der))
    show(ocsp.validate_ocsp_response(pem "good.resp", der))
end
--- response_body eval
CORE::join '', map { qq{nil "$_"\n} x 3 } 'd2i_X509_bio() failed', 'd2i_X509_bio() failed',
    'no issuer certificate in chain', 'issuer certificate not found in chain', 'd2i_X509_bio() failed'



=== TEST 4: asked over a cosocket
--- lua
local function ask(der)
    local request = assert(ocsp.create_ocsp_request(der))
    local host, port, path = "127.0.0.1", $TEST_NGINX_OCSP_PORT, "/ocsp"
    local sock = ngx.socket.tcp()
    assert(sock:connect(host, port))
    assert(sock:send {
        "POST ", path, " HTTP/1.0\r\nContent-Type: application/ocsp-request\r\n",
        "Content-Length: ", #request, "\r\n\r\n", request,
    })
    local answer = assert(sock:receive "*a")
    return (select(2, answer:match("^(HTTP/1.0 200 .-\r\n\r\n)(.*)$")))
end
for _, name in ipairs { "stapled", "good", "revoked", "stranger" } do
    local der = chain(name, name == "stranger" and "other" or "root")
    local ok, more = ocsp.validate_ocsp_response(ask(der), der)
    if ok then
        more = more - ngx.time() > 500 and more - ngx.time() <= 601
    end
    show(name, ok, more)
end
--- response_body
"stapled" true true
"good" true true
"revoked" nil "certificate status \"revoked\" in the OCSP response"
"stranger" nil "OCSP_basic_verify() failed"



=== TEST 5: who may sign
--- lua
local der = chain("stapled", "root")
for _, name in ipairs { "good", "delegate", "itself", "other" } do
    local ok, more = ocsp.validate_ocsp_response(pem(name .. ".resp"), der)
    show(name, ok, ok and type(more) or more)
end
-- For another certificate.
show(ocsp.validate_ocsp_response(pem "good.resp", chain("good", "root")))
show(ocsp.validate_ocsp_response(pem "ocsp-revoked.der", chain("revoked", "root")))
--- response_body
"good" true "number"
"delegate" true "number"
"itself" nil "OCSP_basic_verify() failed"
"other" nil "OCSP_basic_verify() failed"
nil "certificate status not found in the OCSP response"
nil "certificate status \"revoked\" in the OCSP response"



=== TEST 6: when
--- lua
local der = chain("aged", "old")
local ok, next_update = ocsp.validate_ocsp_response(pem "same.resp", der)
show(ok, math.abs(next_update - ngx.time() - 86400) < 3600)
show(ocsp.validate_ocsp_response(pem "past.resp", der))
show(ocsp.validate_ocsp_response(pem "future.resp", der))
-- One that promises no later news has no next update, also after one that had.
show(ocsp.validate_ocsp_response(pem "forever.resp", der))
--- response_body
true true
nil "OCSP_check_validity() failed"
nil "OCSP_check_validity() failed"
true nil



=== TEST 7: damaged answers
--- lua
local der, good = chain("stapled", "root"), pem "good.resp"
for _, bad in ipairs { "", "x", good:sub(1, -2), good .. "x", ("x"):rep(1000000), der, "\48\3\10\1\1", "\48\3\10\1\6", "\48\3\10\1\99", "\48\3\10\1\0" } do
    show(ocsp.validate_ocsp_response(bad, der))
end
-- No bit may be changed, of what is signed or of the signature.
local accepted, signed, aged = 0, pem "same.resp", chain("aged", "old")
assert(ocsp.validate_ocsp_response(signed, aged))
for at = 30, #signed, 7 do
    local flipped = bit.bxor(signed:byte(at), 16)
    local bad = signed:sub(1, at - 1) .. string.char(flipped) .. signed:sub(at + 1)
    if ocsp.validate_ocsp_response(bad, aged) then
        accepted = accepted + 1
    end
end
show(accepted)
show(ocsp.validate_ocsp_response("\48\3\10\1\6", der, 12))
show(ocsp.validate_ocsp_response(good, "", 0))
-- Errors are not left behind for others to find.
shook(open("tls:good say:x"):sslhandshake(false))
--- response_body
nil "d2i_OCSP_RESPONSE() failed"
nil "d2i_OCSP_RESPONSE() failed"
nil "d2i_OCSP_RESPONSE() failed"
nil "d2i_OCSP_RESPONSE() failed"
nil "d2i_OCSP_RESPONSE() failed"
nil "d2i_OCSP_RESPONSE() failed"
nil "OCSP response not successful (1: malformedrequest)"
nil "OCSP response not successful (6: unauthorized)"
nil "OCSP response not successful (99: (UNKNOWN))"
nil "OCSP_response_get1_basic() failed"
0
nil "OCSP respons"
nil ""
true



=== TEST 8: arguments
--- lua
for _, name in ipairs { "get_ocsp_responder_from_der_chain", "create_ocsp_request", "validate_ocsp_response" } do
    fails(ocsp[name])
    fails(ocsp[name], {}, {})
    fails(ocsp[name], "x", name:find "validate" and 1 or "x", "x")
end
fails(ocsp.validate_ocsp_response, "x", "y", {})
--- response_body
bad argument #1 to '?' (string expected, got no value)
bad argument #2 to '?' (number expected, got table)
bad argument #2 to '?' (number expected, got string)
bad argument #1 to '?' (string expected, got no value)
bad argument #2 to '?' (number expected, got table)
bad argument #2 to '?' (number expected, got string)
bad argument #1 to '?' (string expected, got no value)
bad argument #1 to '?' (string expected, got table)
bad argument #3 to '?' (number expected, got string)
bad argument #3 to '?' (number expected, got table)
