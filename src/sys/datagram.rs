//! One datagram socket: `ngx_connection_t` as a [`DatagramTransport`].
//!
//! nginx's own functions for it would cost system calls that are not needed (one to make the
//! socket non-blocking, an event for being writable) and take an empty datagram for an error.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::task::Waker;

use ngx::ffi::{ngx_get_connection, ngx_log_t};

use super::address::RawAddress;
use super::connection::{ConnectFailed, Connection};
use crate::sock::{DatagramTransport, Direction, Timer, Transport};

/// A datagram socket that has a peer, watched by nginx's event loop once somebody waits.
pub struct Datagram(Connection);

impl Datagram {
    /// Opens a socket for datagrams to and from `address`.
    ///
    /// `log` must live as long as the socket.
    pub(super) fn open(
        address: &RawAddress,
        local: Option<&RawAddress>,
        log: *mut ngx_log_t,
    ) -> Result<Datagram, ConnectFailed> {
        let socket = new_socket(address, local)
            .map_err(|e| ConnectFailed::System(e.raw_os_error().unwrap_or(libc::EIO)))?;
        // SAFETY: the descriptor is open and the log live.
        let c = unsafe { ngx_get_connection(socket.as_raw_fd(), log) };
        if c.is_null() {
            return Err(ConnectFailed::NoConnection);
        }
        // From here on the connection closes it.
        let _ = socket.into_raw_fd();
        // SAFETY: nginx just handed the connection out. Its events lack
        // nothing but a log and their handlers.
        unsafe {
            (*(*c).read).log = log;
            (*(*c).write).log = log;
            Ok(Datagram(Connection::watch(c)))
        }
    }
}

fn new_socket(address: &RawAddress, local: Option<&RawAddress>) -> io::Result<OwnedFd> {
    let family = address.family();
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain system calls; a descriptor that comes back is nobody
    // else's, the addresses are as long as they say.
    unsafe {
        let fd = check(libc::socket(family, kind, 0))?;
        let socket = OwnedFd::from_raw_fd(fd);
        if let Some(local) = local {
            let (sockaddr, len) = local.parts();
            check(libc::bind(fd, sockaddr, len))?;
        }
        let (sockaddr, len) = address.parts();
        check(libc::connect(fd, sockaddr, len))?;
        Ok(socket)
    }
}

/// The result of a system call.
fn check(result: libc::c_int) -> io::Result<RawFd> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// Repeats a system call that a signal interrupted.
fn uninterrupted(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(n) = usize::try_from(call()) {
            return Ok(n);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

impl DatagramTransport for Datagram {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.check_watched()?;
        let fd = self.0.fd();
        // SAFETY: the descriptor is open and the buffer has the given room.
        let result =
            uninterrupted(|| unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) });
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::WouldBlock
        {
            // SAFETY: the connection is live.
            unsafe { (*self.0.event(Direction::Read)).set_ready(0) };
        }
        result
    }

    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let fd = self.0.fd();
        // SAFETY: the descriptor is open and the data as long as it says.
        uninterrupted(|| unsafe {
            libc::send(fd, data.as_ptr().cast(), data.len(), libc::MSG_NOSIGNAL)
        })
        .map(drop)
    }

    fn ready(&self) -> bool {
        self.0.ready(Direction::Read)
    }

    fn wait(&mut self, waker: &Waker, timer: Timer) {
        self.0.wait(Direction::Read, waker, timer);
    }

    fn timed_out(&self) -> bool {
        self.0.timed_out(Direction::Read)
    }

    fn cancel_wait(&mut self) {
        self.0.cancel_wait(Direction::Read);
    }
}
