//! One outgoing connection: `ngx_connection_t` as a [`Transport`].
//!
//! The connection's `data` points to a box that this value owns; dropping the
//! value closes the connection first, so nginx never calls into freed memory.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::ptr;
use std::task::{Poll, Waker};

use ngx::ffi::{
    NGX_AGAIN, NGX_ERROR, NGX_OK, ngx_add_timer, ngx_addr_t, ngx_close_connection,
    ngx_connection_log_error_e_NGX_ERROR_ERR, ngx_connection_t, ngx_cycle, ngx_del_timer,
    ngx_event_connect_peer, ngx_event_t, ngx_handle_read_event, ngx_handle_write_event, ngx_int_t,
    ngx_log_t, ngx_msec_t, ngx_peer_connection_t, ngx_reusable_connection, ngx_str_t,
};

use super::entry::{cycle_log, guard};
use crate::rt::{Millis, wake_now};
use crate::sock::{Direction, IdleKey, Timer, Transport};

/// A connection that nginx's event loop watches.
pub struct Connection {
    c: *mut ngx_connection_t,
    shared: Box<Shared>,
    connecting: bool,
}

/// What event handlers see.
#[derive(Default)]
struct Shared {
    read: RefCell<Option<Waker>>,
    write: RefCell<Option<Waker>>,
    idle: Cell<Option<IdleKey>>,
}

impl Shared {
    fn waker(&self, dir: Direction) -> &RefCell<Option<Waker>> {
        match dir {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
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

/// A socket address in the form that the kernel takes.
#[derive(Clone, Copy)]
pub struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddress {
    /// The address as system calls take it.
    pub(super) fn parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        (ptr::from_ref(&self.storage).cast(), self.len)
    }

    /// Its `AF_` number.
    pub(super) fn family(&self) -> libc::c_int {
        self.storage.ss_family.into()
    }

    /// An IPv4 or IPv6 address.
    pub fn inet(address: SocketAddr) -> RawAddress {
        // SAFETY: zeros are a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let place = &raw mut storage;
        let len = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is larger than any address and aligned
                // for all of them.
                unsafe { place.cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        RawAddress {
            storage,
            len: len as libc::socklen_t,
        }
    }

    /// A unix socket's path; None when it is too long for the kernel.
    pub fn unix(path: &[u8]) -> Option<RawAddress> {
        // SAFETY: zeros are valid for both types.
        let (mut storage, mut raw): (libc::sockaddr_storage, libc::sockaddr_un) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        if path.len() >= raw.sun_path.len() {
            return None;
        }
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in raw.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        // SAFETY: the storage is larger than any address and aligned for all.
        unsafe { (&raw mut storage).cast::<libc::sockaddr_un>().write(raw) };
        Some(RawAddress {
            storage,
            len: size_of::<libc::sockaddr_un>() as libc::socklen_t,
        })
    }

    /// Has the kernel choose an address for a unix socket.
    pub(super) fn unnamed_unix() -> RawAddress {
        // SAFETY: zeros are a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        RawAddress {
            storage,
            len: size_of::<libc::sa_family_t>() as libc::socklen_t,
        }
    }
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
        let mut remote = *address;
        let mut name = ngx_str_t {
            len: name.len(),
            data: name.as_ptr().cast_mut(),
        };
        let mut local = local.map(|(address, name)| (*address, name));
        // SAFETY: zeros are nginx's initial state for both.
        let (mut peer, mut local_addr): (ngx_peer_connection_t, ngx_addr_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        peer.sockaddr = (&raw mut remote.storage).cast();
        peer.socklen = remote.len;
        peer.name = &mut name;
        // SAFETY: a plain nginx callback that the peer connection wants.
        peer.get = Some(ngx::ffi::ngx_event_get_peer);
        peer.log = log;
        // What a peer does is no reason for an alert.
        peer.set_log_error(ngx_connection_log_error_e_NGX_ERROR_ERR);
        if let Some((local, name)) = &mut local {
            local_addr.sockaddr = (&raw mut local.storage).cast();
            local_addr.socklen = local.len;
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
        Ok(connection)
    }

    /// Takes over a connection, and its events.
    ///
    /// # Safety
    /// `c` must be live and nobody else's.
    pub(super) unsafe fn watch(c: *mut ngx_connection_t) -> Connection {
        let shared = Box::<Shared>::default();
        // SAFETY: the connection is live by the caller's promise; the box
        // lives until Drop has closed the connection.
        unsafe {
            (*c).data = ptr::from_ref(&*shared).cast_mut().cast();
            (*(*c).read).handler = Some(on_event);
            (*(*c).write).handler = Some(on_event);
        }
        Connection {
            c,
            shared,
            connecting: false,
        }
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
        disarm(self.event(Direction::Read));
    }
}

fn disarm(event: *mut ngx_event_t) {
    // SAFETY: callers pass an event of a live connection.
    unsafe {
        if (*event).timer_set() != 0 {
            ngx_del_timer(event);
        }
        (*event).set_timedout(0);
    }
}

/// nginx's handler for both events.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: nginx calls only for live connections; `data` is the box
        // that the Connection owns until it has closed the connection.
        let (idle, waker) = unsafe {
            let c = (*event).data.cast::<ngx_connection_t>();
            let shared = &*(*c).data.cast::<Shared>();
            match shared.idle.get() {
                // That it is writable says nothing about an idle connection.
                Some(_) if (*event).write() != 0 => (None, None),
                Some(_) if (*event).timedout() == 0 && is_quiet(c) => (None, None),
                Some(key) => (Some(key), None),
                None if (*event).write() != 0 => (None, shared.write.borrow_mut().take()),
                None => (None, shared.read.borrow_mut().take()),
            }
        };
        // Nothing of the connection is used any more: what follows may close it.
        if let Some(key) = idle {
            super::net::pools().on_idle_event(key);
        } else if let Some(waker) = waker {
            wake_now(waker);
        }
    });
}

impl Transport for Connection {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the connection is live and its recv the one that fits it.
        let n = unsafe {
            match (*self.c).recv {
                Some(recv) => recv(self.c, buf.as_mut_ptr(), buf.len()),
                None => NGX_ERROR as isize,
            }
        };
        from_nginx(n)
    }

    fn send(&mut self, data: &[u8]) -> io::Result<usize> {
        // SAFETY: as recv; nginx only reads the data.
        let n = unsafe {
            match (*self.c).send {
                Some(send) => send(self.c, data.as_ptr().cast_mut(), data.len()),
                None => NGX_ERROR as isize,
            }
        };
        from_nginx(n)
    }

    fn ready(&self, dir: Direction) -> bool {
        // SAFETY: the connection is live.
        unsafe { (*self.event(dir)).ready() != 0 }
    }

    fn wait(&mut self, dir: Direction, waker: &Waker, timer: Timer) {
        let event = self.event(dir);
        *self.shared.waker(dir).borrow_mut() = Some(waker.clone());
        // SAFETY: the event belongs to the live connection.
        unsafe {
            if let Timer::Arm(timeout) = timer {
                // nginx keeps a timer that is set if the new one is less than
                // 300 ms later: progress would not count.
                disarm(event);
                ngx_add_timer(event, timeout as ngx_msec_t);
            }
            let rc = match dir {
                Direction::Read => ngx_handle_read_event(event, 0),
                Direction::Write => ngx_handle_write_event(event, 0),
            };
            if rc != NGX_OK as ngx_int_t {
                (*event).set_ready(1);
                ngx::ffi::ngx_post_event(event, &raw mut ngx::ffi::ngx_posted_events);
            }
        }
    }

    fn timed_out(&self, dir: Direction) -> bool {
        // SAFETY: the event belongs to the live connection.
        unsafe { (*self.event(dir)).timedout() != 0 }
    }

    fn cancel_wait(&mut self, dir: Direction) {
        disarm(self.event(dir));
        let waker = self.shared.waker(dir).borrow_mut().take();
        drop(waker);
    }

    fn connect_result(&mut self) -> Poll<io::Result<()>> {
        if !self.connecting {
            return Poll::Ready(Ok(()));
        }
        if !self.ready(Direction::Write) {
            return Poll::Pending;
        }
        self.connecting = false;
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
        // SAFETY: the event belongs to the live connection.
        unsafe {
            if let Some(timeout) = timeout {
                ngx_add_timer(event, timeout as ngx_msec_t);
            }
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
            ngx_close_connection(self.c);
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
fn from_nginx(n: isize) -> io::Result<usize> {
    match usize::try_from(n) {
        Ok(n) => Ok(n),
        Err(_) if n == NGX_AGAIN as isize => Err(io::ErrorKind::WouldBlock.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// A log that takes nothing but emergencies, for `lua_socket_log_errors off`.
pub(super) fn silent_log() -> *mut ngx_log_t {
    thread_local! {
        static SILENT: &'static mut ngx_log_t =
            // SAFETY: zeros are a log of level 0 without a writer or file.
            Box::leak(Box::new(unsafe { std::mem::zeroed() }));
    }
    SILENT.with(|log| ptr::from_ref::<ngx_log_t>(log).cast_mut())
}

/// The log for a connection: silent where its errors are not wanted.
pub(super) fn log_for(log: *mut ngx_log_t, log_errors: bool) -> *mut ngx_log_t {
    if log_errors { log } else { silent_log() }
}
