//! Learning that the worker is asked to leave.

use std::mem;
use std::os::raw::c_void;

use ngx::ffi::{ngx_close_connection, ngx_connection_t, ngx_event_t, ngx_get_connection};

use super::entry::{cycle_log, guard};

/// What nginx tells its connections when it shuts down gracefully.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quit {
    /// Idle ones are to be closed.
    Asked,
    /// `worker_shutdown_timeout` has passed: all are to be closed.
    Overdue,
}

/// A connection that stands for nothing but being told so. nginx has no other
/// way to tell modules.
pub struct QuitWatch(*mut ngx_connection_t);

impl QuitWatch {
    /// Has `f` called. None where nginx has no connection to spare.
    pub fn new(f: fn(Quit)) -> Option<QuitWatch> {
        unsafe extern "C" fn handler(event: *mut ngx_event_t) {
            guard((), || {
                // SAFETY: nginx passes the event of our live connection, whose
                // data is the function put there below.
                let (f, overdue) = unsafe {
                    let c = (*event).data.cast::<ngx_connection_t>();
                    let f = mem::transmute::<*mut c_void, fn(Quit)>((*c).data);
                    (f, (*c).error() != 0)
                };
                f(if overdue { Quit::Overdue } else { Quit::Asked });
            });
        }
        // SAFETY: a new descriptor of our own; nginx makes it a connection,
        // which it does not look at unless it closes idle ones, or all.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return None;
            }
            let c = ngx_get_connection(fd, cycle_log());
            if c.is_null() {
                libc::close(fd);
                return None;
            }
            (*c).data = f as *mut c_void;
            (*(*c).read).handler = Some(handler);
            (*(*c).read).log = cycle_log();
            (*(*c).write).log = cycle_log();
            (*c).set_idle(1);
            Some(QuitWatch(c))
        }
    }
}

impl Drop for QuitWatch {
    fn drop(&mut self) {
        // SAFETY: the connection is live and ours.
        unsafe { ngx_close_connection(self.0) }
    }
}
