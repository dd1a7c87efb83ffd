//! Writing to error.log.

use ngx::ffi::{ngx_log_error_core, ngx_log_t, ngx_uint_t};

use super::entry::cycle_log;

/// nginx's log levels; the numbers are nginx's, and those of `ngx.ERR` & co.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Stderr = 0,
    Emerg,
    Alert,
    Crit,
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}

impl Level {
    /// The level with nginx's number `n`.
    pub fn from_number(n: i64) -> Option<Level> {
        use Level::*;
        [Stderr, Emerg, Alert, Crit, Error, Warn, Notice, Info, Debug]
            .into_iter()
            .find(|&level| level as i64 == n)
    }
}

/// Whether `log` takes messages of `level`.
///
/// # Safety
/// `log` must be a live log.
pub(super) unsafe fn enabled(log: *const ngx_log_t, level: Level) -> bool {
    // SAFETY: by the caller's promise. The debug levels are bits above 7.
    unsafe { (*log).log_level >= level as ngx_uint_t }
}

/// Writes `message`, with `errno` described when it is not 0.
///
/// # Safety
/// `log` must be a live log.
pub(super) unsafe fn write(log: *mut ngx_log_t, level: Level, errno: i32, message: &[u8]) {
    // SAFETY: `log` is live by the caller's promise; the length is given.
    unsafe {
        if enabled(log, level) {
            ngx_log_error_core(
                level as ngx_uint_t,
                log,
                errno,
                c"%*s".as_ptr(),
                message.len(),
                message.as_ptr(),
            );
        }
    }
}

/// Keeps a log from being written to, until it is dropped.
pub(super) struct Silenced {
    log: *mut ngx_log_t,
    level: ngx_uint_t,
}

impl Silenced {
    /// # Safety
    /// `log` must be live for as long as the value.
    pub(super) unsafe fn new(log: *mut ngx_log_t) -> Silenced {
        // SAFETY: by the caller's promise. Nothing is of level 0 that anyone
        // writes to a log.
        let level = unsafe { std::mem::replace(&mut (*log).log_level, 0) };
        Silenced { log, level }
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        // SAFETY: the log is live by the promise to `new`.
        unsafe { (*self.log).log_level = self.level }
    }
}

/// A log that writes what `log` does.
///
/// # Safety
/// `log` must be live, and what its handler uses must be as long as the copy
/// has the same.
pub(super) unsafe fn copy_of(log: *const ngx_log_t) -> ngx_log_t {
    // SAFETY: by the caller's promise; nginx copies logs itself.
    unsafe { *log }
}

/// A log that writes where `log` does, and says that a timer wrote it.
pub(super) fn of_timer(log: *mut ngx_log_t) -> ngx_log_t {
    unsafe extern "C" fn add_context(_log: *mut ngx_log_t, buf: *mut u8, len: usize) -> *mut u8 {
        const CONTEXT: &[u8] = b", context: ngx.timer";
        let n = CONTEXT.len().min(len);
        // SAFETY: nginx gives a buffer with room for `len` bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(CONTEXT.as_ptr(), buf, n);
            buf.add(n)
        }
    }
    // SAFETY: callers pass a live log of the configuration; nginx copies logs
    // itself, for its connections.
    let mut copy = unsafe { *log };
    copy.handler = Some(add_context);
    copy.data = std::ptr::null_mut();
    copy.action = std::ptr::null_mut();
    copy.connection = 0;
    copy
}

/// Writes to the log of the cycle.
pub fn cycle(level: Level, message: impl AsRef<[u8]>) {
    // SAFETY: the cycle's log is live.
    unsafe { write(cycle_log(), level, 0, message.as_ref()) }
}

/// Whether the log of the cycle takes messages of `level`.
pub fn cycle_enabled(level: Level) -> bool {
    // SAFETY: the cycle's log is live.
    unsafe { enabled(cycle_log(), level) }
}
