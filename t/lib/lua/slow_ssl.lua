-- Handshakes that need not wait.

local ffi = require "ffi"
local t = require "puppet"

ffi.cdef [[
    void SSL_CTX_set_info_callback(void *ctx, void (*callback)(const void *, int, int));
    const char *SSL_state_string_long(const void *ssl);
    int SSL_get_fd(const void *ssl);
    int poll(void *, unsigned long, int);
]]

local callback, last

-- Called by OpenSSL between the steps of a handshake; twice where it turns from
-- writing to reading.
local function wait_for_answer(ssl, where)
    local state = ffi.string(ffi.C.SSL_state_string_long(ssl))
    local again = state == last
    last = state
    if not again and where == 0x1001
        and (state:find("write client hello") or state:find("write finished"))
    then
        local pollfd = ffi.new("struct { int fd; short events, revents; }[1]")
        pollfd[0].fd, pollfd[0].events = ffi.C.SSL_get_fd(ssl), 1
        ffi.C.poll(pollfd, 1, 1000)
    end
end

-- LuaJIT 2.1 of 2023 crashes where compiled code of an FFI callback leaves its trace and
-- the coroutine that used the FFI last is gone.
jit.off(wait_for_answer)

local m = {}

-- From now on handshakes pause where they have said something: the peer's answer is
-- there before anybody looks whether it is.
function m.slow_down()
    callback = callback or ffi.cast("void (*)(const void *, int, int)", wait_for_answer)
    local sock = t.open("tls:good say:x")
    assert(sock:sslhandshake(false))
    ffi.C.SSL_CTX_set_info_callback(sock:getsslctx(), callback)
    sock:close()
end

-- Shows whether a handshake had to wait, and what came of it: nginx looks at the clock
-- only in its event loop.
function m.shake(sock, ...)
    ngx.update_time()
    ngx.sleep(0)
    local before = ngx.now()
    local result, err = sock:sslhandshake(...)
    t.show(ngx.now() == before and "at once" or "later", result, err)
end

return m
