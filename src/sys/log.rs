//! Writing to error.log.

use std::cell::Cell;

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

/// The log of a client's handshake: it writes where the server's does, and says
/// which handler wrote it, and what nginx says of the connection.
#[repr(C)]
pub(super) struct HandshakeLog {
    // First, so that its address is that of the whole.
    log: ngx_log_t,
    title: Cell<&'static str>,
    /// Null once the connection has gone.
    connection: Cell<*mut ngx_log_t>,
}

impl HandshakeLog {
    /// # Safety
    /// Both must be live; `connection` until `forget` is called.
    pub(super) unsafe fn new(
        server: *mut ngx_log_t,
        connection: *mut ngx_log_t,
        title: &'static str,
    ) -> Box<HandshakeLog> {
        // SAFETY: by the caller's promise; nginx copies logs itself.
        let (mut log, number) = unsafe { (*server, (*connection).connection) };
        log.handler = Some(add_handshake);
        log.data = std::ptr::null_mut();
        log.action = std::ptr::null_mut();
        log.connection = number;
        Box::new(HandshakeLog {
            log,
            title: Cell::new(title),
            connection: Cell::new(connection),
        })
    }

    /// nginx's view of it.
    pub(super) fn raw(&self) -> *mut ngx_log_t {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Another handler runs.
    pub(super) fn set_title(&self, title: &'static str) {
        self.title.set(title);
    }

    /// The connection is going.
    pub(super) fn forget(&self) {
        self.connection.set(std::ptr::null_mut());
    }
}

unsafe extern "C" fn add_handshake(log: *mut ngx_log_t, buf: *mut u8, len: usize) -> *mut u8 {
    // SAFETY: nginx passes the log, which is the start of a HandshakeLog, and a
    // buffer with room for `len` bytes; the connection's log is live.
    unsafe {
        let this = &*log.cast::<HandshakeLog>();
        let text = format!(", context: {}", this.title.get());
        let n = text.len().min(len);
        std::ptr::copy_nonoverlapping(text.as_ptr(), buf, n);
        let end = buf.add(n);
        let Some(connection) = this.connection.get().as_mut() else {
            return end;
        };
        let Some(handler) = connection.handler else {
            return end;
        };
        // What nginx does meanwhile is to wait.
        let action = std::mem::replace(&mut connection.action, std::ptr::null_mut());
        let end = handler(connection, end, len - n);
        connection.action = action;
        end
    }
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
