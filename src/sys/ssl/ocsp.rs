//! OCSP (RFC 6960): whom to ask about a certificate, what to ask, and whether
//! to believe the answer. Certificates come as DER, the leaf first, its issuer
//! somewhere after it.

use std::borrow::Cow;
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_long};
use std::ptr;

use ngx::ffi::{
    ASN1_GENERALIZEDTIME, ASN1_TIME_diff, ASN1_TIME_free, ASN1_TIME_set, ERR_clear_error,
    OCSP_BASICRESP_free, OCSP_CERTID, OCSP_CERTID_free, OCSP_REQUEST_free, OCSP_REQUEST_new,
    OCSP_RESPONSE_free, OCSP_basic_verify, OCSP_cert_status_str, OCSP_cert_to_id,
    OCSP_check_validity, OCSP_request_add0_id, OCSP_resp_find_status, OCSP_response_get1_basic,
    OCSP_response_status, OCSP_response_status_str, OPENSSL_sk_free, OPENSSL_sk_new_null,
    OPENSSL_sk_push, OPENSSL_sk_value, X509, X509_STORE, X509_STORE_add_cert, X509_STORE_free,
    X509_STORE_new, X509_STORE_set_flags, X509_V_FLAG_PARTIAL_CHAIN, X509_check_issued,
    X509_email_free, X509_get1_ocsp, d2i_OCSP_RESPONSE, i2d_OCSP_REQUEST,
};

use super::x509::{Certificates, encode};

/// How far clocks may differ, in seconds; as in nginx's own stapling.
const CLOCK_SKEW: c_long = 300;
const SECONDS_A_DAY: i64 = 86_400;
/// V_OCSP_CERTSTATUS_GOOD
const GOOD: c_int = 0;
/// OCSP_RESPONSE_STATUS_SUCCESSFUL
const SUCCESSFUL: c_int = 0;

/// What OpenSSL made for us, freed at the end.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    /// None where OpenSSL made nothing.
    fn new(made: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Owned<T>> {
        (!made.is_null()).then_some(Owned(made, free))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: made by OpenSSL, ours, and `free` is what frees its kind.
        unsafe { (self.1)(self.0) }
    }
}

/// Empties OpenSSL's queue of errors at the end of a call: a later one must
/// not find what failed here.
struct NoErrors;

impl Drop for NoErrors {
    fn drop(&mut self) {
        // SAFETY: no arguments.
        unsafe { ERR_clear_error() }
    }
}

/// A certificate, and the one that vouches for it.
struct Subject {
    chain: Certificates,
    leaf: *mut X509,
    issuer: *mut X509,
}

impl Subject {
    fn new(der_chain: &[u8]) -> Result<Subject, &'static str> {
        let chain = Certificates::from_der(der_chain)?;
        let (leaf, rest) = {
            let mut all = chain.raw();
            (all.next(), all.collect::<Vec<_>>())
        };
        let leaf = leaf.ok_or("no certificate in chain")?;
        if rest.is_empty() {
            return Err("no issuer certificate in chain");
        }
        let issuer = rest
            .into_iter()
            // SAFETY: both live in the chain.
            .find(|&candidate| unsafe { X509_check_issued(candidate, leaf) } == 0)
            .ok_or("issuer certificate not found in chain")?;
        Ok(Subject {
            chain,
            leaf,
            issuer,
        })
    }

    /// How the certificate is named in requests and responses.
    fn id(&self) -> Result<Owned<OCSP_CERTID>, &'static str> {
        // SAFETY: both certificates live in the chain.
        let id = unsafe { OCSP_cert_to_id(ptr::null(), self.leaf, self.issuer) };
        Owned::new(id, OCSP_CERTID_free).ok_or("OCSP_cert_to_id() failed")
    }

    /// A store that trusts the issuer, and nobody else.
    fn trusted(&self) -> Option<Owned<X509_STORE>> {
        // SAFETY: the store is ours; it takes a reference of its own.
        unsafe {
            let store = Owned::new(X509_STORE_new(), X509_STORE_free)?;
            let set = X509_STORE_add_cert(store.0, self.issuer) == 1
                // The issuer need not be a root.
                && X509_STORE_set_flags(store.0, X509_V_FLAG_PARTIAL_CHAIN.into()) == 1;
            set.then_some(store)
        }
    }
}

/// The address of the server to ask, from the certificate; None where it names
/// none.
///
/// # Errors
/// What is wrong with the chain.
pub fn responder(der_chain: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let _clean = NoErrors;
    let subject = Subject::new(der_chain)?;
    // SAFETY: the certificate is live.
    let urls = unsafe { X509_get1_ocsp(subject.leaf) };
    let Some(urls) = Owned::new(urls, X509_email_free) else {
        return Ok(None);
    };
    // SAFETY: a list of C strings, which OpenSSL makes with at least one.
    unsafe {
        let url: *const c_char = OPENSSL_sk_value(urls.0.cast(), 0).cast();
        Ok((!url.is_null()).then(|| CStr::from_ptr(url).to_bytes().to_vec()))
    }
}

/// The request for the state of the certificate.
///
/// # Errors
/// What is wrong with the chain.
pub fn request(der_chain: &[u8]) -> Result<Vec<u8>, &'static str> {
    let _clean = NoErrors;
    let subject = Subject::new(der_chain)?;
    // SAFETY: no arguments.
    let request = Owned::new(unsafe { OCSP_REQUEST_new() }, OCSP_REQUEST_free)
        .ok_or("OCSP_REQUEST_new() failed")?;
    let id = subject.id()?;
    // SAFETY: both are live.
    if unsafe { OCSP_request_add0_id(request.0, id.0) }.is_null() {
        return Err("OCSP_request_add0_id() failed");
    }
    // It is the request's now.
    std::mem::forget(id);
    // SAFETY: the request is live.
    encode(|out| unsafe { i2d_OCSP_REQUEST(request.0, out) }).ok_or("i2d_OCSP_REQUEST() failed")
}

/// Checks that `response` says, signed by the issuer or by whom it authorized,
/// that the certificate is good, and that this is news. Returns when there will
/// be newer ones, in seconds since 1970, where the response tells.
///
/// # Errors
/// Why it is not to be believed, or what else it says.
pub fn validate(response: &[u8], der_chain: &[u8]) -> Result<Option<i64>, Cow<'static, str>> {
    let _clean = NoErrors;
    let mut at = response.as_ptr();
    // SAFETY: the length is that of the bytes.
    let parsed =
        unsafe { d2i_OCSP_RESPONSE(ptr::null_mut(), &raw mut at, response.len() as c_long) };
    let parsed = Owned::new(parsed, OCSP_RESPONSE_free)
        .filter(|_| at == response.as_ptr_range().end)
        .ok_or("d2i_OCSP_RESPONSE() failed")?;
    // SAFETY: the response is live; OpenSSL's texts are static C strings.
    let basic = unsafe {
        let status = OCSP_response_status(parsed.0);
        if status != SUCCESSFUL {
            let text = CStr::from_ptr(OCSP_response_status_str(status.into())).to_string_lossy();
            return Err(format!("OCSP response not successful ({status}: {text})").into());
        }
        Owned::new(OCSP_response_get1_basic(parsed.0), OCSP_BASICRESP_free)
            .ok_or("OCSP_response_get1_basic() failed")?
    };
    let subject = Subject::new(der_chain)?;
    let store = subject.trusted().ok_or("X509_STORE_new() failed")?;
    // SAFETY: all are live; the list has but pointers to certificates of the
    // chain; the times live in the response.
    unsafe {
        let known = Owned::new(OPENSSL_sk_new_null(), OPENSSL_sk_free)
            .ok_or("OPENSSL_sk_new_null() failed")?;
        for x509 in subject.chain.raw() {
            if OPENSSL_sk_push(known.0, x509.cast()) == 0 {
                return Err("OPENSSL_sk_push() failed".into());
            }
        }
        if OCSP_basic_verify(basic.0, known.0.cast(), store.0, 0) != 1 {
            return Err("OCSP_basic_verify() failed".into());
        }
        let id = subject.id()?;
        let mut status: c_int = -1;
        let mut this_update: *mut ASN1_GENERALIZEDTIME = ptr::null_mut();
        let mut next_update: *mut ASN1_GENERALIZEDTIME = ptr::null_mut();
        let found = OCSP_resp_find_status(
            basic.0,
            id.0,
            &raw mut status,
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut this_update,
            &raw mut next_update,
        );
        if found != 1 {
            return Err("certificate status not found in the OCSP response".into());
        }
        if status != GOOD {
            let text = CStr::from_ptr(OCSP_cert_status_str(status.into())).to_string_lossy();
            return Err(format!("certificate status \"{text}\" in the OCSP response").into());
        }
        if OCSP_check_validity(this_update, next_update, CLOCK_SKEW, -1) != 1 {
            return Err("OCSP_check_validity() failed".into());
        }
        Ok(seconds(next_update))
    }
}

/// Seconds from 1970 to `time`; None where there is none.
///
/// # Safety
/// `time` must be live, or null.
unsafe fn seconds(time: *const ASN1_GENERALIZEDTIME) -> Option<i64> {
    let (mut days, mut seconds) = (0, 0);
    // SAFETY: by the caller's promise.
    unsafe {
        let epoch = Owned::new(ASN1_TIME_set(ptr::null_mut(), 0), ASN1_TIME_free)?;
        // OpenSSL would take no time for the present one.
        let known =
            !time.is_null() && ASN1_TIME_diff(&raw mut days, &raw mut seconds, epoch.0, time) == 1;
        known.then(|| i64::from(days) * SECONDS_A_DAY + i64::from(seconds))
    }
}
