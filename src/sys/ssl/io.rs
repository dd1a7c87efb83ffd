//! What TLS adds to reading, writing and closing.

use std::os::raw::c_long;
use std::ptr;

use ngx::ffi::{
    NGX_AGAIN, SSL, SSL_ctrl, SSL_has_pending, ngx_connection_t, ngx_int_t, ngx_ssl_recv,
    ngx_ssl_shutdown,
};

const SSL_CTRL_MODE: i32 = 33;
/// SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
const SSL_MODES: c_long = 1 | 2;

/// A send that waits goes on from a copy, and each record is progress.
///
/// # Safety
/// `ssl` must be live.
pub unsafe fn allow_partial_writes(ssl: *mut SSL) {
    // SAFETY: by the caller's promise.
    unsafe { SSL_ctrl(ssl, SSL_CTRL_MODE, SSL_MODES, ptr::null_mut()) };
}

/// Whether something was received that only TLS has seen: no event will tell
/// of it.
///
/// # Safety
/// `c` must be live and have TLS.
pub unsafe fn has_pending(c: *mut ngx_connection_t) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { SSL_has_pending((*(*c).ssl).connection) != 0 }
}

/// Whether nginx swapped event handlers because TLS had to write in order to
/// read, or the other way round; nginx forgets about it then.
///
/// # Safety
/// `c` must be live and have TLS.
pub unsafe fn uncross(c: *mut ngx_connection_t) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        let ssl = &mut *(*c).ssl;
        let read = ssl.saved_read_handler.take();
        let write = ssl.saved_write_handler.take();
        read.is_some() || write.is_some()
    }
}

/// Whether nothing but TLS's own records (tickets) has arrived on an idle
/// connection; they are taken in.
///
/// # Safety
/// `c` must be live and its handshake done.
pub unsafe fn is_quiet(c: *mut ngx_connection_t) -> bool {
    let mut byte = 0u8;
    // SAFETY: by the caller's promise; one byte of room is given.
    unsafe { ngx_ssl_recv(c, &raw mut byte, 1) == NGX_AGAIN as isize && !uncross(c) }
}

/// Ends TLS on a connection that is about to be closed; `farewell` tells the
/// peer that the end is intended.
///
/// # Safety
/// `c` must be live.
pub unsafe fn close(c: *mut ngx_connection_t, farewell: bool) {
    // SAFETY: by the caller's promise; nginx frees what it made.
    unsafe {
        if (*c).ssl.is_null() {
            return;
        }
        if (*(*c).ssl).handshaked() != 0 && (*(*c).read).ready() != 0 {
            // With unread tickets the kernel would reset the connection, and
            // the peer lose what was sent last.
            is_quiet(c);
        }
        (*(*c).ssl).set_no_wait_shutdown(1);
        if !farewell {
            (*(*c).ssl).set_no_send_shutdown(1);
        }
        if ngx_ssl_shutdown(c) == NGX_AGAIN as ngx_int_t && !(*c).ssl.is_null() {
            // The kernel takes no more: without a farewell, then.
            (*(*c).ssl).set_no_send_shutdown(1);
            ngx_ssl_shutdown(c);
        }
    }
}
