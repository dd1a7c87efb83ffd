-- ssl_certificate_by_lua_file of vault.demo: runs inside of the TLS handshake and
-- may wait there, in this case for a Redis.
local ssl = require "ngx.ssl"

local name = ssl.server_name()
local certificate, key, err = require("vault").get(name)
if err then
    ngx.log(ngx.ERR, "cannot look up the certificate of ", name, ": ", err)
end
if not key then
    return ngx.exit(ngx.ERROR) -- no certificate, no connection
end

assert(ssl.clear_certs())
assert(ssl.set_cert(assert(ssl.parse_pem_cert(certificate))))
assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(key))))
