//! What OpenSSL's structures keep for us: the callbacks that were replaced on an
//! `SSL_CTX`, and the arrival of an `SSL`.

use std::os::raw::{c_int, c_long, c_uchar, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::OnceLock;

use ngx::ffi::{
    CRYPTO_EX_DATA, CRYPTO_EX_INDEX_SSL, CRYPTO_EX_INDEX_SSL_CTX, CRYPTO_get_ex_new_index, SSL,
    SSL_CTX, SSL_CTX_get_ex_data, SSL_CTX_set_ex_data, SSL_SESSION, SSL_get_ex_data,
    SSL_set_ex_data, ngx_connection_t, ngx_ssl_connection_index,
};

use super::arrival::Arrival;
use super::names::Server;
use crate::sys::entry::guard;

pub(super) type Info = unsafe extern "C" fn(ssl: *const SSL, kind: c_int, value: c_int);
pub(super) type GetSession =
    unsafe extern "C" fn(*mut SSL, *const c_uchar, c_int, *mut c_int) -> *mut SSL_SESSION;
pub(super) type Status = unsafe extern "C" fn(*mut SSL, *mut c_void) -> c_int;
pub(super) type NewSession = unsafe extern "C" fn(*mut SSL, *mut SSL_SESSION) -> c_int;

/// nginx's own callbacks, which are called as well.
#[derive(Default)]
pub(super) struct Replaced {
    /// Whose handshakes begin with the `SSL_CTX`.
    pub(super) server: Option<Server>,
    pub(super) info: Option<Info>,
    pub(super) get_session: Option<GetSession>,
    pub(super) new_session: Option<NewSession>,
    pub(super) status: Option<Status>,
}

/// Where an `SSL_CTX` keeps the callbacks that were replaced.
fn replaced_index() -> c_int {
    unsafe extern "C" fn free(
        _parent: *mut c_void,
        value: *mut c_void,
        _: *mut CRYPTO_EX_DATA,
        _: c_int,
        _: c_long,
        _: *mut c_void,
    ) {
        if !value.is_null() {
            // SAFETY: `replaced_mut` put a box there; OpenSSL calls this once.
            drop(unsafe { Box::from_raw(value.cast::<Replaced>()) });
        }
    }
    static INDEX: OnceLock<c_int> = OnceLock::new();
    *INDEX.get_or_init(|| new_index(CRYPTO_EX_INDEX_SSL_CTX, free))
}

/// Where an `SSL` keeps its arrival.
fn arrival_index() -> c_int {
    unsafe extern "C" fn free(
        _parent: *mut c_void,
        value: *mut c_void,
        _: *mut CRYPTO_EX_DATA,
        _: c_int,
        _: c_long,
        _: *mut c_void,
    ) {
        if !value.is_null() {
            guard((), || {
                // SAFETY: `keep_arrival` put a reference there; OpenSSL calls this once.
                let arrival = unsafe { Rc::from_raw(value.cast::<Arrival>().cast_const()) };
                arrival.abandon();
            });
        }
    }
    static INDEX: OnceLock<c_int> = OnceLock::new();
    *INDEX.get_or_init(|| new_index(CRYPTO_EX_INDEX_SSL, free))
}

type Free =
    unsafe extern "C" fn(*mut c_void, *mut c_void, *mut CRYPTO_EX_DATA, c_int, c_long, *mut c_void);

fn new_index(class: u32, free: Free) -> c_int {
    // SAFETY: the function has the right type and lives as long as the process.
    unsafe { CRYPTO_get_ex_new_index(class as c_int, 0, ptr::null_mut(), None, None, Some(free)) }
}

/// nginx's connection of an `SSL`.
///
/// # Safety
/// `ssl` must be live and one of nginx's.
pub(super) unsafe fn connection(ssl: *const SSL) -> *mut ngx_connection_t {
    // SAFETY: by the caller's promise.
    unsafe { SSL_get_ex_data(ssl, ngx_ssl_connection_index).cast() }
}

/// The arrival of a connection that has not finished its handshake.
///
/// # Safety
/// `c` must be live and have TLS.
pub(super) unsafe fn arrival_of(c: *mut ngx_connection_t) -> Option<Rc<Arrival>> {
    // SAFETY: by the caller's promise.
    unsafe { arrival_kept_by((*(*c).ssl).connection) }
}

/// The arrival that `ssl` keeps, if any.
///
/// # Safety
/// `ssl` must be live.
pub(super) unsafe fn arrival_kept_by(ssl: *const SSL) -> Option<Rc<Arrival>> {
    // SAFETY: by the caller's promise; what the index holds is a reference.
    unsafe {
        let arrival = SSL_get_ex_data(ssl, arrival_index());
        let arrival = arrival.cast::<Arrival>().cast_const();
        if arrival.is_null() {
            return None;
        }
        Rc::increment_strong_count(arrival);
        Some(Rc::from_raw(arrival))
    }
}

/// Has `ssl` keep its arrival, until that is forgotten or `ssl` freed. Where
/// memory is short the handshake ends.
///
/// # Safety
/// `ssl` must be live and keep none.
pub(super) unsafe fn keep_arrival(ssl: *mut SSL, arrival: Rc<Arrival>) {
    let arrival = Rc::into_raw(arrival);
    // SAFETY: by the caller's promise; the reference is OpenSSL's, unless it has
    // no memory for it.
    unsafe {
        if SSL_set_ex_data(ssl, arrival_index(), arrival.cast_mut().cast()) != 1 {
            Rc::from_raw(arrival).abandon();
        }
    }
}

/// # Safety
/// `ssl` must be live and keep an arrival.
pub(super) unsafe fn forget_arrival(ssl: *mut SSL) {
    // SAFETY: by the caller's promise; the reference is ours again.
    unsafe {
        let arrival = SSL_get_ex_data(ssl, arrival_index());
        SSL_set_ex_data(ssl, arrival_index(), ptr::null_mut());
        drop(Rc::from_raw(arrival.cast::<Arrival>().cast_const()));
    }
}

/// What was replaced on the `SSL_CTX` that the handshake began with.
///
/// # Safety
/// `c` must be live and have TLS.
pub(super) unsafe fn replaced<'a>(c: *mut ngx_connection_t) -> Option<&'a Replaced> {
    // SAFETY: by the caller's promise.
    unsafe { replaced_of((*(*c).ssl).session_ctx) }
}

/// What was replaced on `ctx`.
///
/// # Safety
/// `ctx` must be live.
pub(super) unsafe fn replaced_of<'a>(ctx: *mut SSL_CTX) -> Option<&'a Replaced> {
    // SAFETY: by the caller's promise; the index holds nothing else.
    unsafe {
        SSL_CTX_get_ex_data(ctx, replaced_index())
            .cast::<Replaced>()
            .as_ref()
    }
}

/// The place for the callbacks of `ctx`, made where there is none. None where
/// memory is short.
///
/// # Safety
/// `ctx` must be live, and no other reference to the place.
pub(super) unsafe fn replaced_mut<'a>(ctx: *mut SSL_CTX) -> Option<&'a mut Replaced> {
    let index = replaced_index();
    // SAFETY: by the caller's promise; the box goes with the SSL_CTX.
    unsafe {
        if SSL_CTX_get_ex_data(ctx, index).is_null() {
            let made = Box::into_raw(Box::<Replaced>::default());
            if SSL_CTX_set_ex_data(ctx, index, made.cast()) != 1 {
                drop(Box::from_raw(made));
            }
        }
        SSL_CTX_get_ex_data(ctx, index).cast::<Replaced>().as_mut()
    }
}
