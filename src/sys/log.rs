//! Writing to error.log.

use std::cell::Cell;
use std::ptr;

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

/// What the log of a client's handshake adds to messages.
pub(super) struct HandshakeWords {
    title: Cell<&'static str>,
    /// Null once the connection has gone.
    connection: Cell<*mut ngx_log_t>,
}

impl HandshakeWords {
    /// # Safety
    /// The log of the connection must be live until `forget` is called.
    pub(super) unsafe fn new(
        connection: *mut ngx_log_t,
        title: &'static str,
    ) -> Box<HandshakeWords> {
        Box::new(HandshakeWords {
            title: Cell::new(title),
            connection: Cell::new(connection),
        })
    }

    /// Another handler runs.
    pub(super) fn set_title(&self, title: &'static str) {
        self.title.set(title);
    }

    /// The connection is going.
    pub(super) fn forget(&self) {
        self.connection.set(ptr::null_mut());
    }
}

/// The log of a client's handshake: it writes where the server's does, and says
/// which handler wrote it, and what nginx says of the connection. The words
/// must live as long as the log.
pub(super) fn of_handshake(server: *mut ngx_log_t, words: &HandshakeWords) -> ngx_log_t {
    unsafe extern "C" fn add_context(log: *mut ngx_log_t, buf: *mut u8, len: usize) -> *mut u8 {
        // SAFETY: nginx passes the log and a buffer with room for `len` bytes;
        // the connection's log is live while it is known.
        unsafe {
            let words = &*(*log).data.cast::<HandshakeWords>();
            let text = format!(", context: {}", words.title.get());
            let n = text.len().min(len);
            ptr::copy_nonoverlapping(text.as_ptr(), buf, n);
            let end = buf.add(n);
            let Some(connection) = words.connection.get().as_mut() else {
                return end;
            };
            let Some(handler) = connection.handler else {
                return end;
            };
            // What nginx does meanwhile is to wait.
            let action = std::mem::replace(&mut connection.action, ptr::null_mut());
            let end = handler(connection, end, len - n);
            connection.action = action;
            end
        }
    }
    // SAFETY: callers pass a live log of the configuration, and words whose
    // connection is live.
    let (mut copy, number) = unsafe { (*server, (*words.connection.get()).connection) };
    copy.handler = Some(add_context);
    copy.data = ptr::from_ref(words).cast_mut().cast();
    copy.action = ptr::null_mut();
    copy.connection = number;
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
