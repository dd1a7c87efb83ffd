//! Memory of a copy.

use std::ptr;

use ngx::ffi::{
    ngx_create_pool, ngx_destroy_pool, ngx_palloc, ngx_pcalloc, ngx_pnalloc, ngx_pool_t, ngx_str_t,
};

use crate::sys::entry::cycle_log;

/// Room that most copies get by with.
const SIZE: usize = 8192;

/// A pool of nginx's. What it gives lives as long as it does.
pub(super) struct Pool(*mut ngx_pool_t);

impl Pool {
    /// None where memory is short; as all that follows.
    pub(super) fn new() -> Option<Pool> {
        // SAFETY: the log of the cycle is always there.
        let pool = unsafe { ngx_create_pool(SIZE, cycle_log()) };
        (!pool.is_null()).then_some(Pool(pool))
    }

    pub(super) fn raw(&self) -> *mut ngx_pool_t {
        self.0
    }

    /// Room for `n` values, filled with zeros.
    pub(super) fn zeroed<T>(&self, n: usize) -> Option<*mut T> {
        // SAFETY: the pool is live.
        let room = unsafe { ngx_pcalloc(self.0, size_of::<T>().checked_mul(n)?) };
        (!room.is_null()).then_some(room.cast())
    }

    /// A copy of `values`.
    pub(super) fn array<T: Copy>(&self, values: &[T]) -> Option<*mut T> {
        // SAFETY: the pool is live, and what it gives is aligned.
        unsafe {
            fill(
                ngx_palloc(self.0, size_of_val(values).max(1)).cast(),
                values,
            )
        }
    }

    /// A copy of `bytes`.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Option<*mut u8> {
        // SAFETY: the pool is live; bytes need no alignment.
        unsafe { fill(ngx_pnalloc(self.0, bytes.len().max(1)).cast(), bytes) }
    }

    /// A copy of a live text. One that is not there stays so.
    pub(super) fn text(&self, text: ngx_str_t) -> Option<ngx_str_t> {
        if text.len == 0 {
            return Some(ngx_str_t::empty());
        }
        let data = self.bytes(text.as_bytes())?;
        Some(ngx_str_t {
            len: text.len,
            data,
        })
    }
}

/// # Safety
/// `room` must be null, or aligned and new, with room for the values.
unsafe fn fill<T: Copy>(room: *mut T, values: &[T]) -> Option<*mut T> {
    if room.is_null() {
        return None;
    }
    // SAFETY: by the caller's promise.
    unsafe { ptr::copy_nonoverlapping(values.as_ptr(), room, values.len()) };
    Some(room)
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the pool is live, and nobody refers to what is in it.
        unsafe { ngx_destroy_pool(self.0) }
    }
}
