//! One outgoing connection: `ngx_connection_t` as a [`Transport`].
//!
//! The connection's `data` points to a box that this value owns; dropping the
//! value closes the connection first, so nginx never calls into freed memory.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::task::{Poll, Waker};

use ngx::ffi::{
    NGX_AGAIN, NGX_ERROR, NGX_OK, SSL, SSL_CTX, SSL_get_SSL_CTX, ngx_addr_t, ngx_close_connection,
    ngx_connection_log_error_e_NGX_ERROR_ERR, ngx_connection_t,
    ngx_connection_tcp_nodelay_e_NGX_TCP_NODELAY_DISABLED as TCP_NODELAY_DISABLED,
    ngx_connection_tcp_nodelay_e_NGX_TCP_NODELAY_UNSET as TCP_NODELAY_UNSET, ngx_cycle,
    ngx_destroy_pool, ngx_event_connect_peer, ngx_event_t, ngx_handle_read_event,
    ngx_handle_write_event, ngx_int_t, ngx_log_t, ngx_peer_connection_t, ngx_reusable_connection,
    ngx_str_t, ngx_tcp_nodelay,
};

use super::address::RawAddress;
use super::entry::{cycle_log, guard};
use super::side::{Side, mute};
use super::ssl::{self, SslSession};
use crate::rt::{Millis, wake_both_now, worker_local};
use crate::sock::{Direction, IdleKey, Timer, Transport};

/// OpenSSL counts bytes in an int.
pub(super) const MAX_TRANSFER: usize = 1 << 30;

/// A connection that nginx's event loop watches.
pub struct Connection {
    c: *mut ngx_connection_t,
    shared: Box<Shared>,
    connecting: bool,
    /// Something was sent, and nothing received since.
    unanswered: bool,
    /// TLS holds part of a record that the kernel did not take yet.
    unsent: bool,
    /// TLS swallowed this error of the system.
    swallowed: i32,
    /// The error of the system for which its events are not reported; else 0.
    unwatched: i32,
}

/// What event handlers see.
#[derive(Default)]
pub(super) struct Shared {
    read: Side,
    write: Side,
    idle: Cell<Option<IdleKey>>,
    /// Set by the TLS handshake, if there is one.
    pub(super) tls: RefCell<Option<Box<ssl::Origin>>>,
    pub(super) handshake: ssl::Waiting,
}

impl Shared {
    fn side(&self, dir: Direction) -> &Side {
        match dir {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// Who waits for an event of `dir`.
    fn take_wakers(&self, dir: Direction) -> [Option<Waker>; 2] {
        let other = match dir {
            Direction::Read => Direction::Write,
            Direction::Write => Direction::Read,
        };
        let (side, other) = (self.side(dir), self.side(other));
        let crossed = other.crossed.get();
        [
            side.waker.take(),
            crossed.then(|| other.waker.take()).flatten(),
        ]
    }
}

/// Why a connection could not be begun.
#[derive(Debug)]
pub enum ConnectFailed {
    /// A system call failed with this errno; nginx has logged it.
    System(i32),
    /// nginx has no free connection.
    NoConnection,
}

impl Connection {
    /// Begins to connect to `address` from `local`, each with its text for the log.
    ///
    /// `log` must live as long as the connection, or until
    /// [`Connection::set_log`] gives it another one.
    pub(super) fn connect(
        address: &RawAddress,
        name: &[u8],
        local: Option<(&RawAddress, &[u8])>,
        transparent: bool,
        log: *mut ngx_log_t,
    ) -> Result<Connection, ConnectFailed> {
        let mut name = ngx_str_t {
            len: name.len(),
            data: name.as_ptr().cast_mut(),
        };
        // SAFETY: zeros are nginx's initial state for both.
        let (mut peer, mut local_addr): (ngx_peer_connection_t, ngx_addr_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let (sockaddr, socklen) = address.parts();
        // nginx only reads addresses.
        peer.sockaddr = sockaddr.cast_mut().cast();
        peer.socklen = socklen;
        peer.name = &mut name;
        // SAFETY: a plain nginx callback that the peer connection wants.
        peer.get = Some(ngx::ffi::ngx_event_get_peer);
        peer.log = log;
        // What a peer does is no reason for an alert.
        peer.set_log_error(ngx_connection_log_error_e_NGX_ERROR_ERR);
        if let Some((local, name)) = local {
            let (sockaddr, socklen) = local.parts();
            local_addr.sockaddr = sockaddr.cast_mut().cast();
            local_addr.socklen = socklen;
            local_addr.name = ngx_str_t {
                len: name.len(),
                data: name.as_ptr().cast_mut(),
            };
            peer.local = &mut local_addr;
            peer.set_transparent(transparent.into());
        }
        // SAFETY: all that the peer refers to lives until the call is over;
        // nginx copies what it keeps.
        let rc = unsafe { ngx_event_connect_peer(&mut peer) };
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        let connected = rc == NGX_OK as ngx_int_t;
        if !connected && rc != NGX_AGAIN as ngx_int_t {
            if !peer.connection.is_null() {
                // SAFETY: nginx left the failed connection to us.
                unsafe { ngx_close_connection(peer.connection) };
            }
            // SAFETY: a worker has a current cycle.
            let free = unsafe { (*ngx_cycle).free_connection_n };
            return Err(if rc == NGX_ERROR as ngx_int_t && free == 0 {
                ConnectFailed::NoConnection
            } else {
                ConnectFailed::System(errno)
            });
        }
        // SAFETY: nginx made the connection for us.
        let mut connection = unsafe { Connection::watch(peer.connection) };
        connection.connecting = !connected;
        if address.family() == libc::AF_UNIX {
            connection.keep_tcp_delay();
        }
        Ok(connection)
    }

    /// The kernel is to send small pieces at once. By default it holds back
    /// what is sent before the answer to something earlier (Nagle), which
    /// together with the peer's delayed acknowledgement costs 40 ms.
    pub(super) fn no_tcp_delay(&mut self) {
        // SAFETY: the connection is live.
        unsafe {
            if (*self.c).tcp_nodelay() == TCP_NODELAY_UNSET {
                // nginx has logged a failure; what is sent may come late.
                let _ = ngx_tcp_nodelay(self.c);
            }
        }
    }

    /// Whatever the socket's setting is now: it stays.
    pub fn keep_tcp_delay(&mut self) {
        // SAFETY: the connection is live.
        unsafe { (*self.c).set_tcp_nodelay(TCP_NODELAY_DISABLED) }
    }

    /// Takes over a connection, and its events.
    ///
    /// # Safety
    /// `c` must be live and nobody else's.
    pub(super) unsafe fn watch(c: *mut ngx_connection_t) -> Connection {
        let shared = Box::<Shared>::default();
        // SAFETY: the connection is live by the caller's promise; the box
        // lives until Drop has closed the connection.
        unsafe { (*c).data = ptr::from_ref(&*shared).cast_mut().cast() };
        let connection = Connection {
            c,
            shared,
            connecting: false,
            unanswered: false,
            unsent: false,
            swallowed: 0,
            unwatched: 0,
        };
        connection.take_events();
        connection
    }

    /// nginx's connection.
    pub(super) fn raw(&self) -> *mut ngx_connection_t {
        self.c
    }

    /// Has nginx report events of the connection to us (again).
    pub(super) fn take_events(&self) {
        // SAFETY: the connection is live.
        unsafe {
            (*(*self.c).read).handler = Some(on_event);
            (*(*self.c).write).handler = Some(on_event);
        }
    }

    /// Whether the connection has TLS.
    pub fn has_tls(&self) -> bool {
        // SAFETY: the connection is live.
        unsafe { !(*self.c).ssl.is_null() && (*(*self.c).ssl).handshaked() != 0 }
    }

    /// OpenSSL's connection, null without TLS.
    pub fn ssl_ptr(&self) -> *mut SSL {
        // SAFETY: the connection is live.
        unsafe {
            match (*self.c).ssl.as_ref() {
                Some(ssl) => ssl.connection,
                None => ptr::null_mut(),
            }
        }
    }

    /// The SSL_CTX of the connection, null without TLS.
    pub fn ssl_ctx_ptr(&self) -> *mut SSL_CTX {
        let ssl = self.ssl_ptr();
        if ssl.is_null() {
            return ptr::null_mut();
        }
        // SAFETY: a live TLS connection has a context.
        unsafe { SSL_get_SSL_CTX(ssl) }
    }

    /// The latest TLS session.
    pub fn ssl_session(&self) -> SslSession {
        ssl::session_of(&self.shared)
    }

    /// What is to be done after a TLS read that returned `n`.
    ///
    /// nginx takes a reset connection for an orderly end, and says so
    /// perhaps only after data that came before.
    fn settle_tls_read(&mut self, n: isize) -> io::Result<()> {
        let errno = io::Error::last_os_error();
        self.uncross(Direction::Read);
        if let Some(errno @ (libc::ECONNRESET | libc::ETIMEDOUT)) = errno.raw_os_error() {
            self.swallowed = errno;
        }
        match n {
            0 if self.swallowed != 0 => Err(io::Error::from_raw_os_error(self.swallowed)),
            n if n == NGX_ERROR as isize => Err(system_error(&errno)),
            _ => Ok(()),
        }
    }

    /// Notes whether TLS made the operation that just ended wait for the
    /// other kind of event. nginx then swaps handlers, which fits one
    /// operation at a time only.
    fn uncross(&self, dir: Direction) {
        // SAFETY: the connection is live and has TLS.
        let crossed = unsafe { ssl::uncross(self.c) };
        if crossed {
            self.take_events();
        }
        self.shared.side(dir).crossed.set(crossed);
    }

    /// From now on nginx writes messages about the connection to `log`.
    pub(super) fn set_log(&mut self, log: *mut ngx_log_t) {
        // SAFETY: the connection is live.
        unsafe {
            (*self.c).log = log;
            (*(*self.c).read).log = log;
            (*(*self.c).write).log = log;
        }
    }

    pub(super) fn event(&self, dir: Direction) -> *mut ngx_event_t {
        // SAFETY: the connection is live.
        unsafe {
            match dir {
                Direction::Read => (*self.c).read,
                Direction::Write => (*self.c).write,
            }
        }
    }

    /// Fails where nobody would hear of what cannot be done at once: to wait
    /// again and again would never end.
    pub(super) fn check_watched(&self) -> io::Result<()> {
        match self.unwatched {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn set_idle(&mut self, idle: bool) {
        // SAFETY: the connection is live.
        unsafe {
            (*self.c).set_idle(idle.into());
            ngx_reusable_connection(self.c, idle.into());
        }
    }

    /// Ends the watch that [`Transport::park`] began.
    pub(super) fn unpark(&mut self, log: *mut ngx_log_t) {
        self.shared.idle.set(None);
        self.set_idle(false);
        self.set_log(log);
        self.shared.read.disarm();
    }
}

/// nginx's handler for both events.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: nginx calls only for live connections; `data` is the box
        // that the Connection owns until it has closed the connection.
        let (idle, wakers) = unsafe {
            let c = (*event).data.cast::<ngx_connection_t>();
            let shared = &*(*c).data.cast::<Shared>();
            let dir = match (*event).write() {
                0 => Direction::Read,
                _ => Direction::Write,
            };
            let by_timer = (*event).timedout() != 0;
            let early = by_timer && !shared.side(dir).expire(event);
            match shared.idle.get() {
                _ if early => (None, [None, None]),
                // That it is writable says nothing about an idle connection.
                Some(_) if dir == Direction::Write => (None, [None, None]),
                Some(_) if !by_timer && is_quiet(c) => (None, [None, None]),
                Some(key) => (Some(key), [None, None]),
                None => (None, shared.take_wakers(dir)),
            }
        };
        if idle.is_none() && matches!(wakers, [None, None]) {
            mute(event);
        }
        // Nothing of the connection is used any more: what follows may close it.
        if let Some(key) = idle {
            super::net::pools().on_idle_event(key);
        }
        wake_both_now(wakers);
    });
}

impl Transport for Connection {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.check_watched()?;
        clear_errno();
        // SAFETY: the connection is live and its recv the one that fits it.
        let n = unsafe {
            match (*self.c).recv {
                Some(recv) => recv(self.c, buf.as_mut_ptr(), buf.len().min(MAX_TRANSFER)),
                None => NGX_ERROR as isize,
            }
        };
        if self.has_tls() {
            self.settle_tls_read(n)?;
        }
        if n > 0 {
            self.unanswered = false;
        }
        from_nginx(n)
    }

    fn send(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check_watched()?;
        if self.unanswered {
            self.no_tcp_delay();
        }
        self.unanswered = true;
        clear_errno();
        // SAFETY: as recv; nginx only reads the data.
        let n = unsafe {
            match (*self.c).send {
                Some(send) => send(
                    self.c,
                    data.as_ptr().cast_mut(),
                    data.len().min(MAX_TRANSFER),
                ),
                None => NGX_ERROR as isize,
            }
        };
        if self.has_tls() {
            let errno = io::Error::last_os_error();
            self.uncross(Direction::Write);
            self.unsent = n == NGX_AGAIN as isize;
            if n == NGX_ERROR as isize {
                return Err(system_error(&errno));
            }
        }
        from_nginx(n)
    }

    fn ready(&self, dir: Direction) -> bool {
        // SAFETY: the connection is live.
        unsafe {
            (*self.event(dir)).ready() != 0
                || !(*self.c).ssl.is_null()
                    && (self.shared.side(dir).crossed.get()
                        || dir == Direction::Read && ssl::has_pending(self.c))
        }
    }

    #[inline(always)]
    fn wait(&mut self, dir: Direction, waker: &Waker, timer: Timer) {
        let event = self.event(dir);
        let side = self.shared.side(dir);
        side.waker.set(Some(waker.clone()));
        if let Timer::Arm(timeout) = timer {
            side.arm(event, timeout);
        }
        // SAFETY: the event belongs to the live connection.
        unsafe {
            let rc = match dir {
                Direction::Read => ngx_handle_read_event(event, 0),
                Direction::Write => ngx_handle_write_event(event, 0),
            };
            if rc != NGX_OK as ngx_int_t {
                let errno = io::Error::last_os_error().raw_os_error();
                self.unwatched = errno.filter(|&errno| errno != 0).unwrap_or(libc::EIO);
                (*event).set_ready(1);
                ngx::ffi::ngx_post_event(event, &raw mut ngx::ffi::ngx_posted_events);
            }
        }
    }

    fn timed_out(&self, dir: Direction) -> bool {
        self.shared.side(dir).timed_out.get()
    }

    #[inline(always)]
    fn cancel_wait(&mut self, dir: Direction) {
        let side = self.shared.side(dir);
        side.disarm();
        drop(side.waker.take());
    }

    fn connect_result(&mut self) -> Poll<io::Result<()>> {
        if !self.connecting {
            return Poll::Ready(Ok(()));
        }
        if !self.ready(Direction::Write) {
            return Poll::Pending;
        }
        self.check_watched()?;
        self.connecting = false;
        // SAFETY: the connection is live.
        if unsafe { (*(*self.c).write).pending_eof() } == 0 && !self.ready(Direction::Read) {
            // A socket with an error is readable as well.
            return Poll::Ready(Ok(()));
        }
        let mut errno: libc::c_int = 0;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: errno and len are as large as they say.
        let rc = unsafe {
            libc::getsockopt(
                self.fd(),
                libc::SOL_SOCKET,
                libc::SO_ERROR,
                (&raw mut errno).cast(),
                &mut len,
            )
        };
        Poll::Ready(match (rc, errno) {
            (0, 0) => Ok(()),
            (0, errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::Error::last_os_error()),
        })
    }

    fn disown(&mut self) {
        self.cancel_wait(Direction::Read);
        self.cancel_wait(Direction::Write);
        self.set_log(cycle_log());
    }

    fn park(&mut self, key: IdleKey, timeout: Option<Millis>) {
        self.shared.idle.set(Some(key));
        self.set_idle(true);
        let event = self.event(Direction::Read);
        if let Some(timeout) = timeout {
            self.shared.read.arm(event, timeout);
        }
        // SAFETY: the event belongs to the live connection.
        unsafe {
            if ngx_handle_read_event(event, 0) != NGX_OK as ngx_int_t || (*event).ready() != 0 {
                ngx::ffi::ngx_post_event(event, &raw mut ngx::ffi::ngx_posted_events);
            }
        }
    }

    fn is_quiet(&mut self) -> bool {
        // SAFETY: the connection is live.
        unsafe { is_quiet(self.c) }
    }

    fn fd(&self) -> RawFd {
        // SAFETY: the connection is live.
        unsafe { (*self.c).fd }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the connection is live and ours. nginx takes it out of
        // timers, queues and the poller before it closes the descriptor.
        unsafe {
            if (*self.c).reusable() != 0 {
                ngx_reusable_connection(self.c, 0);
            }
            ssl::close(self.c, !self.unsent);
            let pool = (*self.c).pool;
            ngx_close_connection(self.c);
            if !pool.is_null() {
                ngx_destroy_pool(pool);
            }
        }
    }
}

/// Whether nothing was received and nginx does not want the connection
/// closed; then waits for the next event.
///
/// # Safety
/// `c` must be a live connection.
unsafe fn is_quiet(c: *mut ngx_connection_t) -> bool {
    let mut byte = 0u8;
    // SAFETY: by the caller's promise; one byte of room is given, and a peek
    // changes nothing. nginx sets `close` when it wants idle connections gone.
    unsafe {
        if !(*c).ssl.is_null() {
            return (*c).close() == 0 && ssl::is_quiet(c);
        }
        let n = libc::recv((*c).fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK);
        let quiet = n < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
            && (*c).close() == 0;
        if quiet {
            (*(*c).read).set_ready(0);
        }
        quiet
    }
}

/// A count, or what nginx's I/O functions return otherwise.
pub(super) fn from_nginx(n: isize) -> io::Result<usize> {
    match usize::try_from(n) {
        Ok(n) => Ok(n),
        Err(_) if n == NGX_AGAIN as isize => Err(io::ErrorKind::WouldBlock.into()),
        Err(_) => Err(system_error(&io::Error::last_os_error())),
    }
}

/// An error of the system, or of the protocol where the system had none.
fn system_error(error: &io::Error) -> io::Error {
    io::Error::from_raw_os_error(match error.raw_os_error() {
        None | Some(0 | libc::EAGAIN | libc::EINTR) => libc::EPROTO,
        Some(errno) => errno,
    })
}

/// With TLS a call can fail without a failed system call: then no number of
/// an earlier one must be found.
pub(super) fn clear_errno() {
    // SAFETY: the place is the calling thread's own.
    unsafe {
        #[cfg(target_os = "linux")]
        let errno = libc::__errno_location();
        #[cfg(not(target_os = "linux"))]
        let errno = libc::__error();
        *errno = 0;
    }
}

/// A log that takes nothing but emergencies, for `lua_socket_log_errors off`.
pub(super) fn silent_log() -> *mut ngx_log_t {
    worker_local! {
        // SAFETY: zeros are a log of level 0 without a writer or file.
        static SILENT: UnsafeCell<ngx_log_t> = UnsafeCell::new(unsafe { std::mem::zeroed() });
    }
    SILENT.with(UnsafeCell::get)
}

/// The log for a connection: silent where its errors are not wanted.
pub(super) fn log_for(log: *mut ngx_log_t, log_errors: bool) -> *mut ngx_log_t {
    if log_errors { log } else { silent_log() }
}
