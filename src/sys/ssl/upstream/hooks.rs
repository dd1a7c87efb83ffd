//! OpenSSL's callbacks on the `SSL_CTX` of `proxy_pass`. Where no such
//! directive is used, nothing here is installed.

use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::OnceLock;

use ngx::ffi::{
    CRYPTO_EX_INDEX_SSL_CTX, CRYPTO_get_ex_new_index, SSL, SSL_CB_HANDSHAKE_DONE,
    SSL_CB_HANDSHAKE_START, SSL_CTX, SSL_CTX_get_ex_data, SSL_CTX_get_info_callback,
    SSL_CTX_set_cert_verify_callback, SSL_CTX_set_ex_data, SSL_CTX_set_info_callback,
    SSL_RECEIVED_SHUTDOWN, SSL_SENT_SHUTDOWN, SSL_SESSION_get0_peer, SSL_VERIFY_PEER,
    SSL_certs_clear, SSL_get_SSL_CTX, SSL_get_ex_data, SSL_get_ex_data_X509_STORE_CTX_idx,
    SSL_get_session, SSL_set_options, SSL_set_session, SSL_set_shutdown, SSL_set_verify,
    X509_STORE_CTX, X509_STORE_CTX_get_ex_data, X509_STORE_CTX_set_error, X509_verify_cert,
    ngx_connection_t, ngx_http_upstream_conf_t, ngx_ssl_connection_index, ngx_ssl_t,
};

use super::pause::{Pause, Verification};
use crate::sys::conf::{Conf, Level, Reported};
use crate::sys::entry::guard;
use crate::sys::log;
use crate::sys::phase::Phase;
use crate::sys::request::Request;
/// SSL_OP_NO_RENEGOTIATION
const NO_RENEGOTIATION: u64 = 1 << 30;
/// X509_V_ERR_OUT_OF_MEM
const OUT_OF_MEMORY: c_int = 17;

/// The Lua side.
pub struct Handlers {
    /// Whether the request's location has code for the phase.
    pub is_wanted: fn(Request, Phase) -> bool,
    /// Runs it; calls `pass` or `refuse` in the end.
    pub run: fn(&Rc<Pause>, Request),
}

static HANDLERS: OnceLock<&'static Handlers> = OnceLock::new();

/// Runs the code for `pause`.
pub(super) fn run(pause: &Rc<Pause>, request: Request) {
    match HANDLERS.get() {
        Some(handlers) => (handlers.run)(pause, request),
        None => pause.refuse(),
    }
}

type Info = unsafe extern "C" fn(ssl: *const SSL, kind: c_int, value: c_int);

/// Where an `SSL_CTX` keeps nginx's own info callback, which is called as well.
fn replaced_index() -> c_int {
    static INDEX: OnceLock<c_int> = OnceLock::new();
    // SAFETY: nothing is to be done when an `SSL_CTX` is made, copied or freed.
    *INDEX.get_or_init(|| unsafe {
        let class = CRYPTO_EX_INDEX_SSL_CTX as c_int;
        CRYPTO_get_ex_new_index(class, 0, ptr::null_mut(), None, None, None)
    })
}

/// Has the handshakes of the location that is being merged call `handlers`. It
/// may share its `SSL_CTX` with others, which have no code: each handshake looks
/// for itself.
///
/// # Errors
/// There is no proxy module, or none that is known; reported.
pub fn install(conf: &Conf<'_>, handlers: &'static Handlers) -> Result<(), Reported> {
    let _ = HANDLERS.set(handlers);
    let fail = |why: &str| {
        conf.log(
            Level::Emergency,
            &format!("proxy_ssl_*_by_lua* cannot be used: {why}"),
        );
        Reported
    };
    // SAFETY: all the module's types of location configuration begin so; that
    // it is named at its end says that it is as long as we think.
    let upstream = unsafe {
        let proxy = conf
            .location_conf_of(c"ngx_http_proxy_module")
            .ok_or_else(|| fail("nginx was built without its proxy module"))?;
        &*proxy.cast::<ngx_http_upstream_conf_t>().as_ptr()
    };
    if upstream.module.as_bytes() != b"proxy" {
        return Err(fail("the proxy module of this nginx is unknown"));
    }
    // SAFETY: nginx's proxy module has made it, if the location uses TLS.
    let ctx = unsafe { upstream.ssl.as_ref() }.map_or(ptr::null_mut(), |ssl: &ngx_ssl_t| ssl.ctx);
    if !ctx.is_null() {
        // SAFETY: as above.
        return unsafe { hook(ctx) }.ok_or_else(|| fail("no memory"));
    }
    Ok(())
}

/// None where memory is short.
///
/// # Safety
/// `ctx` must be live.
unsafe fn hook(ctx: *mut SSL_CTX) -> Option<()> {
    // SAFETY: by the caller's promise; function pointers are as wide as others.
    unsafe {
        let info = SSL_CTX_get_info_callback(ctx);
        if info.is_some_and(|info| ptr::fn_addr_eq(info, on_info as Info)) {
            return Some(());
        }
        let replaced = info.map_or(ptr::null_mut(), |info| info as *mut c_void);
        if SSL_CTX_set_ex_data(ctx, replaced_index(), replaced) != 1 {
            return None;
        }
        SSL_CTX_set_info_callback(ctx, Some(on_info));
        SSL_CTX_set_cert_verify_callback(ctx, Some(on_verify), ptr::null_mut());
    }
    Some(())
}

/// The connection of a handshake that is under way, and its request.
///
/// # Safety
/// `ssl` must be live and one of nginx's upstream connections'.
unsafe fn upstream_of(ssl: *const SSL) -> Option<(*mut ngx_connection_t, Request)> {
    // SAFETY: by the caller's promise; nginx puts the connection there, and
    // the request into the connection until it is idle, which it is not before
    // the handshake is done.
    unsafe {
        let c: *mut ngx_connection_t = SSL_get_ex_data(ssl, ngx_ssl_connection_index).cast();
        if c.is_null() || (*c).ssl.is_null() || (*(*c).ssl).handshaked() != 0 {
            return None;
        }
        let request = NonNull::new((*c).data.cast())?;
        Some((c, Request::from_raw(request)))
    }
}

fn is_wanted(request: Request, phase: Phase) -> bool {
    HANDLERS
        .get()
        .is_some_and(|handlers| (handlers.is_wanted)(request, phase))
}

/// OpenSSL's callback about the course of a handshake.
unsafe extern "C" fn on_info(ssl: *const SSL, kind: c_int, value: c_int) {
    // SAFETY: OpenSSL passes its live connection; the place holds null or what
    // `hook` put there.
    unsafe {
        if kind & SSL_CB_HANDSHAKE_START as c_int != 0 {
            guard((), || at_start(ssl.cast_mut()));
        }
        if kind & SSL_CB_HANDSHAKE_DONE as c_int != 0 {
            guard((), || at_end(ssl.cast_mut()));
        }
        let replaced = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), replaced_index());
        if !replaced.is_null() {
            std::mem::transmute::<*mut c_void, Info>(replaced)(ssl, kind, value);
        }
    }
}

/// A handshake begins: nothing has been sent yet.
///
/// # Safety
/// As [`upstream_of`].
unsafe fn at_start(ssl: *mut SSL) {
    // SAFETY: by the caller's promise.
    unsafe {
        let Some((c, request)) = upstream_of(ssl) else {
            return;
        };
        let certificate = is_wanted(request, Phase::ProxySslCertificate);
        if !certificate && !is_wanted(request, Phase::ProxySslVerify) {
            return;
        }
        // A session stands for what was presented, and judged, when it was
        // made: for another request. So would a handshake later on.
        SSL_set_session(ssl, ptr::null_mut());
        (*(*c).ssl).save_session = None;
        SSL_set_options(ssl, NO_RENEGOTIATION);
        if certificate && !Pause::begin(ssl, c, None) {
            log::write((*c).log, log::Level::Alert, 0, b"no memory");
            SSL_certs_clear(ssl);
        }
    }
}

/// A handshake has come to its end.
///
/// # Safety
/// As [`upstream_of`].
unsafe fn at_end(ssl: *mut SSL) {
    // SAFETY: by the caller's promise.
    unsafe {
        let Some((c, request)) = upstream_of(ssl) else {
            return;
        };
        let session = SSL_get_session(ssl);
        let shown = !session.is_null() && !SSL_SESSION_get0_peer(session).is_null();
        if !shown && is_wanted(request, Phase::ProxySslVerify) {
            // With some ciphers the server needs none. Nothing can be sent now.
            SSL_set_shutdown(ssl, (SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN) as c_int);
            let text = b"upstream SSL certificate verify error: there is no certificate";
            log::write((*c).log, log::Level::Error, 0, text);
        }
    }
}

/// OpenSSL's callback that verifies the server's certificates.
unsafe extern "C" fn on_verify(store: *mut X509_STORE_CTX, _: *mut c_void) -> c_int {
    // SAFETY: OpenSSL passes its live verification, which knows its connection.
    unsafe {
        let verdict = X509_verify_cert(store);
        let ssl: *mut SSL =
            X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()).cast();
        if guard(false, || at_certificate(ssl, store)) {
            return verdict;
        }
        // nginx does not have OpenSSL insist otherwise.
        SSL_set_verify(ssl, SSL_VERIFY_PEER as c_int, None);
        X509_STORE_CTX_set_error(store, OUT_OF_MEMORY);
        0
    }
}

/// The server's certificate is there, and OpenSSL has a verdict. False where
/// Lua cannot be asked for its own.
///
/// # Safety
/// As [`upstream_of`], and `store` must be its verification.
unsafe fn at_certificate(ssl: *mut SSL, store: *mut X509_STORE_CTX) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        let Some((c, request)) = upstream_of(ssl) else {
            return true;
        };
        if !is_wanted(request, Phase::ProxySslVerify) {
            return true;
        }
        match Verification::of(store) {
            Some(verification) => Pause::begin(ssl, c, Some(verification)),
            None => false,
        }
    }
}
