//! Whether the peer is who it should be.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::net::IpAddr;
use std::ptr;

use ngx::ffi::{
    ERR_clear_error, SSL, SSL_CTX_get_cert_store, SSL_CTX_get0_param, SSL_SESSION_get0_peer,
    SSL_get_peer_cert_chain, SSL_get_session, SSL_get_verify_result, X509, X509_STORE_CTX,
    X509_STORE_CTX_free, X509_STORE_CTX_get_error, X509_STORE_CTX_get0_param, X509_STORE_CTX_init,
    X509_STORE_CTX_new, X509_STORE_CTX_set_default, X509_VERIFY_PARAM_set1, X509_check_host,
    X509_check_ip_asc, X509_verify_cert, X509_verify_cert_error_string,
};

use super::context::SslContext;
use super::handshake::HandshakeError;
use super::x509::{OwnedX509, TrustedStore};

const X509_CHECK_FLAG_NO_WILDCARDS: u32 = 0x2;

/// Who judges the certificates.
#[derive(Clone, Copy)]
pub enum Judge<'a> {
    /// The handshake itself did.
    Handshake,
    /// The handshake was made, or the session is from one, under other
    /// settings: it is done again under these.
    Again(&'a SslContext, Option<&'a TrustedStore>),
}

/// For which name a certificate was found to be: to read the names in it costs
/// more than a small request.
#[derive(Default)]
pub(super) struct NameCheck(RefCell<Option<(OwnedX509, Box<[u8]>)>>);

impl NameCheck {
    /// Whether `peer` is for `name`.
    ///
    /// # Safety
    /// `peer` must be live.
    unsafe fn passes(&self, peer: *mut X509, name: &[u8]) -> bool {
        let known =
            self.0.borrow().as_ref().is_some_and(|(good, for_name)| {
                good.address() == peer.addr() && **for_name == *name
            });
        if known {
            return true;
        }
        // SAFETY: by the caller's promise.
        let good = unsafe {
            if !is_for(peer, name) {
                return false;
            }
            OwnedX509::reference(peer)
        };
        self.0.replace(good.map(|good| (good, name.into())));
        true
    }
}

/// The address that `name` is, as text without brackets.
pub fn address(name: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(name).ok()?;
    let text = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    text.parse::<IpAddr>().is_ok().then_some(text)
}

/// Checks the certificates of the peer, and that they are for `name`, which
/// `check` remembers.
///
/// # Safety
/// `ssl` must be live and its handshake done.
pub(super) unsafe fn verify(
    ssl: *mut SSL,
    judge: Judge<'_>,
    name: Option<&[u8]>,
    check: &NameCheck,
) -> Result<(), HandshakeError> {
    // SAFETY: by the caller's promise; the certificate lives in the session;
    // OpenSSL's text is a static C string.
    unsafe {
        let session = SSL_get_session(ssl);
        let peer = if session.is_null() {
            ptr::null_mut()
        } else {
            SSL_SESSION_get0_peer(session)
        };
        // "OK" is also the result where the peer has no certificate at all.
        if peer.is_null() {
            return Err(HandshakeError::Failed);
        }
        let code = match judge {
            Judge::Handshake => SSL_get_verify_result(ssl),
            Judge::Again(context, store) => judge_again(ssl, peer, context, store)?,
        };
        if code != 0 {
            let reason = CStr::from_ptr(X509_verify_cert_error_string(code));
            return Err(HandshakeError::Verify {
                code,
                reason: reason.to_string_lossy().into_owned(),
            });
        }
        match name.filter(|name| !name.is_empty()) {
            Some(name) if !check.passes(peer, name) => Err(HandshakeError::HostMismatch),
            _ => Ok(()),
        }
    }
}

/// # Safety
/// `peer` must be live.
unsafe fn is_for(peer: *mut X509, name: &[u8]) -> bool {
    let address = address(name);
    let Ok(text) = CString::new(address.map_or(name, str::as_bytes)) else {
        return false;
    };
    let len = text.as_bytes().len();
    // SAFETY: the certificate and the text are live.
    unsafe {
        let is_host = |flags| X509_check_host(peer, text.as_ptr(), len, flags, ptr::null_mut());
        match address {
            None => is_host(0) == 1,
            // Old certificates have addresses among, or instead of, names.
            Some(_) => {
                X509_check_ip_asc(peer, text.as_ptr(), 0) == 1
                    || is_host(X509_CHECK_FLAG_NO_WILDCARDS) == 1
            }
        }
    }
}

/// OpenSSL's verdict about the peer under the settings of `context`.
///
/// # Safety
/// `ssl` and `peer` must be live.
unsafe fn judge_again(
    ssl: *mut SSL,
    peer: *mut X509,
    context: &SslContext,
    store: Option<&TrustedStore>,
) -> Result<i64, HandshakeError> {
    struct Owned(*mut X509_STORE_CTX);
    impl Drop for Owned {
        fn drop(&mut self) {
            // SAFETY: made here; null is accepted. What failed is told by the
            // verdict; the queue of errors must be empty for nginx.
            unsafe {
                X509_STORE_CTX_free(self.0);
                ERR_clear_error();
            }
        }
    }
    // SAFETY: all are live; this is what OpenSSL does in a handshake.
    unsafe {
        let ctx = (*context.raw()).ctx;
        let store = store.map_or_else(|| SSL_CTX_get_cert_store(ctx), TrustedStore::raw);
        let verification = Owned(X509_STORE_CTX_new());
        let v = verification.0;
        if v.is_null()
            || X509_STORE_CTX_init(v, store, peer, SSL_get_peer_cert_chain(ssl)) != 1
            || X509_STORE_CTX_set_default(v, c"ssl_server".as_ptr()) != 1
            || X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(v), SSL_CTX_get0_param(ctx)) != 1
        {
            return Err(HandshakeError::Failed);
        }
        let verdict = X509_verify_cert(v);
        match i64::from(X509_STORE_CTX_get_error(v)) {
            0 if verdict != 1 => Err(HandshakeError::Failed),
            code => Ok(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_may_stand_in_brackets() {
        assert_eq!(address(b"127.0.0.1"), Some("127.0.0.1"));
        assert_eq!(address(b"::1"), Some("::1"));
        assert_eq!(address(b"[::1]"), Some("::1"));
        assert_eq!(address(b"a.test"), None);
        assert_eq!(address(b""), None);
    }
}
