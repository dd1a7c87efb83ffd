//! The TLS handshake of an outgoing connection, and TLS on it afterwards.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ngx::ffi::{
    NGX_AGAIN, NGX_OK, NGX_SSL_CLIENT, SSL, SSL_ctrl, SSL_get_verify_result,
    SSL_get1_peer_certificate, SSL_set_session, X509, X509_check_host, X509_check_ip_asc,
    X509_free, X509_verify_cert_error_string, ngx_add_timer, ngx_connection_t, ngx_create_pool,
    ngx_int_t, ngx_msec_t, ngx_ssl_create_connection, ngx_ssl_get_session, ngx_ssl_handshake,
    ngx_ssl_recv, ngx_ssl_shutdown,
};

use super::context::SslContext;
use super::session::SslSession;
use super::x509::{Certificates, PrivateKey, TrustedStore};
use crate::rt::Millis;
use crate::sock::Exclusive;
use crate::sys::connection::{Connection, Shared, disarm};
use crate::sys::entry::guard;

const SSL_CTRL_SET_TLSEXT_HOSTNAME: i32 = 55;
const SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE: i32 = 65;
const TLSEXT_NAMETYPE_HOST_NAME: i64 = 0;
const TLSEXT_STATUSTYPE_OCSP: i64 = 1;

/// Size of the pool that holds nginx's TLS structures of one connection.
const POOL_SIZE: usize = 512;

/// Arguments of a handshake.
pub struct HandshakeOptions {
    /// The location's settings.
    pub context: Rc<SslContext>,
    /// A session to resume.
    pub session: Option<SslSession>,
    /// Name for SNI and for the certificate.
    pub server_name: Option<Box<[u8]>>,
    /// Check the certificate, and the name if there is one.
    pub verify: bool,
    /// Ask for a stapled OCSP answer.
    pub ocsp: bool,
    /// Certificate and key to present if the peer asks.
    pub client_cert: Option<(Certificates, PrivateKey)>,
    /// Trusted certificates in place of the location's.
    pub trusted_store: Option<TrustedStore>,
}

/// Why there is no TLS, or none that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// OpenSSL's verification failed.
    Verify { code: i64, reason: String },
    /// The certificate is for another name.
    HostMismatch,
    /// The peer sent something else, closed, or offered nothing acceptable.
    Failed,
    /// It took longer than the connect timeout.
    Timeout,
    /// The connection is gone.
    Closed,
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HandshakeError::Verify { code, reason } => write!(f, "{code}: {reason}"),
            HandshakeError::HostMismatch => f.write_str("certificate host mismatch"),
            HandshakeError::Failed => f.write_str("handshake failed"),
            HandshakeError::Timeout => f.write_str("timeout"),
            HandshakeError::Closed => f.write_str("closed"),
        }
    }
}

/// A handshake under way. It has the whole socket; when it fails, or is
/// dropped before its end, the connection is closed.
pub struct Handshake {
    socket: Exclusive<Connection>,
    options: HandshakeOptions,
    begun: bool,
    done: bool,
}

impl Handshake {
    /// A handshake on the connection of `socket`.
    pub fn new(socket: Exclusive<Connection>, options: HandshakeOptions) -> Handshake {
        Handshake {
            socket,
            options,
            begun: false,
            done: false,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<SslSession, HandshakeError>> {
        let timeout = self.socket.timeouts().connect;
        let (begun, options) = (&mut self.begun, &self.options);
        let stepped = self.socket.with_transport(|connection| {
            // SAFETY: the connection is live while the closure runs.
            unsafe {
                let c = connection.raw();
                let over = if *begun {
                    resumed(c, cx)?
                } else if (*c).ssl.is_null() {
                    *begun = true;
                    begin(c, options)?;
                    start(c, cx, timeout)?
                } else {
                    // TLS already: only what is asked for is checked.
                    return Ok(Poll::Ready(verified(c, options)?));
                };
                if over.is_pending() {
                    return Ok(Poll::Pending);
                }
                disarm((*c).read);
                connection.take_events();
                Ok(Poll::Ready(verified(c, options)?))
            }
        });
        match stepped {
            None => Poll::Ready(Err(HandshakeError::Closed)),
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(poll)) => poll.map(Ok),
        }
    }
}

impl Future for Handshake {
    type Output = Result<SslSession, HandshakeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.step(cx);
        if let Poll::Ready(result) = &polled {
            self.done = true;
            if result.is_err() {
                self.socket.close();
            }
        }
        polled
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if !self.done {
            self.socket.close();
        }
    }
}

/// Gives a connection its TLS structures.
///
/// # Safety
/// `c` must be live and plain.
unsafe fn begin(
    c: *mut ngx_connection_t,
    options: &HandshakeOptions,
) -> Result<(), HandshakeError> {
    // SAFETY: by the caller's promise; what is set lives in the connection.
    unsafe {
        if (*c).pool.is_null() {
            (*c).pool = ngx_create_pool(POOL_SIZE, (*c).log);
        }
        if (*c).pool.is_null()
            || ngx_ssl_create_connection(options.context.raw(), c, NGX_SSL_CLIENT as usize)
                != NGX_OK as ngx_int_t
        {
            return Err(HandshakeError::Failed);
        }
        let ssl = (*(*c).ssl).connection;
        (*(*c).ssl).save_session = Some(on_session);
        shared(c).set_session(SslSession::empty());
        let mut accepted = true;
        if let Some(name) = options.server_name.as_deref().and_then(sni_name) {
            accepted &= SSL_ctrl(
                ssl,
                SSL_CTRL_SET_TLSEXT_HOSTNAME,
                TLSEXT_NAMETYPE_HOST_NAME,
                name.as_ptr().cast_mut().cast(),
            ) != 0;
        }
        if let Some(session) = &options.session
            && !session.is_empty()
        {
            accepted &= SSL_set_session(ssl, session.raw()) != 0;
        }
        if let Some((certificates, key)) = &options.client_cert {
            accepted &= certificates.apply(ssl) && key.apply(ssl);
        }
        if let Some(store) = &options.trusted_store {
            accepted &= store.apply(ssl);
        }
        if options.ocsp {
            accepted &= SSL_ctrl(
                ssl,
                SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE,
                TLSEXT_STATUSTYPE_OCSP,
                ptr::null_mut(),
            ) != 0;
        }
        if accepted {
            Ok(())
        } else {
            Err(HandshakeError::Failed)
        }
    }
}

/// The name for SNI; an address is none (RFC 6066, section 3).
fn sni_name(name: &[u8]) -> Option<CString> {
    let text = std::str::from_utf8(name).ok()?;
    if text.is_empty() || text.parse::<IpAddr>().is_ok() {
        return None;
    }
    CString::new(text).ok()
}

/// Begins the handshake; where it has to wait, nginx goes on with it by
/// itself and calls back at its end.
///
/// # Safety
/// `c` must be live and have TLS structures.
unsafe fn start(
    c: *mut ngx_connection_t,
    cx: &mut Context<'_>,
    timeout: Millis,
) -> Result<Poll<()>, HandshakeError> {
    // SAFETY: by the caller's promise.
    unsafe {
        let rc = ngx_ssl_handshake(c);
        if rc == NGX_OK as ngx_int_t {
            return Ok(Poll::Ready(()));
        }
        if rc != NGX_AGAIN as ngx_int_t {
            return Err(HandshakeError::Failed);
        }
        (*(*c).ssl).handler = Some(on_handshake);
        ngx_add_timer((*c).read, timeout as ngx_msec_t);
        shared(c).handshake.wait(cx.waker());
    }
    Ok(Poll::Pending)
}

/// What became of a handshake that had to wait.
///
/// # Safety
/// As [`start`].
unsafe fn resumed(
    c: *mut ngx_connection_t,
    cx: &mut Context<'_>,
) -> Result<Poll<()>, HandshakeError> {
    // SAFETY: by the caller's promise.
    unsafe {
        if !shared(c).handshake.is_over() {
            shared(c).handshake.wait(cx.waker());
            return Ok(Poll::Pending);
        }
        if (*(*c).ssl).handshaked() != 0 {
            Ok(Poll::Ready(()))
        } else if (*(*c).read).timedout() != 0 {
            Err(HandshakeError::Timeout)
        } else {
            Err(HandshakeError::Failed)
        }
    }
}

/// The one place that decides whether a connection may be used: however the
/// handshake came to its end, nothing returns a session but this.
///
/// # Safety
/// `c` must be live and its handshake done.
unsafe fn verified(
    c: *mut ngx_connection_t,
    options: &HandshakeOptions,
) -> Result<SslSession, HandshakeError> {
    // SAFETY: by the caller's promise.
    unsafe {
        if options.verify {
            verify((*(*c).ssl).connection, options.server_name.as_deref())?;
        }
        let session = shared(c).session();
        if session.is_empty() {
            session.replace(ngx_ssl_get_session(c));
        }
        Ok(session)
    }
}

/// # Safety
/// `ssl` must be live and its handshake done.
unsafe fn verify(ssl: *mut SSL, name: Option<&[u8]>) -> Result<(), HandshakeError> {
    struct Peer(*mut X509);
    impl Drop for Peer {
        fn drop(&mut self) {
            // SAFETY: owns one reference.
            unsafe { X509_free(self.0) }
        }
    }
    // SAFETY: by the caller's promise; OpenSSL's text is a static C string.
    unsafe {
        let code = SSL_get_verify_result(ssl);
        if code != 0 {
            let reason = std::ffi::CStr::from_ptr(X509_verify_cert_error_string(code));
            return Err(HandshakeError::Verify {
                code,
                reason: reason.to_string_lossy().into_owned(),
            });
        }
        let peer = Peer(SSL_get1_peer_certificate(ssl));
        // "OK" is also the result where the peer has no certificate at all.
        if peer.0.is_null() {
            return Err(HandshakeError::Failed);
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(());
        };
        let Ok(text) = CString::new(name) else {
            return Err(HandshakeError::HostMismatch);
        };
        let is_address = text.to_str().is_ok_and(|t| t.parse::<IpAddr>().is_ok());
        let matches = if is_address {
            X509_check_ip_asc(peer.0, text.as_ptr(), 0)
        } else {
            X509_check_host(peer.0, text.as_ptr(), name.len(), 0, ptr::null_mut())
        };
        if matches == 1 {
            Ok(())
        } else {
            Err(HandshakeError::HostMismatch)
        }
    }
}

/// Who waits for the end of a handshake.
#[derive(Default)]
pub struct Waiting {
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Waiting {
    fn wait(&self, waker: &Waker) {
        *self.waker.borrow_mut() = Some(waker.clone());
    }

    fn is_over(&self) -> bool {
        self.over.get()
    }

    fn end(&self) -> Option<Waker> {
        self.over.set(true);
        self.waker.borrow_mut().take()
    }
}

/// # Safety
/// `c` must be a live connection of ours.
unsafe fn shared<'a>(c: *mut ngx_connection_t) -> &'a Shared {
    // SAFETY: `data` is the box that the Connection owns.
    unsafe { &*(*c).data.cast::<Shared>() }
}

/// nginx's callback at the end of a handshake that had to wait, good or bad.
unsafe extern "C" fn on_handshake(c: *mut ngx_connection_t) {
    guard((), || {
        // SAFETY: nginx passes our live connection.
        let waker = unsafe { shared(c).handshake.end() };
        // The wake may close the connection.
        if let Some(waker) = waker {
            waker.wake();
        }
    });
}

/// nginx's callback for a new session: with TLS 1.3, a ticket has arrived.
unsafe extern "C" fn on_session(c: *mut ngx_connection_t) {
    guard((), || {
        // SAFETY: nginx passes our live connection; the call gives us a
        // reference to the session.
        unsafe {
            shared(c).session().replace(ngx_ssl_get_session(c));
        }
    });
}

/// Ends TLS on a connection that is about to be closed.
///
/// # Safety
/// `c` must be live.
pub unsafe fn close(c: *mut ngx_connection_t) {
    // SAFETY: by the caller's promise; nginx frees what it made.
    unsafe {
        if (*c).ssl.is_null() {
            return;
        }
        (*(*c).ssl).set_no_wait_shutdown(1);
        if ngx_ssl_shutdown(c) == NGX_AGAIN as ngx_int_t && !(*c).ssl.is_null() {
            // The kernel takes no more: without a farewell, then.
            (*(*c).ssl).set_no_send_shutdown(1);
            ngx_ssl_shutdown(c);
        }
    }
}

/// Whether nothing but TLS's own records (tickets) has arrived on an idle
/// connection; they are taken in.
///
/// # Safety
/// `c` must be live and its handshake done.
pub unsafe fn is_quiet(c: *mut ngx_connection_t) -> bool {
    let mut byte = 0u8;
    // SAFETY: by the caller's promise; one byte of room is given.
    unsafe { ngx_ssl_recv(c, &raw mut byte, 1) == NGX_AGAIN as isize }
}

#[cfg(test)]
mod tests {
    use super::sni_name;

    #[test]
    fn addresses_are_no_server_names() {
        assert_eq!(sni_name(b"127.0.0.1"), None);
        assert_eq!(sni_name(b"::1"), None);
        assert_eq!(sni_name(b""), None);
        assert_eq!(sni_name(b"a.test").as_deref(), Some(c"a.test"));
    }
}
