//! Start and end of a worker process.

use nginx_sys::{NGX_OK, ngx_cycle_t, ngx_int_t};

/// Runs when a worker starts.
///
/// # Safety
/// nginx calls it with the live cycle.
pub unsafe extern "C" fn init_process(_cycle: *mut ngx_cycle_t) -> ngx_int_t {
    NGX_OK as ngx_int_t
}

/// Runs when a worker ends.
///
/// # Safety
/// nginx calls it with the live cycle.
pub unsafe extern "C" fn exit_process(_cycle: *mut ngx_cycle_t) {}
