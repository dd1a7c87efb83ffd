//! The TCP socket object: one connection or none, and who is using it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::rt::Millis;
use crate::sock::error::Error;
use crate::sock::framing::{Mode, Piece};
use crate::sock::net::Local;
use crate::sock::pool::Pools;
use crate::sock::rxbuf::Buffers;
use crate::sock::transport::Transport;

/// Inactivity timeouts in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Millis,
    pub send: Millis,
    pub read: Millis,
}

/// Whether there is a connection, for the errors that tell never from no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Never connected.
    New,
    /// Connected; a half may be closed.
    Open,
    /// Was connected.
    Closed,
}

/// What a call came to at once: a result, or an operation to park and poll.
pub enum Begun<R, Op> {
    Ready(R),
    Pending(Op),
}


/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The data (push it with [`TcpSocket::take`]).
    Data(Piece),
    /// The call after the last piece of `iterator(size)`: `nil, nil, nil`.
    EndOfPieces,
    /// `nil, error, partial`; no third value without a piece.
    Failed(Error, Option<Piece>),
}

/// A connection in a keepalive pool.
pub struct Idle<T> {
    pub(crate) transport: T,
    pub(crate) reused: u32,
    pub(crate) timeout: Option<Millis>,
}

/// A stream socket as Lua holds it. Cheap to clone: all clones are one socket. Dropping the last
/// one closes the connection. No method panics, whatever the order of calls.
pub struct TcpSocket<T: Transport>(std::marker::PhantomData<T>);

impl<T: Transport> TcpSocket<T> {
    /// A socket without a connection. `buffer_size` is `lua_socket_buffer_size`; `defaults`
    /// are the timeouts of the directives.
    pub fn new(_buffers: &Buffers, _buffer_size: usize, _defaults: Timeouts) -> Self { todo!() }

    /// `settimeouts`: `None` leaves the directive's value in force. Applies from the next wait.
    pub fn set_timeouts(&self, _connect: Option<Millis>, _send: Option<Millis>, _read: Option<Millis>) { todo!() }

    /// `bind` and `ip-transparent`, for later connects.
    pub fn set_local(&self, _local: Local) { todo!() }

    pub fn local(&self) -> Local { todo!() }

    pub fn status(&self) -> Status { todo!() }

    /// How often the connection was taken from a pool.
    pub fn reused_times(&self) -> Result<u32, Error> { todo!() }

    /// The connection itself, for `getfd`, options and TLS queries; `None` without one. `f` must
    /// not call into this socket.
    pub fn with_transport<R>(&self, _f: impl FnOnce(&mut T) -> R) -> Option<R> { todo!() }

    /// `receive`, `receiveany`, the `receiveuntil` iterator.
    pub fn read(&self, _mode: Mode) -> Begun<ReadOutcome, ReadOp<T>> { todo!() }

    /// Lets `f` see the bytes of `piece` (at most a copy into a Lua string), then drops them from
    /// the buffer. The socket is not borrowed while `f` runs, only its reading slot is taken.
    pub fn take<R>(&self, _piece: Piece, _f: impl FnOnce(&[u8]) -> R) -> R { todo!() }

    /// `send`: ready with the byte count once everything is in the kernel. Only a remainder is copied.
    pub fn send(&self, _data: &[u8]) -> Begun<Result<usize, Error>, SendOp<T>> { todo!() }

    /// `setkeepalive`. `size` is used if this creates the pool. `timeout`: `None` = no limit.
    /// `exiting`: the worker exits, just close.
    pub fn keepalive(
        &self,
        _pools: &Pools<Idle<T>>,
        _timeout: Option<Millis>,
        _size: usize,
        _exiting: bool,
    ) -> Result<(), Error> { todo!() }

    /// `close`: errors are `closed` and the busy strings.
    pub fn close(&self) -> Result<(), Error> { todo!() }

    /// The handler ended: closes whatever is open. Drop the parked operations first: they would
    /// not be woken any more.
    pub fn abandon(&self) { todo!() }
}

/// A read that waits. Dropping it before it is complete (the light thread was killed) closes the
/// connection, or only the read half while another light thread is sending.
#[must_use = "dropping a read closes the connection"]
pub struct ReadOp<T: Transport>(std::marker::PhantomData<T>);

impl<T: Transport> Future for ReadOp<T> {
    type Output = ReadOutcome;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<ReadOutcome> { todo!() }
}

/// A send that waits; the count of all bytes of the call when complete. Dropping it early closes
/// the connection, or only the write half while another light thread is reading.
#[must_use = "dropping a send closes the connection"]
pub struct SendOp<T: Transport>(std::marker::PhantomData<T>);

impl<T: Transport> Future for SendOp<T> {
    type Output = Result<usize, Error>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> { todo!() }
}
