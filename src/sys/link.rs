//! The byte stream under a TCP socket object: a connection that Lua made, or
//! the client's own.

use std::io;
use std::os::fd::RawFd;
use std::task::{Poll, Waker};

use super::connection::Connection;
use super::downstream::Downstream;
use crate::rt::Millis;
use crate::sock::{Direction, IdleKey, Timer, Transport};

/// A byte stream of either kind.
pub enum Link {
    /// Made by `connect`.
    Outgoing(Connection),
    /// Given by `ngx.req.socket`.
    Downstream(Downstream),
}

impl Link {
    /// The connection that Lua made, if it is one.
    pub fn outgoing(&mut self) -> Option<&mut Connection> {
        match self {
            Link::Outgoing(connection) => Some(connection),
            Link::Downstream(_) => None,
        }
    }

    /// The handler that used the stream has ended; another one may come.
    pub(super) fn settle(&mut self) {
        if let Link::Downstream(downstream) = self {
            downstream.settle();
        }
    }

    /// Whether this is a request socket.
    pub fn is_downstream(&self) -> bool {
        matches!(self, Link::Downstream(_))
    }
}

/// Calls a method of whatever the link is.
macro_rules! each {
    ($link:expr, $stream:ident => $call:expr) => {
        match $link {
            Link::Outgoing($stream) => $call,
            Link::Downstream($stream) => $call,
        }
    };
}

impl Transport for Link {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.recv(buf))
    }

    fn send(&mut self, data: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.send(data))
    }

    fn ready(&self, dir: Direction) -> bool {
        each!(self, stream => stream.ready(dir))
    }

    fn wait(&mut self, dir: Direction, waker: &Waker, timer: Timer) {
        each!(self, stream => stream.wait(dir, waker, timer));
    }

    fn timed_out(&self, dir: Direction) -> bool {
        each!(self, stream => stream.timed_out(dir))
    }

    fn cancel_wait(&mut self, dir: Direction) {
        each!(self, stream => stream.cancel_wait(dir));
    }

    fn connect_result(&mut self) -> Poll<io::Result<()>> {
        each!(self, stream => stream.connect_result())
    }

    fn disown(&mut self) {
        each!(self, stream => stream.disown());
    }

    fn park(&mut self, key: IdleKey, timeout: Option<Millis>) {
        each!(self, stream => stream.park(key, timeout));
    }

    fn is_quiet(&mut self) -> bool {
        each!(self, stream => stream.is_quiet())
    }

    fn fd(&self) -> RawFd {
        each!(self, stream => stream.fd())
    }
}
