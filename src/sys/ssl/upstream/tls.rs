//! What is known of the TLS of an upstream connection.

use std::ffi::CStr;

use ngx::ffi::{SSL, SSL_get_current_cipher, SSL_get_version, SSL_version};

use crate::sys::request::Request;
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
