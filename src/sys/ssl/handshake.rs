//! The TLS handshake of an outgoing connection, and TLS on it afterwards.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::future::Future;
use std::os::raw::c_long;
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ngx::ffi::{
    NGX_AGAIN, NGX_LOG_ERR, NGX_OK, NGX_SSL_CLIENT, SSL_certs_clear, SSL_check_private_key,
    SSL_ctrl, SSL_session_reused, SSL_set_session, ngx_add_timer, ngx_connection_t,
    ngx_create_pool, ngx_int_t, ngx_msec_t, ngx_ssl_create_connection, ngx_ssl_error,
    ngx_ssl_get_session, ngx_ssl_handshake, ngx_uint_t,
};

use super::context::SslContext;
use super::io::allow_partial_writes;
use super::session::{Origin, SslSession};
use super::verify::{Judge, address, verify};
use super::x509::{Certificates, PrivateKey, TrustedStore};
use crate::rt::{Millis, wake_now};
use crate::sock::Exclusive;
use crate::sys::connection::Shared;
use crate::sys::entry::{cycle_log, guard};
use crate::sys::link::Link;
use crate::sys::side::disarm;

const SSL_CTRL_SET_TLSEXT_HOSTNAME: i32 = 55;
const SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE: i32 = 65;
/// TLSEXT_NAMETYPE_host_name
const HOST_NAME: c_long = 0;
/// TLSEXT_STATUSTYPE_ocsp
const OCSP: c_long = 1;

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
    /// OpenSSL refused an argument, by this call.
    Refused(&'static str),
    /// Something was received that was not read yet.
    UnreadData,
    /// It took longer than the connect timeout.
    Timeout,
    /// The connection is gone.
    Closed,
    /// It is the client's connection.
    Downstream,
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HandshakeError::Verify { code, reason } => write!(f, "{code}: {reason}"),
            HandshakeError::HostMismatch => f.write_str("certificate host mismatch"),
            HandshakeError::Failed => f.write_str("handshake failed"),
            HandshakeError::Refused(call) => write!(f, "{call}() failed"),
            HandshakeError::UnreadData => f.write_str("unread data in buffer"),
            HandshakeError::Timeout => f.write_str("timeout"),
            HandshakeError::Closed => f.write_str("closed"),
            HandshakeError::Downstream => f.write_str("not supported for downstream sockets"),
        }
    }
}

/// A handshake under way. It has the whole socket; when it fails, or is
/// dropped before its end, the connection is closed.
pub struct Handshake {
    socket: Exclusive<Link>,
    options: HandshakeOptions,
    begun: bool,
    done: bool,
}

impl Handshake {
    /// A handshake on the connection of `socket`.
    pub fn new(socket: Exclusive<Link>, options: HandshakeOptions) -> Handshake {
        Handshake {
            socket,
            options,
            begun: false,
            done: false,
        }
    }

    /// The name that the peer should have.
    pub fn server_name(&self) -> Option<&[u8]> {
        self.options.server_name.as_deref()
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<SslSession, HandshakeError>> {
        let timeout = self.socket.timeouts().connect;
        let unread = self.socket.has_unread();
        let (begun, options) = (&mut self.begun, &self.options);
        let stepped = self.socket.with_transport(|link| {
            let Some(connection) = link.outgoing() else {
                return Err(HandshakeError::Downstream);
            };
            // SAFETY: the connection is live while the closure runs.
            unsafe {
                let c = connection.raw();
                let over = if *begun {
                    resumed(c, cx)?
                } else if (*c).ssl.is_null() {
                    // Nobody vouches for it, and it would be read as if
                    // it had come over TLS.
                    if unread {
                        return Err(HandshakeError::UnreadData);
                    }
                    *begun = true;
                    // Many handshakes end with something sent.
                    connection.no_tcp_delay();
                    // What an earlier wait left.
                    disarm((*c).read);
                    disarm((*c).write);
                    begin(c, options)?;
                    start(c, cx, timeout)?
                } else {
                    // TLS already: only what is asked for is checked.
                    return Ok(Poll::Ready(verified(c, options, false)?));
                };
                if over.is_pending() {
                    return Ok(Poll::Pending);
                }
                disarm((*c).read);
                connection.take_events();
                Ok(Poll::Ready(verified(c, options, !is_resumed(c))?))
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
            // The pool may outlive the handler, and its log.
            (*c).pool = ngx_create_pool(POOL_SIZE, cycle_log());
        }
        if (*c).pool.is_null()
            || ngx_ssl_create_connection(options.context.raw(), c, NGX_SSL_CLIENT as usize)
                != NGX_OK as ngx_int_t
        {
            return Err(HandshakeError::Failed);
        }
        let ssl = (*(*c).ssl).connection;
        (*(*c).ssl).save_session = Some(on_session);
        shared(c).tls.replace(Some(Box::new(Origin::new(
            &options.context,
            options.session.as_ref(),
            options.trusted_store.is_none(),
        ))));
        allow_partial_writes(ssl);
        let check = |accepted: bool, call| if accepted { Ok(()) } else { Err(call) };
        let offer = || {
            if let Some(name) = options.server_name.as_deref().and_then(sni_name) {
                let name = name.as_ptr().cast_mut().cast();
                let set = SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, HOST_NAME, name);
                check(set != 0, c"SSL_set_tlsext_host_name")?;
            }
            if let Some(session) = &options.session
                && !session.is_empty()
            {
                check(SSL_set_session(ssl, session.raw()) != 0, c"SSL_set_session")?;
            }
            if let Some((certificates, key)) = &options.client_cert {
                // Nothing of the location's goes with it.
                SSL_certs_clear(ssl);
                check(certificates.apply(ssl), c"SSL_use_certificate")?;
                check(key.apply(ssl), c"SSL_use_PrivateKey")?;
                check(SSL_check_private_key(ssl) != 0, c"SSL_check_private_key")?;
            }
            if let Some(store) = &options.trusted_store {
                check(store.apply(ssl), c"SSL_set1_verify_cert_store")?;
            }
            if options.ocsp {
                let null = ptr::null_mut();
                let set = SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE, OCSP, null);
                check(set != 0, c"SSL_set_tlsext_status_type")?;
            }
            Ok(())
        };
        offer().map_err(|call: &'static CStr| {
            // Logs what OpenSSL says and empties its queue of errors.
            ngx_ssl_error(
                NGX_LOG_ERR as ngx_uint_t,
                (*c).log,
                0,
                c"%s() failed".as_ptr().cast_mut(),
                call.as_ptr(),
            );
            HandshakeError::Refused(call.to_str().unwrap_or_default())
        })
    }
}

/// The name for SNI; an address is none (RFC 6066, section 3).
fn sni_name(name: &[u8]) -> Option<CString> {
    if name.is_empty() || address(name).is_some() {
        return None;
    }
    CString::new(name).ok()
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

/// Whether the handshake resumed the session that was offered.
///
/// # Safety
/// `c` must be live and its handshake done.
unsafe fn is_resumed(c: *mut ngx_connection_t) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { SSL_session_reused((*(*c).ssl).connection) != 0 }
}

/// The place for the session of a connection.
pub(in crate::sys) fn session_of(shared: &Shared) -> SslSession {
    let origin = shared.tls.borrow();
    origin
        .as_ref()
        .map_or_else(SslSession::default, |origin| origin.session.clone())
}

/// Puts the session of `c` into its place.
///
/// # Safety
/// `c` must be live and have TLS.
unsafe fn keep_session(c: *mut ngx_connection_t) {
    // SAFETY: by the caller's promise; the call gives us a reference.
    unsafe {
        if let Some(origin) = &*shared(c).tls.borrow() {
            let judge = origin.judge(is_resumed(c)).cloned();
            origin.session.replace(ngx_ssl_get_session(c), judge);
        }
    }
}

/// The one place that decides whether a connection may be used: however the
/// handshake came to its end, nothing returns a session but this. `fresh`: the
/// peer has just shown its certificates.
///
/// # Safety
/// `c` must be live and its handshake done.
unsafe fn verified(
    c: *mut ngx_connection_t,
    options: &HandshakeOptions,
    fresh: bool,
) -> Result<SslSession, HandshakeError> {
    // SAFETY: by the caller's promise.
    unsafe {
        if options.verify {
            let (context, store) = (&options.context, options.trusted_store.as_ref());
            let origin = shared(c).tls.borrow();
            let Some(origin) = origin.as_ref() else {
                return Err(HandshakeError::Failed);
            };
            let judge = origin.judge(is_resumed(c));
            let same = judge.is_some_and(|judge| Rc::ptr_eq(judge, context));
            let judge = if fresh || store.is_none() && same {
                Judge::Handshake
            } else {
                Judge::Again(context, store)
            };
            let name = options.server_name.as_deref();
            verify((*(*c).ssl).connection, judge, name, &origin.name)?;
        }
        let session = session_of(shared(c));
        if session.is_empty() {
            keep_session(c);
        }
        Ok(session)
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
            wake_now(waker);
        }
    });
}

/// nginx's callback for a new session: with TLS 1.3, a ticket has arrived.
unsafe extern "C" fn on_session(c: *mut ngx_connection_t) {
    guard((), || {
        // SAFETY: nginx passes our live connection.
        unsafe { keep_session(c) }
    });
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
