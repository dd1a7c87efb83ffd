//! Sessions of clients, as bytes that can be kept elsewhere.

use std::os::raw::c_long;
use std::ptr;
use std::slice;

use ngx::ffi::{
    ERR_clear_error, SSL_SESSION, SSL_SESSION_free, SSL_SESSION_get_id, d2i_SSL_SESSION,
    i2d_SSL_SESSION,
};

/// A session that Lua found for an id.
pub(super) struct Prefetched {
    pub(super) id: Vec<u8>,
    serialized: Vec<u8>,
}

impl Prefetched {
    /// None where the bytes are no session.
    pub(super) fn new(id: &[u8], serialized: &[u8]) -> Option<Prefetched> {
        let found = Prefetched {
            id: id.to_vec(),
            serialized: serialized.to_vec(),
        };
        let session = found.session();
        if session.is_null() {
            return None;
        }
        // SAFETY: the reference is ours.
        unsafe { SSL_SESSION_free(session) };
        Some(found)
    }

    /// The session, whose reference the caller owns; null where memory is
    /// short.
    pub(super) fn session(&self) -> *mut SSL_SESSION {
        let mut at = self.serialized.as_ptr();
        // SAFETY: so many bytes are there; the queue of errors must be empty
        // for nginx.
        unsafe {
            let len = self.serialized.len() as c_long;
            let session = d2i_SSL_SESSION(ptr::null_mut(), &raw mut at, len);
            if session.is_null() {
                ERR_clear_error();
            }
            session
        }
    }
}

/// The bytes of a session.
///
/// # Safety
/// `session` must be live.
pub(super) unsafe fn serialize(session: *mut SSL_SESSION) -> Option<Vec<u8>> {
    // SAFETY: by the caller's promise; the second call writes as many bytes as
    // the first one said.
    unsafe {
        let len = usize::try_from(i2d_SSL_SESSION(session, ptr::null_mut())).ok()?;
        let mut bytes = vec![0; len];
        let mut at = bytes.as_mut_ptr();
        let written = i2d_SSL_SESSION(session, &raw mut at);
        (len > 0 && usize::try_from(written) == Ok(len)).then_some(bytes)
    }
}

/// The id of a session.
///
/// # Safety
/// `session` must be live.
pub(super) unsafe fn id(session: *mut SSL_SESSION) -> Vec<u8> {
    let mut len = 0;
    // SAFETY: by the caller's promise; the id has the length that is given.
    unsafe {
        let id = SSL_SESSION_get_id(session, &raw mut len);
        slice::from_raw_parts(id, len as usize).to_vec()
    }
}
