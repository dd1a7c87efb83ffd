//! Where nginx points to headers that it knows, next to the list that has
//! all of them. It differs between versions: from 1.23.0 on, lines of the
//! same header are linked, before that there were arrays for two of them.

use std::ptr::{self, NonNull};

#[cfg(not(nginx_1_23))]
use ngx::ffi::{ngx_array_push, ngx_array_t, ngx_palloc};
use ngx::ffi::{ngx_http_headers_out_t, ngx_pool_t, ngx_table_elt_t};

use super::Known;

type Line = NonNull<ngx_table_elt_t>;

/// The place that belongs to one header of a response.
pub(super) struct Slot(Place);

enum Place {
    /// nginx has none.
    None,
    One(*mut *mut ngx_table_elt_t),
    #[cfg(not(nginx_1_23))]
    Many(*mut ngx_array_t),
    #[cfg(nginx_1_23)]
    Many(*mut *mut ngx_table_elt_t),
}

impl Slot {
    /// The place in `headers` for `known`.
    ///
    /// # Safety
    /// `headers` must be those of a live request; the slot must not be used
    /// for longer than that lives.
    pub(super) unsafe fn of(headers: *mut ngx_http_headers_out_t, known: Known) -> Slot {
        // SAFETY: the structure is live; only addresses are taken.
        unsafe {
            Slot(match known {
                Known::AcceptRanges => Place::One(&raw mut (*headers).accept_ranges),
                Known::CacheControl => Place::Many(&raw mut (*headers).cache_control),
                Known::Connection | Known::ContentType => Place::None,
                Known::ContentEncoding => Place::One(&raw mut (*headers).content_encoding),
                Known::ContentLength => Place::One(&raw mut (*headers).content_length),
                Known::ContentRange => Place::One(&raw mut (*headers).content_range),
                Known::Date => Place::One(&raw mut (*headers).date),
                Known::Etag => Place::One(&raw mut (*headers).etag),
                Known::Expires => Place::One(&raw mut (*headers).expires),
                Known::LastModified => Place::One(&raw mut (*headers).last_modified),
                Known::Link => Place::Many(&raw mut (*headers).link),
                Known::Location => Place::One(&raw mut (*headers).location),
                Known::Refresh => Place::One(&raw mut (*headers).refresh),
                Known::Server => Place::One(&raw mut (*headers).server),
                #[cfg(not(nginx_1_23))]
                Known::WwwAuthenticate => Place::One(&raw mut (*headers).www_authenticate),
                #[cfg(nginx_1_23)]
                Known::WwwAuthenticate => Place::Many(&raw mut (*headers).www_authenticate),
            })
        }
    }

    /// There is no line of the header any more.
    pub(super) fn clear(&self) {
        // SAFETY: the place is live by the promise to `of`.
        unsafe {
            match self.0 {
                Place::None => {}
                Place::One(place) => *place = ptr::null_mut(),
                // With an array of no elements nginx would take the first.
                #[cfg(not(nginx_1_23))]
                Place::Many(array) => {
                    (*array).elts = ptr::null_mut();
                    (*array).nelts = 0;
                }
                #[cfg(nginx_1_23)]
                Place::Many(first) => *first = ptr::null_mut(),
            }
        }
    }

    /// `line` is the only line of the header. False where memory is short.
    pub(super) fn set(&self, line: Line, pool: *mut ngx_pool_t) -> bool {
        self.clear();
        self.add(line, pool)
    }

    /// `line` is one more line of the header. Where there is place for one
    /// only, nginx knows the first. False where memory is short.
    pub(super) fn add(&self, line: Line, pool: *mut ngx_pool_t) -> bool {
        // SAFETY: place, line and pool are live with the request.
        unsafe {
            match self.0 {
                Place::None => true,
                Place::One(place) => {
                    if (*place).is_null() {
                        *place = line.as_ptr();
                    }
                    true
                }
                #[cfg(not(nginx_1_23))]
                Place::Many(array) => push(array, line, pool),
                #[cfg(nginx_1_23)]
                Place::Many(first) => {
                    let _ = pool;
                    let mut end = first;
                    while !(*end).is_null() {
                        end = &raw mut (**end).next;
                    }
                    *end = line.as_ptr();
                    true
                }
            }
        }
    }
}

/// # Safety
/// Both must be live with the request whose pool is `pool`.
#[cfg(not(nginx_1_23))]
pub(in crate::sys) unsafe fn push(
    array: *mut ngx_array_t,
    line: Line,
    pool: *mut ngx_pool_t,
) -> bool {
    const FIRST_SIZE: usize = 2;
    // SAFETY: the caller's promise; what nginx allocates is checked.
    unsafe {
        if (*array).elts.is_null() {
            let size = size_of::<*mut ngx_table_elt_t>();
            (*array).elts = ngx_palloc(pool, FIRST_SIZE * size);
            if (*array).elts.is_null() {
                return false;
            }
            (*array).nelts = 0;
            (*array).size = size;
            (*array).nalloc = FIRST_SIZE;
            (*array).pool = pool;
        }
        let place = ngx_array_push(array).cast::<*mut ngx_table_elt_t>();
        if place.is_null() {
            return false;
        }
        place.write(line.as_ptr());
        true
    }
}

/// Makes `line` the last of its header.
///
/// # Safety
/// `line` must be live.
pub(super) unsafe fn unlink(line: *mut ngx_table_elt_t) {
    #[cfg(nginx_1_23)]
    // SAFETY: the caller's promise.
    unsafe {
        (*line).next = ptr::null_mut();
    }
    #[cfg(not(nginx_1_23))]
    let _ = line;
}
