//! What the engine needs from one byte stream, and from one datagram socket. Implemented over
//! `ngx_connection_t` by `sys` (plaintext and TLS alike), and by the scripted peers of the tests.

use std::io;
use std::os::fd::RawFd;
use std::task::{Poll, Waker};

use crate::rt::Millis;
use crate::sock::pool::IdleKey;

/// One half of a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// What [`Transport::wait`] does to the inactivity timer of its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Start it anew: the operation just began to wait, or made progress and must wait again.
    Arm(Millis),
    /// Leave it running: the operation was polled without having made progress.
    Keep,
}

/// One connected, or connecting, non-blocking byte stream. Dropping it closes it: both waits
/// are forgotten, both timers disarmed, the descriptor closed.
///
/// No method may wake a waker or call into the engine before it returns; events are delivered
/// from the event loop.
pub trait Transport {
    /// Reads what is there. `Ok(0)` is end of file; `ErrorKind::WouldBlock` means nothing yet,
    /// and clears [`ready`](Self::ready). `buf` is never empty. `EINTR` is retried inside.
    ///
    /// Other errors carry the system's errno (`raw_os_error`).
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as the kernel takes, at least one byte, or fails with
    /// `ErrorKind::WouldBlock`. `data` is never empty.
    fn send(&mut self, data: &[u8]) -> io::Result<usize>;

    /// Whether `recv` (or `send`) is worth a system call: nginx's `ev->ready`. A hint that may
    /// be true without need, but never false while progress is possible and no event is due.
    fn ready(&self, dir: Direction) -> bool;

    /// Asks for one wake-up of `waker` when `dir` becomes ready, fails, or times out. Replaces
    /// an earlier waker of the same direction. After the wake-up the waker is forgotten and the
    /// timer keeps running (unless it fired) until the next `wait` or [`cancel_wait`](Self::cancel_wait).
    ///
    /// Also sees to it that the event is enabled (nginx: `ngx_handle_read_event`); where that
    /// fails, it makes `dir` ready so that the next call reports the error.
    fn wait(&mut self, dir: Direction, waker: &Waker, timer: Timer);

    /// Whether the timer of `dir` fired since it was last armed. Cleared by
    /// `wait(.., Timer::Arm(_))` and by `cancel_wait`.
    fn timed_out(&self, dir: Direction) -> bool;

    /// Forgets the waker and the timer. Cheap when there is neither.
    fn cancel_wait(&mut self, dir: Direction);

    /// Whether the connect begun by [`Net::connect`](crate::sock::Net::connect) has ended:
    /// pending until the socket is writable, then the value of `SO_ERROR`.
    fn connect_result(&mut self) -> Poll<io::Result<()>>;

    /// The handler that used the connection is done with it: from now on it belongs to the
    /// worker (nginx: log and data of the cycle), since it may outlive the handler. Called before
    /// it is parked, or handed to a connect that waits for it; [`Net::adopt`] ends it.
    ///
    /// [`Net::adopt`]: crate::sock::Net::adopt
    fn disown(&mut self);

    /// Begins to watch the idle connection; it now counts as reusable. Data, end of file, an
    /// error, nginx's wish to close it, or `timeout` passing (`None` = no limit) makes the backend
    /// call [`Pools::on_idle_event`] with `key`. [`Net::adopt`] ends it.
    ///
    /// [`Pools::on_idle_event`]: crate::sock::Pools::on_idle_event
    /// [`Net::adopt`]: crate::sock::Net::adopt
    fn park(&mut self, key: IdleKey, timeout: Option<Millis>);

    /// Whether the peer has sent nothing: no data, no end of file, no error (a peek that answers
    /// `EAGAIN`; on TLS, records that carry no application data are swallowed). Asked only when
    /// `ready(Read)`; clears that hint when the answer is yes.
    fn is_quiet(&mut self) -> bool;

    /// The file descriptor, for `getfd` and socket options.
    fn fd(&self) -> RawFd;
}

/// A non-blocking datagram socket that has a peer. Dropping it closes it.
///
/// The rules of [`Transport`] hold: no method wakes a waker before it
/// returns, events are delivered from the event loop.
pub trait DatagramTransport {
    /// Receives one datagram; what does not fit into `buf` is lost. `ErrorKind::WouldBlock`
    /// means that there is none, and clears [`ready`](Self::ready).
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Sends one datagram, which may be empty.
    fn send(&mut self, data: &[u8]) -> io::Result<()>;

    /// Whether `recv` is worth a system call.
    fn ready(&self) -> bool;

    /// Asks for one wake-up of `waker` when there is something to receive, or time is up.
    fn wait(&mut self, waker: &Waker, timer: Timer);

    /// Whether the timer fired since it was last armed.
    fn timed_out(&self) -> bool;

    /// Forgets the waker and disarms the timer.
    fn cancel_wait(&mut self);
}
