//! Having OpenSSL go on, in nginx's place, to where it asks for a certificate.
//!
//! Whether a client resumes a session, and needs no certificate, is decided by
//! OpenSSL and nginx together: tickets and their keys, caches, what a session
//! belongs to. OpenSSL can wait where it comes to ask, but nginx takes that for
//! a failure. So the ClientHello is given to it from here, and where it asks,
//! nginx is not called until there is an answer.

use std::cell::Cell;
use std::os::raw::c_int;

use ngx::ffi::{
    ERR_clear_error, NGX_LOG_INFO, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE,
    SSL_ERROR_WANT_X509_LOOKUP, SSL_READ_EARLY_DATA_FINISH, SSL_do_handshake, SSL_get_error,
    SSL_read_early_data, ngx_connection_t, ngx_event_handler_pt, ngx_event_t, ngx_ssl_connection_t,
    ngx_ssl_error, ngx_uint_t,
};

use super::kept::arrival_of;
use crate::sys::entry::guard;
use crate::sys::log::{self, Level};

/// Has OpenSSL do what nginx would have it do next. False where the handshake
/// has failed; error.log says why.
///
/// # Safety
/// `c` must be live, in its handshake, with `tls` as its TLS. OpenSSL must not
/// get more to read than the ClientHello.
pub(super) unsafe fn advance(c: *mut ngx_connection_t, tls: *mut ngx_ssl_connection_t) -> bool {
    // SAFETY: by the caller's promise. Early data, which nginx will want to
    // read, is not there yet.
    unsafe {
        let ssl = (*tls).connection;
        let (result, call) = if (*tls).try_early_data() != 0 {
            let (mut byte, mut count) = (0u8, 0);
            let result = SSL_read_early_data(ssl, (&raw mut byte).cast(), 1, &raw mut count);
            if result == SSL_READ_EARLY_DATA_FINISH as c_int {
                // A session is resumed, without any. It must not be asked for again.
                (*tls).set_try_early_data(0);
                return true;
            }
            (result, c"SSL_read_early_data() failed")
        } else {
            (SSL_do_handshake(ssl), c"SSL_do_handshake() failed")
        };
        let waits = matches!(
            SSL_get_error(ssl, result) as u32,
            SSL_ERROR_WANT_READ | SSL_ERROR_WANT_WRITE | SSL_ERROR_WANT_X509_LOOKUP
        );
        if !waits {
            let level = NGX_LOG_INFO as ngx_uint_t;
            ngx_ssl_error(level, (*c).log, 0, call.as_ptr().cast_mut());
        }
        ERR_clear_error();
        waits
    }
}

/// The handlers of a connection's events, while nginx is not to get any.
#[derive(Default)]
pub(super) struct Held(Cell<Option<[ngx_event_handler_pt; 2]>>);

impl Held {
    /// Takes the events of `c` away from nginx.
    ///
    /// # Safety
    /// `c` must be live, with an arrival that owns `self`.
    pub(super) unsafe fn hold(&self, c: *mut ngx_connection_t) {
        // SAFETY: by the caller's promise.
        unsafe {
            let (read, write) = (&mut *(*c).read, &mut *(*c).write);
            self.0.set(Some([read.handler, write.handler]));
            read.handler = Some(on_event);
            write.handler = Some(on_event);
        }
    }

    /// Gives them back, where they were taken.
    ///
    /// # Safety
    /// As [`Held::hold`].
    pub(super) unsafe fn release(&self, c: *mut ngx_connection_t) {
        if let Some([read, write]) = self.0.take() {
            // SAFETY: by the caller's promise.
            unsafe {
                (*(*c).read).handler = read;
                (*(*c).write).handler = write;
            }
        }
    }
}

/// Something happens to a connection while the code that chooses its
/// certificate runs, or when its handshake has failed.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: nginx calls only for live connections, and this one has an
        // arrival as long as its events are held. Nothing of OpenSSL or Lua is
        // on the stack: the connection may be closed.
        unsafe {
            let c = (*event).data.cast::<ngx_connection_t>();
            let Some(arrival) = arrival_of(c) else {
                return;
            };
            let timed_out = (*event).timedout() != 0;
            if !timed_out && arrival.still_waits() {
                return;
            }
            let (tls, log) = ((*c).ssl, (*c).log);
            arrival.give_up();
            if !timed_out && !arrival.has_failed() {
                log::write(
                    log,
                    Level::Info,
                    0,
                    b"peer closed connection in SSL handshake",
                );
            }
            // nginx sees that the handshake is not done, and closes.
            if let Some(handler) = (*tls).handler {
                handler(c);
            }
        }
    });
}
