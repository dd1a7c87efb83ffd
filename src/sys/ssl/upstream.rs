//! Handshakes of nginx's own upstream connections that wait for Lua.
//!
//! nginx gives up a handshake that OpenSSL pauses; it only knows that OpenSSL
//! may have to wait for the socket. So OpenSSL gets, in place of the socket,
//! something that is never ready until Lua has decided. Before a certificate is
//! chosen there is nothing to read: the server's request for one has to wait.
//! While the server's certificate is judged nothing can be written: neither our
//! own certificate nor the end of the handshake goes out.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::raw::{c_int, c_long, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::OnceLock;

use ngx::ffi::{
    BIO, BIO_free, BIO_new_bio_pair, BIO_up_ref, BIO_write, CRYPTO_EX_INDEX_SSL_CTX,
    CRYPTO_get_ex_new_index, ERR_clear_error, SSL, SSL_CB_HANDSHAKE_DONE, SSL_CB_HANDSHAKE_START,
    SSL_CTX, SSL_CTX_get_ex_data, SSL_CTX_get_info_callback, SSL_CTX_set_cert_verify_callback,
    SSL_CTX_set_ex_data, SSL_CTX_set_info_callback, SSL_RECEIVED_SHUTDOWN, SSL_SENT_SHUTDOWN,
    SSL_SESSION_get0_peer, SSL_VERIFY_PEER, SSL_certs_clear, SSL_get_SSL_CTX,
    SSL_get_current_cipher, SSL_get_ex_data, SSL_get_ex_data_X509_STORE_CTX_idx, SSL_get_rbio,
    SSL_get_session, SSL_get_version, SSL_get_wbio, SSL_set_options, SSL_set_session,
    SSL_set_shutdown, SSL_set_verify, SSL_set_verify_result, SSL_set0_rbio, SSL_set0_wbio,
    SSL_version, X509_STORE_CTX, X509_STORE_CTX_get_error, X509_STORE_CTX_get_ex_data,
    X509_STORE_CTX_get0_cert, X509_STORE_CTX_set_error, X509_verify_cert,
    X509_verify_cert_error_string, ngx_connection_t, ngx_http_upstream_conf_t, ngx_post_event,
    ngx_posted_events, ngx_ssl_connection_index, ngx_ssl_t,
};

use super::x509::{Certificates, OwnedX509, PrivateKey};
use crate::sys::conf::{Conf, Level, Reported};
use crate::sys::entry::{guard, on_pool_destroyed};
use crate::sys::event::{Alarm, Turn};
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
        let Some(certificate) = OwnedX509::reference(X509_STORE_CTX_get0_cert(store)) else {
            return false;
        };
        let verification = Verification {
            certificate,
            found: X509_STORE_CTX_get_error(store).into(),
            chosen: Cell::new(None),
        };
        Pause::begin(ssl, c, Some(verification))
    }
}

/// The server's certificate, and what is thought of it: 0, or one of OpenSSL's
/// `X509_V_ERR_…`.
struct Verification {
    certificate: OwnedX509,
    /// By OpenSSL.
    found: c_long,
    /// By Lua.
    chosen: Cell<Option<c_long>>,
}

/// What OpenSSL has in place of the socket: one end of a pair of BIOs, from
/// which nothing can be read and to which nothing more can be written, since
/// nobody writes or reads at the other end, which is this.
struct Stopper(*mut BIO);

impl Stopper {
    /// The stopper, and OpenSSL's end.
    fn new() -> Option<(Stopper, *mut BIO)> {
        let (mut here, mut there) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: OpenSSL makes both; the byte fills the buffer between them.
        unsafe {
            if BIO_new_bio_pair(&raw mut here, 1, &raw mut there, 1) != 1 {
                return None;
            }
            BIO_write(there, b"-".as_ptr().cast(), 1);
        }
        Some((Stopper(here), there))
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        // SAFETY: this end is ours.
        unsafe { BIO_free(self.0) };
    }
}

/// A handshake that waits for Lua.
pub struct Pause {
    /// Null once nginx has closed it, or has gone on.
    connection: Cell<*mut ngx_connection_t>,
    /// Set while the server's certificate is judged, else ours is chosen.
    verification: Option<Verification>,
    stopper: RefCell<Option<Stopper>>,
    start: RefCell<Option<Alarm>>,
    on_end: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl Pause {
    /// Begins one, from a callback of OpenSSL's; Lua runs when that has
    /// returned to nginx. False where memory is short.
    ///
    /// # Safety
    /// `c` must be an upstream connection of nginx's, and `ssl` its TLS.
    unsafe fn begin(
        ssl: *mut SSL,
        c: *mut ngx_connection_t,
        verification: Option<Verification>,
    ) -> bool {
        let Some((stopper, bio)) = Stopper::new() else {
            return false;
        };
        let judges = verification.is_some();
        let pause = Rc::new(Pause {
            connection: Cell::new(c),
            verification,
            stopper: RefCell::new(Some(stopper)),
            start: RefCell::new(None),
            on_end: RefCell::new(None),
        });
        let closed = pause.clone();
        // SAFETY: by the caller's promise; the pool goes with the connection.
        // The BIO that is replaced is still the other direction's.
        unsafe {
            if !on_pool_destroyed((*c).pool, move || closed.abandon()) {
                BIO_free(bio);
                return false;
            }
            if judges {
                SSL_set0_wbio(ssl, bio);
            } else {
                SSL_set0_rbio(ssl, bio);
            }
        }
        let weak = Rc::downgrade(&pause);
        *pause.start.borrow_mut() = Some(Alarm::new(0, Turn::This, move || {
            if let Some(pause) = weak.upgrade() {
                pause.run();
            }
        }));
        true
    }

    fn run(self: &Rc<Pause>) {
        let Some(c) = self.connection() else { return };
        // SAFETY: the connection is live, and its handshake under way.
        let request = unsafe { NonNull::new((*c).data.cast()).map(|r| Request::from_raw(r)) };
        match (HANDLERS.get(), request) {
            (Some(handlers), Some(request)) => (handlers.run)(self, request),
            _ => self.refuse(),
        }
    }

    /// Which code is to run.
    pub fn phase(&self) -> Phase {
        match self.verification {
            Some(_) => Phase::ProxySslVerify,
            None => Phase::ProxySslCertificate,
        }
    }

    /// Has `f` called if the connection goes before the handshake may go on.
    pub fn on_end(&self, f: impl FnOnce() + 'static) {
        *self.on_end.borrow_mut() = Some(Box::new(f));
    }

    /// The handshake goes on, unless Lua has judged that it must not.
    pub fn pass(&self) {
        let Some(c) = self.end() else { return };
        let chosen = self.verification.as_ref().and_then(|v| v.chosen.get());
        // SAFETY: the connection is live; nginx goes on with the handshake
        // from its event.
        unsafe {
            match chosen {
                Some(code) if code != 0 => {
                    let reason = CStr::from_ptr(X509_verify_cert_error_string(code));
                    let reason = reason.to_string_lossy();
                    let text = format!("upstream SSL certificate verify error: ({code}:{reason})");
                    log::write((*c).log, log::Level::Error, 0, text.as_bytes());
                    return fail(c);
                }
                Some(code) => SSL_set_verify_result((*(*c).ssl).connection, code),
                None => {}
            }
            ngx_post_event((*c).read, &raw mut ngx_posted_events);
        }
    }

    /// The handshake is not to go on: nginx tries its next server, if any.
    pub fn refuse(&self) {
        if let Some(c) = self.end() {
            // SAFETY: the connection is live.
            unsafe { fail(c) }
        }
    }

    /// Gives OpenSSL the socket back. None where there is no connection any
    /// more.
    fn end(&self) -> Option<*mut ngx_connection_t> {
        drop(self.on_end.take());
        let c = self.connection()?;
        self.connection.set(ptr::null_mut());
        // SAFETY: the connection is live and OpenSSL not at work; the other
        // direction has the socket.
        unsafe {
            let ssl = (*(*c).ssl).connection;
            let judges = self.verification.is_some();
            let socket = if judges {
                SSL_get_rbio(ssl)
            } else {
                SSL_get_wbio(ssl)
            };
            BIO_up_ref(socket);
            if judges {
                SSL_set0_wbio(ssl, socket);
            } else {
                SSL_set0_rbio(ssl, socket);
            }
        }
        drop(self.stopper.take());
        Some(c)
    }

    /// nginx has closed the connection.
    fn abandon(&self) {
        self.connection.set(ptr::null_mut());
        drop(self.start.take());
        drop(self.stopper.take());
        let on_end = self.on_end.take();
        if let Some(on_end) = on_end {
            on_end();
        }
    }

    fn connection(&self) -> Option<*mut ngx_connection_t> {
        Some(self.connection.get()).filter(|c| !c.is_null())
    }

    fn ssl(&self) -> Result<*mut SSL, &'static str> {
        let c = self.connection().ok_or("no upstream connection")?;
        // SAFETY: the connection is live and has TLS.
        Ok(unsafe { (*(*c).ssl).connection })
    }

    /// Presents no certificate of the configuration's.
    ///
    /// # Errors
    /// The handshake is over.
    pub fn clear_certificates(&self) -> Result<(), &'static str> {
        // SAFETY: the TLS is live.
        unsafe { SSL_certs_clear(self.ssl()?) };
        Ok(())
    }

    /// Presents these.
    ///
    /// # Errors
    /// OpenSSL does not take them, or the handshake is over.
    pub fn set_certificates(&self, certificates: &Certificates) -> Result<(), &'static str> {
        // SAFETY: the TLS is live.
        let set = unsafe { certificates.apply(self.ssl()?) };
        checked(set, "SSL_use_certificate() failed")
    }

    /// Uses this key with them.
    ///
    /// # Errors
    /// It is not the certificate's, or the handshake is over.
    pub fn set_key(&self, key: &PrivateKey) -> Result<(), &'static str> {
        // SAFETY: the TLS is live.
        let set = unsafe { key.apply(self.ssl()?) };
        checked(set, "SSL_use_PrivateKey() failed")
    }

    /// The address of the server's certificate, an `X509`. It lives as long as
    /// the pause.
    pub fn certificate(&self) -> Option<usize> {
        let verification = self.verification.as_ref()?;
        Some(verification.certificate.address())
    }

    /// What is thought of the server's certificate.
    pub fn verify_result(&self) -> Option<i64> {
        let verification = self.verification.as_ref()?;
        Some(verification.chosen.get().unwrap_or(verification.found))
    }

    /// Says what is to be thought of it.
    pub fn set_verify_result(&self, code: i64) {
        if let Some(verification) = &self.verification {
            verification.chosen.set(Some(code));
        }
    }
}

/// The TLS of a request's connection to its upstream server.
pub struct Tls(*mut SSL);

impl Tls {
    /// That of `request`, if there is any now.
    pub fn of(request: Request) -> Option<Tls> {
        // SAFETY: the request is live; nginx takes back what is closed.
        unsafe {
            let upstream = (*request.raw()).upstream.as_ref()?;
            let connection = upstream.peer.connection.as_ref()?;
            Some(Tls(connection.ssl.as_ref()?.connection))
        }
    }

    /// Where OpenSSL has its `SSL`.
    pub fn address(&self) -> usize {
        self.0.expose_provenance()
    }

    /// The version of the protocol as a number, and its name. None before the
    /// server has said which it is.
    pub fn version(&self) -> Option<(i32, &'static str)> {
        // SAFETY: the TLS is live; the name is a static C string.
        unsafe {
            if SSL_get_current_cipher(self.0).is_null() {
                return None;
            }
            let name = CStr::from_ptr(SSL_get_version(self.0));
            Some((SSL_version(self.0), name.to_str().unwrap_or("unknown")))
        }
    }
}

/// Where OpenSSL failed, empties its queue of errors: nginx would take them for
/// those of its own next call.
fn checked(succeeded: bool, error: &'static str) -> Result<(), &'static str> {
    if succeeded {
        return Ok(());
    }
    // SAFETY: no arguments.
    unsafe { ERR_clear_error() };
    Err(error)
}

/// Ends a handshake as nginx does when OpenSSL gives up.
///
/// # Safety
/// `c` must be live and its handshake under way.
unsafe fn fail(c: *mut ngx_connection_t) {
    // SAFETY: by the caller's promise; nginx has set the handler, since it
    // waits.
    unsafe {
        if let Some(handler) = (*(*c).ssl).handler {
            handler(c);
        }
    }
}
