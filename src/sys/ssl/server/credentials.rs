//! What Lua chose to present to a client. It is recorded while OpenSSL waits,
//! and applied when OpenSSL asks for a certificate: in between, nginx puts the
//! configuration of the client's server in.

use std::os::raw::{c_int, c_long};
use std::ptr;

use ngx::ffi::{
    CRYPTO_malloc, OPENSSL_sk_new_null, SSL, SSL_CTX_get_verify_callback, SSL_VERIFY_PEER,
    SSL_add_client_CA, SSL_certs_clear, SSL_ctrl, SSL_get_SSL_CTX, SSL_set_client_CA_list,
    SSL_set_verify, SSL_set_verify_depth, X509_STORE_CTX,
};

use crate::sys::ssl::{Certificates, PrivateKey, TrustedStore};

const SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP: i32 = 71;

/// One change to what is presented.
enum Change {
    Clear,
    Certificates(Certificates, Option<PrivateKey>),
    Key(PrivateKey),
}

/// What the client is asked for.
struct Demand {
    /// Whose names it is told, if any.
    authorities: Option<Certificates>,
    /// Who is trusted, in place of those configured.
    trusted: Option<TrustedStore>,
    depth: Option<c_int>,
}

/// What Lua chose.
#[derive(Default)]
pub struct Credentials {
    changes: Vec<Change>,
    demand: Option<Demand>,
    ocsp: Option<Vec<u8>>,
}

impl Credentials {
    /// `clear_certs`: nothing configured is presented.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.changes.push(Change::Clear);
    }

    /// Presents a certificate with its chain.
    pub fn add_certificates(&mut self, certificates: Certificates) {
        self.changes.push(Change::Certificates(certificates, None));
    }

    /// Uses a private key.
    ///
    /// # Errors
    /// It is not that of the certificate of its kind.
    pub fn add_key(&mut self, key: PrivateKey) -> Result<(), &'static str> {
        let latest = self
            .changes
            .iter_mut()
            .rev()
            .find_map(|change| match change {
                Change::Certificates(certificates, own) => {
                    certificates.matches(&key).map(|fits| (fits, own))
                }
                _ => None,
            });
        match latest {
            Some((true, own)) => *own = Some(key),
            Some((false, _)) => return Err("SSL_use_PrivateKey() failed"),
            None => self.changes.push(Change::Key(key)),
        }
        Ok(())
    }

    /// Asks the client for a certificate, which is verified, but need not be
    /// good for the handshake to go on. The client is told the names of the
    /// `authorities`; they and those in `trusted` replace the configured ones.
    ///
    /// # Errors
    /// Memory is short.
    pub fn ask_client(
        &mut self,
        authorities: Option<Certificates>,
        trusted: Option<Certificates>,
        depth: Option<c_int>,
    ) -> Result<(), &'static str> {
        let trusted = match (&authorities, &trusted) {
            (None, None) => None,
            (a, b) => Some(TrustedStore::of(a.iter().chain(b)).ok_or("X509_STORE_new() failed")?),
        };
        self.demand = Some(Demand {
            authorities,
            trusted,
            depth,
        });
        Ok(())
    }

    /// Staples an OCSP answer.
    pub fn staple(&mut self, answer: Vec<u8>) {
        self.ocsp = Some(answer);
    }

    /// Whether there is an answer to staple.
    pub(super) fn is_stapled(&self) -> bool {
        self.ocsp.is_some()
    }

    /// Has `ssl` do what was chosen. May be called again for the same `ssl`.
    ///
    /// # Safety
    /// `ssl` must be live and a server's.
    pub(super) unsafe fn apply(&self, ssl: *mut SSL) -> Result<(), &'static str> {
        // SAFETY: by the caller's promise; OpenSSL takes references.
        unsafe {
            for change in &self.changes {
                match change {
                    Change::Clear => SSL_certs_clear(ssl),
                    Change::Certificates(certificates, key) => {
                        match key {
                            Some(key) => certificates.apply_with(key, ssl),
                            None => certificates.apply(ssl),
                        }
                        .then_some(())
                        .ok_or("SSL_use_certificate() failed")?;
                    }
                    Change::Key(key) => {
                        key.apply(ssl)
                            .then_some(())
                            .ok_or("SSL_use_PrivateKey() failed")?;
                    }
                }
            }
            if let Some(demand) = &self.demand {
                demand.apply(ssl)?;
            }
            if let Some(answer) = &self.ocsp {
                staple(ssl, answer)?;
            }
        }
        Ok(())
    }
}

impl Demand {
    /// # Safety
    /// As [`Credentials::apply`].
    unsafe fn apply(&self, ssl: *mut SSL) -> Result<(), &'static str> {
        unsafe extern "C" fn go_on(_: c_int, _: *mut X509_STORE_CTX) -> c_int {
            1
        }
        // SAFETY: by the caller's promise. nginx's own callback knows the
        // connection's log; where there is none, nothing is to be said.
        unsafe {
            let callback = SSL_CTX_get_verify_callback(SSL_get_SSL_CTX(ssl)).or(Some(go_on));
            SSL_set_verify(ssl, SSL_VERIFY_PEER as c_int, callback);
            if let Some(depth) = self.depth {
                SSL_set_verify_depth(ssl, depth);
            }
            // With null the list of the SSL_CTX would come back.
            SSL_set_client_CA_list(ssl, OPENSSL_sk_new_null().cast());
            for authority in self.authorities.iter().flat_map(Certificates::raw) {
                if SSL_add_client_CA(ssl, authority) != 1 {
                    return Err("SSL_add_client_CA() failed");
                }
            }
            if let Some(trusted) = &self.trusted
                && !trusted.apply(ssl)
            {
                return Err("SSL_set1_verify_cert_store() failed");
            }
        }
        Ok(())
    }
}

/// # Safety
/// As [`Credentials::apply`].
unsafe fn staple(ssl: *mut SSL, answer: &[u8]) -> Result<(), &'static str> {
    // SAFETY: by the caller's promise; OpenSSL owns, and frees, the copy.
    unsafe {
        let copy = CRYPTO_malloc(answer.len(), c"".as_ptr(), 0).cast::<u8>();
        if copy.is_null() {
            return Err("OPENSSL_malloc() failed");
        }
        ptr::copy_nonoverlapping(answer.as_ptr(), copy, answer.len());
        let len = answer.len() as c_long;
        SSL_ctrl(
            ssl,
            SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP,
            len,
            copy.cast(),
        );
    }
    Ok(())
}
