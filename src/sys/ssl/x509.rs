//! Certificates and keys from PEM and DER.

use std::cell::RefCell;
use std::os::raw::{c_char, c_int, c_long, c_void};
use std::ptr;
use std::rc::Rc;

use ngx::ffi::{
    BIO, BIO_free, BIO_new_mem_buf, CRYPTO_free, ERR_clear_error, ERR_peek_last_error, EVP_PKEY,
    EVP_PKEY_free, OPENSSL_sk_free, OPENSSL_sk_new_null, OPENSSL_sk_push, PEM_R_NO_START_LINE,
    PEM_read_bio_PrivateKey, PEM_read_bio_X509, PEM_read_bio_X509_AUX, SSL, SSL_ctrl,
    SSL_use_PrivateKey, SSL_use_cert_and_key, SSL_use_certificate, X509, X509_STORE,
    X509_STORE_add_cert, X509_STORE_free, X509_STORE_new, X509_STORE_up_ref,
    X509_check_private_key, X509_free, X509_up_ref, d2i_AutoPrivateKey, d2i_X509, i2d_PrivateKey,
    i2d_X509,
};

const SSL_CTRL_CHAIN: i32 = 88;
const SSL_CTRL_CHAIN_CERT: i32 = 89;
const SSL_CTRL_SET_VERIFY_CERT_STORE: i32 = 106;
/// The reason in an error of OpenSSL, in all its versions as far as the
/// reasons of its own go.
const REASON_MASK: u64 = 0xfff;

/// One reference to a certificate.
pub(super) struct OwnedX509(*mut X509);

impl OwnedX509 {
    /// A reference of its own to `x509`, if that is not null.
    ///
    /// # Safety
    /// `x509` must be live, or null.
    pub(super) unsafe fn reference(x509: *mut X509) -> Option<OwnedX509> {
        // SAFETY: by the caller's promise.
        let counted = !x509.is_null() && unsafe { X509_up_ref(x509) } == 1;
        counted.then_some(OwnedX509(x509))
    }

    /// Where OpenSSL has it.
    pub(super) fn address(&self) -> usize {
        self.0.expose_provenance()
    }
}

impl Drop for OwnedX509 {
    fn drop(&mut self) {
        // SAFETY: owns one reference.
        unsafe { X509_free(self.0) }
    }
}

/// A certificate with its chain: the leaf first.
#[derive(Clone)]
pub struct Certificates(Rc<Vec<OwnedX509>>);

/// A private key.
#[derive(Clone)]
pub struct PrivateKey(Rc<OwnedKey>);

struct OwnedKey {
    key: *mut EVP_PKEY,
    /// The certificate that it was last found to be the key of.
    owner: RefCell<Option<OwnedX509>>,
}

impl Drop for OwnedKey {
    fn drop(&mut self) {
        // SAFETY: owns one reference.
        unsafe { EVP_PKEY_free(self.key) }
    }
}

/// A read-only BIO over bytes.
struct Reader<'a> {
    bio: *mut BIO,
    _data: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(data: &'a [u8]) -> Option<Reader<'a>> {
        let len = i32::try_from(data.len()).ok()?;
        // SAFETY: the bytes outlive the BIO, which does not change them.
        let bio = unsafe { BIO_new_mem_buf(data.as_ptr().cast::<c_void>(), len) };
        (!bio.is_null()).then_some(Reader { bio, _data: data })
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // SAFETY: the BIO is ours. Reading to the end leaves an error behind
        // that a later call must not see.
        unsafe {
            BIO_free(self.bio);
            ERR_clear_error();
        }
    }
}

impl Certificates {
    /// Identifies the value while it lives.
    pub fn address(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }

    /// Reads the certificates of a PEM text: a leaf and its chain.
    ///
    /// # Errors
    /// Why not, in the words of OpenResty's `ngx.ssl`.
    pub fn from_pem(pem: &[u8]) -> Result<Certificates, &'static str> {
        let reader = Reader::new(pem).ok_or("BIO_new_mem_buf() failed")?;
        let mut list = Vec::new();
        // SAFETY: the BIO is live; no password callback is needed.
        unsafe {
            let leaf = PEM_read_bio_X509_AUX(reader.bio, ptr::null_mut(), None, ptr::null_mut());
            if leaf.is_null() {
                return Err("PEM_read_bio_X509_AUX() failed");
            }
            list.push(OwnedX509(leaf));
            loop {
                let next = PEM_read_bio_X509(reader.bio, ptr::null_mut(), None, ptr::null_mut());
                if next.is_null() {
                    // The end; anything else is a certificate cut or damaged.
                    if ERR_peek_last_error() & REASON_MASK != PEM_R_NO_START_LINE.into() {
                        return Err("PEM_read_bio_X509() failed");
                    }
                    break;
                }
                list.push(OwnedX509(next));
            }
        }
        Ok(Certificates(Rc::new(list)))
    }

    /// Reads certificates in DER that follow each other.
    ///
    /// # Errors
    /// Why not, in the words of OpenResty's `ngx.ssl`.
    pub fn from_der(der: &[u8]) -> Result<Certificates, &'static str> {
        let mut list = Vec::new();
        let end = der.as_ptr_range().end;
        let mut at = der.as_ptr();
        while at < end {
            // SAFETY: `at` to `end` is what is left of the bytes; OpenSSL
            // advances `at` by what it read.
            let x509 = unsafe {
                let left = end.offset_from(at) as c_long;
                d2i_X509(ptr::null_mut(), &raw mut at, left)
            };
            if x509.is_null() {
                // SAFETY: no arguments.
                unsafe { ERR_clear_error() };
                return Err("d2i_X509_bio() failed");
            }
            list.push(OwnedX509(x509));
        }
        if list.is_empty() {
            return Err("d2i_X509_bio() failed");
        }
        Ok(Certificates(Rc::new(list)))
    }

    /// The certificates, which live as long as this does.
    pub(super) fn raw(&self) -> impl Iterator<Item = *mut X509> {
        self.0.iter().map(|x509| x509.0)
    }

    /// All certificates in DER, one after the other.
    fn to_der(&self) -> Result<Vec<u8>, &'static str> {
        let mut der = Vec::new();
        for x509 in self.0.iter() {
            // SAFETY: the certificate is live.
            der.extend(encode(|out| unsafe { i2d_X509(x509.0, out) }).ok_or("i2d_X509() failed")?);
        }
        Ok(der)
    }

    /// Whether `key` is the leaf's; None where it is of another kind.
    pub(super) fn matches(&self, key: &PrivateKey) -> Option<bool> {
        /// X509_R_KEY_TYPE_MISMATCH
        const OTHER_KIND: u64 = 115;
        let leaf = self.0.first()?;
        let owner = &key.0.owner;
        let known = owner.borrow().as_ref().map(OwnedX509::address);
        if known == Some(leaf.address()) {
            return Some(true);
        }
        // SAFETY: both are live. The queue of errors, where the reason is, must
        // be empty for nginx.
        unsafe {
            if X509_check_private_key(leaf.0, key.0.key) == 1 {
                owner.replace(OwnedX509::reference(leaf.0));
                return Some(true);
            }
            let reason = ERR_peek_last_error() as u64 & REASON_MASK;
            ERR_clear_error();
            (reason != OTHER_KIND).then_some(false)
        }
    }

    /// Has `ssl` present these certificates.
    ///
    /// # Safety
    /// `ssl` must be live.
    pub(super) unsafe fn apply(&self, ssl: *mut SSL) -> bool {
        let Some((leaf, chain)) = self.0.split_first() else {
            return false;
        };
        // SAFETY: all are live; OpenSSL takes references of its own.
        unsafe {
            if SSL_use_certificate(ssl, leaf.0) == 0 {
                return false;
            }
            SSL_ctrl(ssl, SSL_CTRL_CHAIN, 0, ptr::null_mut());
            chain
                .iter()
                .all(|x509| SSL_ctrl(ssl, SSL_CTRL_CHAIN_CERT, 1, x509.0.cast()) != 0)
        }
    }

    /// Has `ssl` present these certificates with their key, which costs less
    /// than one after the other.
    ///
    /// # Safety
    /// `ssl` must be live.
    pub(super) unsafe fn apply_with(&self, key: &PrivateKey, ssl: *mut SSL) -> bool {
        let Some((leaf, chain)) = self.0.split_first() else {
            return false;
        };
        // SAFETY: all are live; OpenSSL takes references of its own, and takes
        // a null for an empty stack.
        unsafe {
            let mut stack = ptr::null_mut();
            if !chain.is_empty() {
                stack = OPENSSL_sk_new_null();
            }
            let complete = chain
                .iter()
                .all(|x509| OPENSSL_sk_push(stack, x509.0.cast()) > 0);
            let set =
                complete && SSL_use_cert_and_key(ssl, leaf.0, key.0.key, stack.cast(), 1) == 1;
            OPENSSL_sk_free(stack);
            set
        }
    }
}

impl PrivateKey {
    /// Takes a reference over.
    fn owning(key: *mut EVP_PKEY) -> PrivateKey {
        let owner = RefCell::default();
        PrivateKey(Rc::new(OwnedKey { key, owner }))
    }

    /// Identifies the value while it lives.
    pub fn address(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }

    /// Reads a PEM text; where that is encrypted, with `password`.
    ///
    /// # Errors
    /// Why not, in the words of OpenResty's `ngx.ssl`.
    pub fn from_pem(pem: &[u8], password: &[u8]) -> Result<PrivateKey, &'static str> {
        let reader = Reader::new(pem).ok_or("BIO_new_mem_buf() failed")?;
        let mut password = password;
        // SAFETY: the BIO is live. The callback, which is called with the
        // password before this returns, keeps OpenSSL from asking on the
        // terminal.
        let key = unsafe {
            PEM_read_bio_PrivateKey(
                reader.bio,
                ptr::null_mut(),
                Some(give_password),
                (&raw mut password).cast(),
            )
        };
        if key.is_null() {
            return Err("PEM_read_bio_PrivateKey() failed");
        }
        Ok(PrivateKey::owning(key))
    }

    /// Reads a key in DER.
    ///
    /// # Errors
    /// Why not, in the words of OpenResty's `ngx.ssl`.
    pub fn from_der(der: &[u8]) -> Result<PrivateKey, &'static str> {
        let mut at = der.as_ptr();
        // SAFETY: the length is that of the bytes.
        let key = unsafe { d2i_AutoPrivateKey(ptr::null_mut(), &raw mut at, der.len() as c_long) };
        if key.is_null() {
            // SAFETY: no arguments.
            unsafe { ERR_clear_error() };
            return Err("d2i_PrivateKey_bio() failed");
        }
        Ok(PrivateKey::owning(key))
    }

    /// Has `ssl` use this key.
    ///
    /// # Safety
    /// `ssl` must be live.
    pub(super) unsafe fn apply(&self, ssl: *mut SSL) -> bool {
        // SAFETY: both are live; OpenSSL takes a reference of its own.
        unsafe { SSL_use_PrivateKey(ssl, self.0.key) != 0 }
    }
}

/// OpenSSL's callback for the password of an encrypted PEM text; `given` points
/// to a slice.
unsafe extern "C" fn give_password(
    buffer: *mut c_char,
    size: c_int,
    _writing: c_int,
    given: *mut c_void,
) -> c_int {
    // SAFETY: what from_pem passes.
    let password = unsafe { *given.cast::<&[u8]>() };
    match c_int::try_from(password.len()) {
        Ok(len) if len <= size => {
            // SAFETY: the buffer has room for `size` bytes.
            unsafe { ptr::copy_nonoverlapping(password.as_ptr(), buffer.cast(), password.len()) };
            len
        }
        _ => -1,
    }
}

/// Certificates from PEM to DER.
///
/// # Errors
/// Why not, in the words of OpenResty's `ngx.ssl`.
pub fn cert_pem_to_der(pem: &[u8]) -> Result<Vec<u8>, &'static str> {
    Certificates::from_pem(pem)?.to_der()
}

/// A private key from PEM to DER; `password` is for an encrypted one.
///
/// # Errors
/// Why not, in the words of OpenResty's `ngx.ssl`.
pub fn key_pem_to_der(pem: &[u8], password: &[u8]) -> Result<Vec<u8>, &'static str> {
    let key = PrivateKey::from_pem(pem, password)?;
    // SAFETY: the key is live.
    encode(|out| unsafe { i2d_PrivateKey(key.0.key, out) }).ok_or("i2d_PrivateKey() failed")
}

/// Collects what an `i2d` function writes.
pub(super) fn encode(i2d: impl Fn(*mut *mut u8) -> i32) -> Option<Vec<u8>> {
    let mut data: *mut u8 = ptr::null_mut();
    let len = usize::try_from(i2d(&raw mut data)).ok()?;
    if data.is_null() {
        return None;
    }
    // SAFETY: OpenSSL allocated `len` bytes for us.
    unsafe {
        let der = std::slice::from_raw_parts(data, len).to_vec();
        CRYPTO_free(data.cast(), c"".as_ptr(), 0);
        Some(der)
    }
}

/// A store of trusted certificates that Lua code made (lua-resty-openssl).
pub struct TrustedStore(*mut X509_STORE);

impl TrustedStore {
    /// Takes a reference to the store whose address a Lua FFI cdata holds.
    ///
    /// Code that uses the FFI vouches for its pointers itself: nothing here
    /// could check that there is an `X509_STORE`.
    pub fn from_lua(address: usize) -> Option<TrustedStore> {
        let store: *mut X509_STORE = ptr::with_exposed_provenance_mut(address);
        // SAFETY: by the contract of the FFI, see above.
        let counted = !store.is_null() && unsafe { X509_STORE_up_ref(store) } != 0;
        counted.then_some(TrustedStore(store))
    }

    /// A store of these certificates. None where memory is short.
    pub fn of<'a>(trusted: impl IntoIterator<Item = &'a Certificates>) -> Option<TrustedStore> {
        // SAFETY: the store takes references of its own.
        unsafe {
            let store = X509_STORE_new();
            let made = (!store.is_null()).then_some(TrustedStore(store))?;
            trusted
                .into_iter()
                .flat_map(Certificates::raw)
                .all(|x509| X509_STORE_add_cert(store, x509) == 1)
                .then_some(made)
        }
    }

    pub(super) fn raw(&self) -> *mut X509_STORE {
        self.0
    }

    /// Has `ssl` verify with this store.
    ///
    /// # Safety
    /// `ssl` must be live.
    pub(super) unsafe fn apply(&self, ssl: *mut SSL) -> bool {
        // SAFETY: both are live; 1 has OpenSSL take a reference of its own.
        unsafe { SSL_ctrl(ssl, SSL_CTRL_SET_VERIFY_CERT_STORE, 1, self.0.cast()) != 0 }
    }
}

impl Drop for TrustedStore {
    fn drop(&mut self) {
        // SAFETY: owns one reference.
        unsafe { X509_STORE_free(self.0) }
    }
}
