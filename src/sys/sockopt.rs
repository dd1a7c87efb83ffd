//! Socket options by the names that Lua uses.

use std::io;
use std::os::fd::RawFd;
use std::os::raw::c_int;

/// An option of `sock:setoption`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    KeepAlive,
    ReuseAddr,
    TcpNoDelay,
    SndBuf,
    RcvBuf,
    KeepIdle,
    KeepIntvl,
    KeepCnt,
    IpTransparent,
}

impl SocketOption {
    /// The option called `name`.
    pub fn from_name(name: &[u8]) -> Option<SocketOption> {
        Some(match name {
            b"keepalive" => SocketOption::KeepAlive,
            b"reuseaddr" => SocketOption::ReuseAddr,
            b"tcp-nodelay" => SocketOption::TcpNoDelay,
            b"sndbuf" => SocketOption::SndBuf,
            b"rcvbuf" => SocketOption::RcvBuf,
            b"keepidle" => SocketOption::KeepIdle,
            b"keepintvl" => SocketOption::KeepIntvl,
            b"keepcnt" => SocketOption::KeepCnt,
            b"ip-transparent" => SocketOption::IpTransparent,
            _ => return None,
        })
    }

    fn level_and_name(self) -> (c_int, c_int) {
        match self {
            SocketOption::KeepAlive => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
            SocketOption::ReuseAddr => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
            SocketOption::SndBuf => (libc::SOL_SOCKET, libc::SO_SNDBUF),
            SocketOption::RcvBuf => (libc::SOL_SOCKET, libc::SO_RCVBUF),
            SocketOption::TcpNoDelay => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
            SocketOption::KeepIdle => (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
            SocketOption::KeepIntvl => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
            SocketOption::KeepCnt => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
            SocketOption::IpTransparent => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
        }
    }

    /// Sets the option of the socket `fd`.
    ///
    /// # Errors
    /// What `setsockopt` failed with.
    pub fn set(self, fd: RawFd, value: c_int) -> io::Result<()> {
        let (level, name) = self.level_and_name();
        // SAFETY: the value is an int of the given size.
        let rc = unsafe {
            libc::setsockopt(
                fd,
                level,
                name,
                (&raw const value).cast(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
        if rc == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The option's value on the socket `fd`.
    ///
    /// # Errors
    /// What `getsockopt` failed with.
    pub fn get(self, fd: RawFd) -> io::Result<c_int> {
        let (level, name) = self.level_and_name();
        let mut value: c_int = 0;
        let mut len = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: the value has room for `len` bytes.
        let rc = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) };
        if rc == 0 {
            Ok(value)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
