//! Learning how a handshake will go before it may begin.
//!
//! Whether a client resumes a session is decided by OpenSSL and nginx together:
//! tickets and their keys, caches, what a session belongs to. So the ClientHello
//! is given to a second TLS of the same settings. It asks for a certificate, and
//! is stopped there, or it does not.

use std::os::raw::{c_int, c_void};
use std::ptr;

use ngx::ffi::{
    BIO_free, BIO_new, BIO_new_mem_buf, BIO_s_null, ERR_clear_error, SSL, SSL_clear_options,
    SSL_do_handshake, SSL_free, SSL_get_SSL_CTX, SSL_get_options, SSL_new, SSL_set_accept_state,
    SSL_set_bio, SSL_set_ex_data, SSL_set_info_callback, SSL_set_options, ngx_ssl_connection_index,
};

use super::arrival::Arrival;

struct Rehearsal(*mut SSL);

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // SAFETY: it owns the TLS. Whatever went wrong will go wrong again.
        unsafe {
            SSL_free(self.0);
            ERR_clear_error();
        }
    }
}

/// Whether the handshake will be a full one, for which a certificate is needed.
pub(super) fn needs_certificate(arrival: &Arrival) -> bool {
    if !arrival.may_resume() {
        return true;
    }
    let (Some(c), Some(ssl)) = (arrival.connection(), arrival.ssl()) else {
        return false;
    };
    let received = arrival.received();
    let Ok(len) = c_int::try_from(received.len()) else {
        return true;
    };
    // SAFETY: connection and TLS are live. nginx's callbacks find the connection
    // through the index, and do to it what they will do again.
    unsafe {
        let rehearsal = Rehearsal(SSL_new(SSL_get_SSL_CTX(ssl)));
        let second = rehearsal.0;
        if second.is_null() {
            return true;
        }
        let input = BIO_new_mem_buf(received.as_ptr().cast::<c_void>(), len);
        let output = BIO_new(BIO_s_null());
        if input.is_null() || output.is_null() {
            BIO_free(input);
            BIO_free(output);
            return true;
        }
        SSL_set_bio(second, input, output);
        SSL_set_info_callback(second, Some(ignore));
        SSL_clear_options(second, SSL_get_options(second));
        SSL_set_options(second, SSL_get_options(ssl));
        SSL_set_ex_data(second, ngx_ssl_connection_index, c.cast());
        SSL_set_accept_state(second);
        arrival.asked.set(false);
        SSL_do_handshake(second);
    }
    arrival.asked.get()
}

unsafe extern "C" fn ignore(_: *const SSL, _: c_int, _: c_int) {}

/// Whether `ssl` is the second TLS of an arrival, not the client's own.
pub(super) fn is_rehearsal(arrival: &Arrival, ssl: *mut SSL) -> bool {
    arrival.ssl().unwrap_or(ptr::null_mut()) != ssl
}
