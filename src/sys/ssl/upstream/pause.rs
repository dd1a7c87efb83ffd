//! A handshake that waits.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::raw::c_long;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use ngx::ffi::{
    BIO, BIO_free, BIO_new_bio_pair, BIO_up_ref, BIO_write, ERR_clear_error, SSL, SSL_certs_clear,
    SSL_get_rbio, SSL_get_wbio, SSL_set_verify_result, SSL_set0_rbio, SSL_set0_wbio,
    X509_STORE_CTX, X509_STORE_CTX_get_error, X509_STORE_CTX_get0_cert,
    X509_verify_cert_error_string, ngx_connection_t, ngx_post_event, ngx_posted_events,
};

use super::hooks;
use crate::sys::entry::on_pool_destroyed;
use crate::sys::event::{Alarm, Turn};
use crate::sys::log;
use crate::sys::phase::Phase;
use crate::sys::request::Request;
use crate::sys::ssl::x509::{Certificates, OwnedX509, PrivateKey};
/// The server's certificate, and what is thought of it: 0, or one of OpenSSL's
/// `X509_V_ERR_…`.
pub(super) struct Verification {
    certificate: OwnedX509,
    /// By OpenSSL.
    found: c_long,
    /// By Lua.
    chosen: Cell<Option<c_long>>,
}

impl Verification {
    /// What OpenSSL has come to think. None where memory is short.
    ///
    /// # Safety
    /// `store` must be live.
    pub(super) unsafe fn of(store: *mut X509_STORE_CTX) -> Option<Verification> {
        // SAFETY: by the caller's promise.
        unsafe {
            Some(Verification {
                certificate: OwnedX509::reference(X509_STORE_CTX_get0_cert(store))?,
                found: X509_STORE_CTX_get_error(store).into(),
                chosen: Cell::new(None),
            })
        }
    }
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
    pub(super) unsafe fn begin(
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
        match request {
            Some(request) => hooks::run(self, request),
            None => self.refuse(),
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
