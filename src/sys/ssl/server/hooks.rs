//! OpenSSL's callbacks on the `SSL_CTX` of servers that use Lua in handshakes.
//! Where no such directive is used, nothing here is installed.

use std::cell::Cell;
use std::os::raw::{c_int, c_uchar, c_void};
use std::ptr;
use std::rc::Rc;

use ngx::ffi::{
    ERR_clear_error, OSSL_HANDSHAKE_STATE_TLS_ST_BEFORE, OSSL_HANDSHAKE_STATE_TLS_ST_SR_CLNT_HELLO,
    SSL, SSL_CB_ACCEPT_LOOP, SSL_CB_HANDSHAKE_DONE, SSL_CB_HANDSHAKE_START, SSL_SESSION,
    SSL_get_SSL_CTX, SSL_get_state, SSL_set_info_callback, ngx_connection_t,
    ngx_http_ssl_certificate, ngx_http_ssl_srv_conf_t,
};

use super::arrival::Arrival;
use super::client::Client;
use super::kept::{
    Info, arrival_kept_by, arrival_of, connection, forget_arrival, keep_arrival, replaced,
    replaced_of,
};
use super::names::Server;
use crate::rt::worker_local;
use crate::sys::entry::guard;
use crate::sys::log::{self, Level};

const SSL_TLSEXT_ERR_OK: c_int = 0;
const SSL_TLSEXT_ERR_NOACK: c_int = 3;

/// The Lua side.
pub struct Handlers {
    /// Whether there is code to run for it.
    pub is_wanted: fn(&Arrival) -> bool,
    /// Runs it; calls `pass` or `refuse` in the end.
    pub run: fn(&Rc<Arrival>),
    /// A session was made in a handshake with that server.
    pub store: fn(Client, Server),
}

worker_local! {
    static HANDLERS: Cell<Option<&'static Handlers>> = Cell::new(None);
}

/// Says who runs the code.
pub fn set_handlers(handlers: &'static Handlers) {
    HANDLERS.set(Some(handlers));
}

pub(super) fn is_wanted(arrival: &Arrival) -> bool {
    HANDLERS
        .get()
        .is_some_and(|handlers| (handlers.is_wanted)(arrival))
}

pub(super) fn run(arrival: &Rc<Arrival>) {
    match HANDLERS.get() {
        Some(handlers) => (handlers.run)(arrival),
        None => arrival.pass(),
    }
}

/// OpenSSL tells where the handshake stands.
pub(super) unsafe extern "C" fn on_info(ssl: *const SSL, kind: c_int, value: c_int) {
    guard((), || {
        // SAFETY: OpenSSL passes its live TLS, which nginx has made.
        unsafe {
            if let Some(arrival) = arrival_kept_by(ssl) {
                if let Some(info) = arrival.info {
                    info(ssl, kind, value);
                }
                match kind as u32 {
                    SSL_CB_ACCEPT_LOOP => go_on(ssl.cast_mut(), &arrival),
                    SSL_CB_HANDSHAKE_DONE => finish(ssl.cast_mut(), &arrival),
                    _ => {}
                }
                return;
            }
            let c = connection(ssl);
            if c.is_null() || (*c).ssl.is_null() {
                return;
            }
            let info = replaced(c).and_then(|replaced| replaced.info);
            if let Some(info) = info {
                info(ssl, kind, value);
            }
            if kind as u32 == SSL_CB_HANDSHAKE_START {
                begin(ssl.cast_mut(), c, info);
            }
        }
    });
}

/// # Safety
/// `ssl` must be the live TLS of the live connection `c`, and keep no arrival.
unsafe fn begin(ssl: *mut SSL, c: *mut ngx_connection_t, info: Option<Info>) {
    // SAFETY: by the caller's promise. A renegotiation is none of ours, nor what
    // is left of a handshake after early data, and QUIC's TLS does not read.
    unsafe {
        let again = (*(*c).ssl).handshaked() != 0
            || SSL_get_state(ssl) != OSSL_HANDSHAKE_STATE_TLS_ST_BEFORE;
        if again || !(*c).udp.is_null() {
            return;
        }
        if let Some(arrival) = Arrival::begin(ssl, c, info) {
            keep_arrival(ssl, arrival);
            // nginx may change to another SSL_CTX, one without hooks.
            SSL_set_info_callback(ssl, Some(on_info));
        }
    }
}

/// # Safety
/// `ssl` must be live, and keep `arrival`.
unsafe fn go_on(ssl: *mut SSL, arrival: &Arrival) {
    // SAFETY: by the caller's promise; OpenSSL does not read while it tells.
    unsafe {
        if let Some(source) = arrival.take_drained_source() {
            source.put_back(ssl);
        }
        let state = SSL_get_state(ssl);
        let reads_hello = state == OSSL_HANDSHAKE_STATE_TLS_ST_BEFORE
            || state == OSSL_HANDSHAKE_STATE_TLS_ST_SR_CLNT_HELLO;
        if !reads_hello
            && arrival.was_passed_by()
            && let Some(c) = arrival.connection()
        {
            let text = b"TLS handshake refused: its ClientHello cannot be understood";
            log::write((*c).log, Level::Error, 0, text);
            // There is no other way to have OpenSSL stop here.
            libc::shutdown((*c).fd, libc::SHUT_RDWR);
        }
    }
}

/// # Safety
/// As [`go_on`].
unsafe fn finish(ssl: *mut SSL, arrival: &Arrival) {
    // SAFETY: by the caller's promise.
    unsafe {
        go_on(ssl, arrival);
        // Before early data OpenSSL says so, too, and again at the end.
        if arrival.is_spent() {
            SSL_set_info_callback(ssl, None);
            forget_arrival(ssl);
        }
    }
}

/// OpenSSL needs a certificate.
pub(super) unsafe extern "C" fn on_certificate(ssl: *mut SSL, settings: *mut c_void) -> c_int {
    guard(0, || {
        // SAFETY: OpenSSL passes its live TLS, nginx's connection is live with
        // it, and the settings are those that `install` gave.
        unsafe {
            let c = connection(ssl);
            if c.is_null() {
                return 0;
            }
            let arrival = arrival_of(c);
            if let Some(arrival) = &arrival {
                if arrival.has_to_wait() {
                    return -1;
                }
                if arrival.is_refused() {
                    return 0;
                }
            }
            let configured = settings.cast::<ngx_http_ssl_srv_conf_t>();
            if !(*configured).certificate_values.is_null() {
                let rc = ngx_http_ssl_certificate(ssl, settings);
                if rc != 1 {
                    return rc;
                }
            }
            let applied = match arrival.filter(|arrival| arrival.is_certified()) {
                Some(arrival) => arrival.credentials.borrow().apply(ssl),
                None => Err("it could not run for this connection"),
            };
            match applied {
                Ok(()) => 1,
                Err(reason) => {
                    let text = format!("ssl_certificate_by_lua: {reason}");
                    log::write((*c).log, Level::Error, 0, text.as_bytes());
                    // OpenSSL adds that the callback failed.
                    ERR_clear_error();
                    0
                }
            }
        }
    })
}

/// OpenSSL wants an OCSP answer to staple.
pub(super) unsafe extern "C" fn on_status(ssl: *mut SSL, data: *mut c_void) -> c_int {
    guard(SSL_TLSEXT_ERR_NOACK, || {
        // SAFETY: as on_certificate. The TLS's SSL_CTX is one that `install`
        // has seen, since it asks here.
        unsafe {
            let c = connection(ssl);
            let arrival = (!c.is_null()).then(|| arrival_of(c)).flatten();
            if arrival.is_some_and(|arrival| arrival.credentials.borrow().is_stapled()) {
                return SSL_TLSEXT_ERR_OK;
            }
            match replaced_of(SSL_get_SSL_CTX(ssl)).and_then(|replaced| replaced.status) {
                Some(status) => status(ssl, data),
                None => SSL_TLSEXT_ERR_NOACK,
            }
        }
    })
}

/// OpenSSL looks for a session.
pub(super) unsafe extern "C" fn on_get_session(
    ssl: *mut SSL,
    id: *const c_uchar,
    len: c_int,
    copy: *mut c_int,
) -> *mut SSL_SESSION {
    guard(ptr::null_mut(), || {
        // SAFETY: as on_certificate; the id has the length that is given.
        unsafe {
            let c = connection(ssl);
            if c.is_null() {
                return ptr::null_mut();
            }
            if let Some(arrival) = arrival_of(c)
                && let Some(session) = arrival.session.borrow().as_ref()
                && let Ok(len) = usize::try_from(len)
                && std::slice::from_raw_parts(id, len) == session.id
            {
                let session = session.session();
                if !session.is_null() {
                    // The reference becomes OpenSSL's.
                    *copy = 0;
                    return session;
                }
            }
            match replaced(c).and_then(|replaced| replaced.get_session) {
                Some(get) => get(ssl, id, len, copy),
                None => ptr::null_mut(),
            }
        }
    })
}

/// OpenSSL has made a session.
pub(super) unsafe extern "C" fn on_new_session(ssl: *mut SSL, session: *mut SSL_SESSION) -> c_int {
    guard(0, || {
        // SAFETY: as on_certificate; the session is live during the call.
        unsafe {
            let c = connection(ssl);
            if c.is_null() {
                return 0;
            }
            let server = if (*(*c).ssl).handshaked() == 0 {
                Some(Server::current(c))
            } else {
                // After early data: the connection is its request's already.
                replaced(c).and_then(|replaced| replaced.server)
            };
            if let (Some(handlers), Some(server)) = (HANDLERS.get(), server) {
                (handlers.store)(Client::of_session(c, session), server);
                // Nothing of what Lua tried is OpenSSL's business.
                ERR_clear_error();
            }
            match replaced(c).and_then(|replaced| replaced.new_session) {
                Some(new) => new(ssl, session),
                None => 0,
            }
        }
    })
}
