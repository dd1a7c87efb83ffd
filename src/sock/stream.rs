//! The TCP socket object: one connection or none, and who is using it.
//!
//! Three slots say who: connecting, reading, writing. A read and a send may be under way at the
//! same time; everything else wants the socket to itself. A connection has two halves; an error
//! closes the half it happened on, and the connection is dropped once both are closed.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::io;
use std::num::NonZero;
use std::rc::Rc;

use crate::rt::Millis;
use crate::sock::error::{Error, Operation, Stage};
use crate::sock::framing::{Frame, Mode, Piece};
use crate::sock::net::Local;
use crate::sock::ops::ReadOp;
use crate::sock::pool::{IdleKey, Lease, Poolable, Pools};
use crate::sock::rxbuf::{Buffers, RxBuf};
use crate::sock::transport::{Direction, Transport};

fn not_connected() -> Error {
    Error::NotConnected(Stage::Other)
}

/// Inactivity timeouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Millis,
    pub send: Millis,
    pub read: Millis,
}

/// Whether there is a connection, for the errors that tell never from no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `connect` was never called.
    New,
    /// Connected; one half may be closed.
    Open,
    /// No longer connected.
    Closed,
}

/// What a call came to at once: a result, or an operation to park and poll.
#[derive(Debug)]
pub enum Begun<R, Op> {
    Ready(R),
    Pending(Op),
}

/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The data; push them with [`TcpSocket::take`].
    Data(Piece),
    /// The call after the last piece of `iterator(size)`: `nil, nil, nil`.
    EndOfPieces,
    /// `nil, error, partial`; no third value without a piece.
    Failed(Error, Option<Piece>),
}

/// A connection in a keepalive pool: whole, and nobody's.
pub struct Idle<T: Transport>(Box<Connection<T>>);

impl<T: Transport> Poolable for Idle<T> {
    fn park(&mut self, key: IdleKey) {
        let connection = &mut *self.0;
        connection
            .transport
            .park(key, connection.keep.map(NonZero::get));
    }
}

impl<T: Transport> Idle<T> {
    /// The connection; see [`Net::adopt`](crate::sock::Net::adopt).
    pub(crate) fn transport(&mut self) -> &mut T {
        &mut self.0.transport
    }

    /// Ends the idleness.
    pub(crate) fn reuse(mut self, lease: Lease<Idle<T>>) -> Box<Connection<T>> {
        self.0.reused = self.0.reused.saturating_add(1);
        self.0.membership = Membership::Leased(lease);
        self.0
    }
}

/// The pools of a worker's TCP sockets.
pub type TcpPools<T> = Pools<Idle<T>>;

/// How a connection belongs to a pool.
pub(crate) enum Membership<T: Transport> {
    /// It holds one of the pool's slots.
    Leased(Lease<Idle<T>>),
    /// There was no pool; `setkeepalive` will use, or create, the one of this name.
    Named(Box<[u8]>),
    /// It is idle in a pool.
    Idle,
}

/// An established connection, as a socket owns it. It stays where it is in memory when it goes
/// to a pool and comes back.
pub(crate) struct Connection<T: Transport> {
    // Dropped first: the descriptor is closed before the slot of the pool is passed on.
    pub(super) transport: T,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// `receive("*a")` or `setkeepalive` met the end: no read has failed, so the half stays open,
    /// with nothing to wait for.
    pub(super) ended: bool,
    reused: u32,
    membership: Membership<T>,
    /// How long it may be idle; `None` is no limit.
    keep: Option<NonZero<Millis>>,
}

impl<T: Transport> Connection<T> {
    pub(crate) fn fresh(transport: T, membership: Membership<T>) -> Box<Self> {
        Box::new(Self {
            transport,
            readable: true,
            writable: true,
            ended: false,
            reused: 0,
            membership,
            keep: None,
        })
    }

    /// Whether a read that needs more than was received cannot but wait.
    #[inline]
    pub(super) fn must_wait(&self) -> bool {
        self.readable && !self.ended && !self.transport.ready(Direction::Read)
    }
}

/// A set of operations under way.
#[derive(Clone, Copy)]
pub(super) struct Slots(u8);

impl Slots {
    pub(super) const ANY: [Operation; 3] = [
        Operation::Connecting,
        Operation::Reading,
        Operation::Writing,
    ];

    fn bit(operation: Operation) -> u8 {
        1 << operation as u8
    }

    pub(super) fn has(self, operation: Operation) -> bool {
        self.0 & Self::bit(operation) != 0
    }

    pub(super) fn set(&mut self, operation: Operation) {
        self.0 |= Self::bit(operation);
    }

    pub(super) fn clear(&mut self, operation: Operation) {
        self.0 &= !Self::bit(operation);
    }

    /// The first of `operations` that is under way is an error.
    pub(super) fn idle(self, operations: &[Operation]) -> Result<(), Error> {
        if self.0 == 0 {
            return Ok(());
        }
        match operations.iter().find(|&&operation| self.has(operation)) {
            Some(&operation) => Err(Error::Busy(operation)),
            None => Ok(()),
        }
    }
}

pub(super) struct Socket<T: Transport> {
    pub(super) connection: Option<Box<Connection<T>>>,
    /// `connect` was called.
    used: bool,
    pub(super) slots: Slots,
    defaults: Timeouts,
    pub(super) timeouts: Timeouts,
    local: Local,
}

impl<T: Transport> Socket<T> {
    /// Takes out a connection of which both halves are closed.
    pub(super) fn take_dead(&mut self) -> Option<Box<Connection<T>>> {
        self.connection
            .take_if(|connection| !(connection.readable || connection.writable))
    }

    /// Whether a read may begin.
    #[inline(always)]
    pub(super) fn may_read(&self) -> bool {
        let free = self
            .slots
            .idle(&[Operation::Connecting, Operation::Reading])
            .is_ok();
        free && matches!(&self.connection, Some(connection) if connection.readable)
    }

    /// Whether a read that needs more than was received cannot but wait.
    #[inline]
    pub(super) fn must_wait(&self) -> bool {
        matches!(&self.connection, Some(connection) if connection.must_wait())
    }

    pub(super) fn close_half(&mut self, dir: Direction) {
        if let Some(connection) = &mut self.connection {
            match dir {
                Direction::Read => connection.readable = false,
                Direction::Write => connection.writable = false,
            }
        }
    }
}

pub(super) struct Shared<T: Transport> {
    pub(super) socket: RefCell<Socket<T>>,
    /// Outlives the connection: a failed read leaves its partial result here. Borrowed while
    /// Lua copies a piece, which counts as reading; hence the cell of its own.
    pub(super) rx: RefCell<RxBuf>,
}

/// A stream socket as Lua holds it. Cheap to clone: all clones are one socket. Dropping the last
/// one closes the connection. No method panics, whatever the order of calls, except from within
/// the closure of [`with_transport`](Self::with_transport).
pub struct TcpSocket<T: Transport>(pub(super) Rc<Shared<T>>);

impl<T: Transport> Clone for TcpSocket<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Transport> fmt::Debug for TcpSocket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TcpSocket").field(&self.status()).finish()
    }
}

impl<T: Transport> TcpSocket<T> {
    /// A socket without a connection. `buffer_size` is `lua_socket_buffer_size`; `defaults` are
    /// the timeouts of the directives.
    pub fn new(buffers: &Buffers, buffer_size: usize, defaults: Timeouts) -> Self {
        let socket = Socket {
            connection: None,
            used: false,
            slots: Slots(0),
            defaults,
            timeouts: defaults,
            local: Local::default(),
        };
        let rx = RxBuf::new(buffers.clone(), buffer_size);
        Self(Rc::new(Shared {
            socket: RefCell::new(socket),
            rx: RefCell::new(rx),
        }))
    }

    /// A socket that had a connection, and has none any more.
    pub fn closed(buffers: &Buffers) -> Self {
        let socket = Self::new(buffers, 0, Timeouts::default());
        socket.0.socket.borrow_mut().used = true;
        socket
    }

    /// A socket on a connection that is there already, such as the client's.
    pub fn over(transport: T, buffers: &Buffers, buffer_size: usize, defaults: Timeouts) -> Self {
        let socket = Self::new(buffers, buffer_size, defaults);
        {
            let mut inner = socket.0.socket.borrow_mut();
            inner.used = true;
            let membership = Membership::Named(Box::default());
            inner.connection = Some(Connection::fresh(transport, membership));
        }
        socket
    }

    /// `settimeout` and `settimeouts`; 0 and `None` bring the directive's value back. Applies
    /// from the next time an operation begins to wait.
    pub fn set_timeouts(
        &self,
        connect: Option<Millis>,
        send: Option<Millis>,
        read: Option<Millis>,
    ) {
        let mut socket = self.0.socket.borrow_mut();
        let defaults = socket.defaults;
        let or = |given: Option<Millis>, default| given.filter(|&ms| ms > 0).unwrap_or(default);
        socket.timeouts = Timeouts {
            connect: or(connect, defaults.connect),
            send: or(send, defaults.send),
            read: or(read, defaults.read),
        };
    }

    /// The timeouts in force.
    pub fn timeouts(&self) -> Timeouts {
        self.0.socket.borrow().timeouts
    }

    /// `bind` and the option `ip-transparent`: for later connects.
    pub fn set_local(&self, local: Local) {
        self.0.socket.borrow_mut().local = local;
    }

    /// What [`set_local`](Self::set_local) set.
    pub fn local(&self) -> Local {
        self.0.socket.borrow().local
    }

    /// Whether there is a connection.
    pub fn status(&self) -> Status {
        let socket = self.0.socket.borrow();
        match socket.connection {
            Some(_) => Status::Open,
            None if socket.used => Status::Closed,
            None => Status::New,
        }
    }

    /// `getreusedtimes`: how often the connection was taken from a pool.
    ///
    /// # Errors
    /// `closed`.
    pub fn reused_times(&self) -> Result<u32, Error> {
        let socket = self.0.socket.borrow();
        let connection = socket.connection.as_ref().ok_or_else(not_connected)?;
        Ok(connection.reused)
    }

    /// The connection itself, for `getfd`, options and TLS queries; `None` without one. The
    /// socket is borrowed meanwhile: `f` must not call Lua.
    pub fn with_transport<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut socket = self.0.socket.borrow_mut();
        socket
            .connection
            .as_mut()
            .map(|connection| f(&mut connection.transport))
    }

    /// `receive`, `receiveany`, the iterator of `receiveuntil`. Ready outcomes include the busy
    /// strings and `closed`; a pending operation holds the reading slot.
    pub fn read(&self, mode: Mode) -> Begun<ReadOutcome, ReadOp<T>> {
        let mut frame = Frame::new(mode);
        let advance = {
            let mut socket = self.0.socket.borrow_mut();
            let idle = socket
                .slots
                .idle(&[Operation::Connecting, Operation::Reading]);
            let mut rx = match idle.and_then(|()| self.rx()) {
                Ok(rx) => rx,
                Err(busy) => return Begun::Ready(ReadOutcome::Failed(busy, None)),
            };
            if frame.take_end() {
                return Begun::Ready(ReadOutcome::EndOfPieces);
            }
            socket.advance(&mut rx, &mut frame)
        };
        match advance {
            Ok(outcome) => {
                if matches!(outcome, ReadOutcome::Failed(..)) {
                    self.reap();
                }
                Begun::Ready(outcome)
            }
            Err(stalled) => Begun::Pending(ReadOp::new(self.clone(), frame, stalled.want)),
        }
    }

    /// The receive buffer, unless a piece of it is being taken.
    #[inline]
    pub(super) fn rx(&self) -> Result<RefMut<'_, RxBuf>, Error> {
        self.0
            .rx
            .try_borrow_mut()
            .map_err(|_| Error::Busy(Operation::Reading))
    }

    /// Lets `f` see the bytes of `piece` (to copy them into a Lua string), then drops them from
    /// the buffer. Until then the socket counts as busy reading, so a garbage collection that `f`
    /// sets off may do with it what it likes. If `f` unwinds, the bytes stay.
    #[inline]
    pub fn take<R>(&self, piece: Piece, f: impl FnOnce(&[u8]) -> R) -> R {
        let result = match self.0.rx.try_borrow() {
            Ok(rx) => f(rx.head(piece.len)),
            // Only from within another `take`.
            Err(_) => return f(&[]),
        };
        if let Ok(mut rx) = self.0.rx.try_borrow_mut() {
            rx.consume(piece.used);
        }
        result
    }

    /// `setkeepalive`. `timeout`: `None` is no limit. `size` is used if this creates the pool.
    /// `exiting`: the worker exits, so the connection is just closed.
    ///
    /// # Errors
    /// `closed`, also where the peer has closed; the busy strings, `unread data in buffer`;
    /// `connection in dubious state`, which closes it.
    pub fn keepalive(
        &self,
        pools: &TcpPools<T>,
        timeout: Option<Millis>,
        size: usize,
        exiting: bool,
    ) -> Result<(), Error> {
        let mut connection = {
            let mut socket = self.0.socket.borrow_mut();
            socket.slots.idle(&Slots::ANY)?;
            let mut rx = self.rx()?;
            let connection = socket.connection.as_ref().ok_or_else(not_connected)?;
            if !exiting {
                if !(connection.readable && connection.writable) || connection.ended {
                    return Err(Error::Closed);
                }
                if !rx.is_empty() {
                    return Err(Error::UnreadData);
                }
            }
            rx.clear();
            socket.connection.take().ok_or_else(not_connected)?
        };
        if exiting {
            return Ok(());
        }
        if connection.transport.ready(Direction::Read) && !connection.transport.is_quiet() {
            // An end is reported once only: nobody may wait for it again.
            match connection.transport.recv(&mut [0]) {
                Ok(0) => connection.ended = true,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    connection.readable = false;
                }
                // The look at TLS takes a byte, which may have been the only one.
                _ => return Err(Error::DubiousState),
            }
            self.0.socket.borrow_mut().connection = Some(connection);
            return Err(Error::Closed);
        }
        connection.transport.disown();
        connection.keep = timeout.and_then(NonZero::new);
        match std::mem::replace(&mut connection.membership, Membership::Idle) {
            Membership::Leased(lease) => pools.put(lease, Idle(connection)),
            Membership::Named(name) => pools.put_new(&name, size, Idle(connection)),
            Membership::Idle => {}
        }
        Ok(())
    }

    /// `close`.
    ///
    /// # Errors
    /// `closed` and the busy strings.
    pub fn close(&self) -> Result<(), Error> {
        let closed = {
            let mut socket = self.0.socket.borrow_mut();
            socket.slots.idle(&Slots::ANY)?;
            self.rx()?.clear();
            socket.connection.take()
        };
        closed.map(drop).ok_or_else(not_connected)
    }

    /// The handler ended: closes whatever is open, busy or not. Drop the parked operations
    /// first; they would not be woken any more.
    pub fn abandon(&self) {
        let closed = self.0.socket.borrow_mut().connection.take();
        drop(closed);
        if let Ok(mut rx) = self.rx() {
            rx.clear();
        }
    }

    /// [`abandon`](Self::abandon), where most often nobody else holds the socket.
    #[inline]
    pub fn give_up(self) {
        // Dropping the last one closes it.
        if Rc::strong_count(&self.0) > 1 {
            self.abandon();
        }
    }

    /// Takes the connecting slot and closes the connection there may be.
    #[inline(always)]
    pub(crate) fn begin_connect(&self) -> Result<Connecting<T>, Error> {
        let closed = {
            let mut socket = self.0.socket.borrow_mut();
            socket.slots.idle(&Slots::ANY)?;
            self.rx()?.clear();
            socket.slots.set(Operation::Connecting);
            socket.used = true;
            socket.connection.take()
        };
        drop(closed);
        Ok(Connecting(self.clone()))
    }

    /// Takes the whole socket, as for a TLS handshake.
    ///
    /// # Errors
    /// `closed`, also where only one half is, and the busy strings.
    pub fn exclusive(&self) -> Result<Exclusive<T>, Error> {
        let mut socket = self.0.socket.borrow_mut();
        socket.slots.idle(&Slots::ANY)?;
        if !matches!(&socket.connection, Some(c) if c.readable && c.writable && !c.ended) {
            return Err(not_connected());
        }
        socket.slots.set(Operation::Connecting);
        drop(socket);
        Ok(Exclusive(self.clone()))
    }

    /// Drops a connection of which both halves are closed. Must be called unborrowed.
    pub(super) fn reap(&self) {
        let dead = self.0.socket.borrow_mut().take_dead();
        drop(dead);
    }
}

/// A socket that nothing else can use meanwhile; given back on drop.
pub struct Exclusive<T: Transport>(TcpSocket<T>);

impl<T: Transport> Exclusive<T> {
    /// The connection; `None` when it was closed from outside, by the end of
    /// the handler. `f` must not call Lua.
    pub fn with_transport<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.with_transport(f)
    }

    /// Whether something was received and not read yet.
    pub fn has_unread(&self) -> bool {
        self.0.rx().is_ok_and(|rx| !rx.is_empty())
    }

    /// The timeouts in force.
    pub fn timeouts(&self) -> Timeouts {
        self.0.timeouts()
    }

    /// Closes the connection.
    pub fn close(&self) {
        self.0.abandon();
    }
}

impl<T: Transport> Drop for Exclusive<T> {
    fn drop(&mut self) {
        let mut socket = self.0.0.socket.borrow_mut();
        socket.slots.clear(Operation::Connecting);
    }
}

/// The connecting slot of a socket; given back on drop.
pub struct Connecting<T: Transport>(TcpSocket<T>);

impl<T: Transport> Connecting<T> {
    /// The socket that is to be connected.
    pub fn socket(&self) -> &TcpSocket<T> {
        &self.0
    }

    /// The connect succeeded.
    #[inline(always)]
    pub(crate) fn install(self, connection: Box<Connection<T>>) {
        self.0.0.socket.borrow_mut().connection = Some(connection);
    }
}

impl<T: Transport> Drop for Connecting<T> {
    fn drop(&mut self) {
        let mut socket = self.0.0.socket.borrow_mut();
        socket.slots.clear(Operation::Connecting);
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
