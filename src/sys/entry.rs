//! Where nginx calls into Rust: no panic may cross that line.

use std::os::raw::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use ngx::ffi::{
    NGX_ERROR, ngx_cycle, ngx_http_handler_pt, ngx_http_request_t, ngx_int_t, ngx_pool_cleanup_add,
    ngx_pool_t,
};

use super::log::{self, Level};
use super::request::Request;
use crate::rt::panic_message;

/// Runs `f`; a panic is logged and answered with `fallback`.
pub fn guard<R>(fallback: R, f: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => value,
        Err(payload) => {
            let text = panic_message(&*payload);
            log::cycle(Level::Alert, format!("cosocket module panicked: {text}"));
            fallback
        }
    }
}

/// A C request handler that calls the Rust function `f`; a panic answers 500.
pub fn request_handler<F: Fn(Request) -> isize + Copy + 'static>(_f: F) -> ngx_http_handler_pt {
    unsafe extern "C" fn handler<F: Fn(Request) -> isize + Copy>(
        r: *mut ngx_http_request_t,
    ) -> ngx_int_t {
        guard(500, || {
            let Some(r) = NonNull::new(r) else {
                return NGX_ERROR as ngx_int_t;
            };
            // SAFETY: nginx passes a live request, and F has no size (checked
            // below), so that its value needs no bits.
            let (request, f) = unsafe { (Request::from_raw(r), NonNull::<F>::dangling().read()) };
            f(request)
        })
    }
    const { assert!(size_of::<F>() == 0, "a handler cannot capture") };
    Some(handler::<F>)
}

/// Has `f` called when `pool` is destroyed. False where memory is short.
///
/// # Safety
/// `pool` must be a live nginx pool.
pub(super) unsafe fn on_pool_destroyed<F: FnOnce() + 'static>(pool: *mut ngx_pool_t, f: F) -> bool {
    unsafe extern "C" fn run<F: FnOnce()>(data: *mut c_void) {
        // SAFETY: the value was written below and nginx runs a cleanup once.
        let f = unsafe { data.cast::<F>().read() };
        guard((), f);
    }
    const { assert!(align_of::<F>() <= align_of::<usize>()) };
    // SAFETY: the pool is live by the caller's promise; nginx allocates the
    // data with the alignment of a machine word.
    unsafe {
        let cleanup = ngx_pool_cleanup_add(pool, size_of::<F>().max(1));
        if cleanup.is_null() {
            return false;
        }
        (*cleanup).data.cast::<F>().write(f);
        (*cleanup).handler = Some(run::<F>);
    }
    true
}

/// The log of the current cycle is always there once nginx runs.
pub(super) fn cycle_log() -> *mut ngx::ffi::ngx_log_t {
    // SAFETY: nginx creates the first cycle before it loads any module.
    unsafe { (*ngx_cycle).log }
}
