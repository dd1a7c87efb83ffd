-- Stores of trusted certificates, as lua-resty-openssl makes them.

local ffi = require "ffi"
local pem = require("puppet").pem

ffi.cdef [[
    void *X509_STORE_new(void);
    void X509_STORE_free(void *store);
    int X509_STORE_add_cert(void *store, void *x509);
    void *BIO_new_mem_buf(const void *buf, int len);
    int BIO_free(void *bio);
    void *PEM_read_bio_X509(void *bio, void **x, void *cb, void *u);
    void X509_free(void *x509);
]]

local m = {}

-- A store with one certificate of Test::Nginx::CA in it.
function m.new(name)
    local text = pem(name)
    local bio = ffi.C.BIO_new_mem_buf(text, #text)
    local x509 = ffi.C.PEM_read_bio_X509(bio, nil, nil, nil)
    ffi.C.BIO_free(bio)
    local store = ffi.gc(ffi.C.X509_STORE_new(), ffi.C.X509_STORE_free)
    assert(ffi.C.X509_STORE_add_cert(store, x509) == 1)
    ffi.C.X509_free(x509)
    return store
end

return m
