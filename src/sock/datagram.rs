//! The datagram socket: UDP and unix. One peer or none, and who is using it.
//!
//! Choosing a peer, which may have to resolve a name, wants the socket to itself; so does closing
//! it. One light thread may wait for a datagram while others send: a send never waits.
//!
//! An error concerns one datagram, so the socket stays open: a peer that refuses today may be
//! back when the query is sent again.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::rt::Millis;
use crate::sock::address::{Address, HostPort, Target};
use crate::sock::connect::{ConnectError, in_turn, parse, resolve};
use crate::sock::error::{Error, Stage};
use crate::sock::net::{DatagramNet, Local};
use crate::sock::rxbuf::Buffers;
use crate::sock::stream::Begun;
use crate::sock::transport::{DatagramTransport, Timer};

/// The largest datagram that is received whole.
pub const LARGEST: usize = 65536;

struct Socket<T> {
    transport: Option<T>,
    connecting: bool,
    receiving: bool,
    buffers: Buffers,
    default_timeout: Millis,
    timeout: Millis,
    local: Local,
}

impl<T: DatagramTransport> Socket<T> {
    fn idle(&self) -> Result<(), Error> {
        match self.connecting || self.receiving {
            true => Err(Error::InUse),
            false => Ok(()),
        }
    }

    /// Receives a datagram if there is one.
    #[inline(always)]
    fn receive(&mut self, size: usize) -> Result<Option<Received>, Error> {
        match &mut self.transport {
            Some(transport) if transport.ready() => {
                Self::receive_from(transport, &self.buffers, size)
            }
            Some(_) => Ok(None),
            None => Err(Error::NotConnected(Stage::Datagram)),
        }
    }

    fn receive_from(
        transport: &mut T,
        buffers: &Buffers,
        size: usize,
    ) -> Result<Option<Received>, Error> {
        let mut received = Received::new(buffers)?;
        let room = received.buf.get_mut(..size.min(LARGEST));
        match transport.recv(room.unwrap_or_default()) {
            Ok(len) => {
                received.len = len;
                Ok(Some(received))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Error::from_io(&error, Stage::Datagram)),
        }
    }
}

/// One received datagram, in a buffer that goes back to the worker when this is dropped.
pub struct Received {
    buf: Vec<u8>,
    len: usize,
    buffers: Buffers,
}

impl Received {
    fn new(buffers: &Buffers) -> Result<Self, Error> {
        Ok(Self {
            buf: buffers.get(LARGEST)?,
            len: 0,
            buffers: buffers.clone(),
        })
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.buffers.put(std::mem::take(&mut self.buf));
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Received").field(&&**self).finish()
    }
}

/// A datagram socket as Lua holds it. Cheap to clone: all clones are one socket. Dropping the
/// last one closes it. No method panics, whatever the order of calls.
pub struct DatagramSocket<T>(Rc<RefCell<Socket<T>>>);

impl<T> Clone for DatagramSocket<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: DatagramTransport> DatagramSocket<T> {
    /// A socket without a peer. `default_timeout` is the directive's for reading.
    pub fn new(buffers: &Buffers, default_timeout: Millis) -> Self {
        Self(Rc::new(RefCell::new(Socket {
            transport: None,
            connecting: false,
            receiving: false,
            buffers: buffers.clone(),
            default_timeout,
            timeout: default_timeout,
            local: Local::default(),
        })))
    }

    /// `settimeout`: of later receives; 0 and `None` bring the directive's value back.
    pub fn set_timeout(&self, timeout: Option<Millis>) {
        let mut socket = self.0.borrow_mut();
        socket.timeout = timeout
            .filter(|&ms| ms > 0)
            .unwrap_or(socket.default_timeout);
    }

    /// `bind`: for later peers.
    pub fn set_local(&self, local: Local) {
        self.0.borrow_mut().local = local;
    }

    /// `setpeername`: closes the socket that was there and opens one with the peer `target`.
    /// Waits only where a name must be resolved; dropping the operation cancels the query.
    pub fn set_peer<N>(
        &self,
        net: N,
        target: &Target,
    ) -> Begun<Result<(), ConnectError>, impl Future<Output = Result<(), ConnectError>> + use<T, N>>
    where
        N: DatagramNet<Datagram = T>,
    {
        let connecting = match self.begin_connect() {
            Ok(connecting) => connecting,
            Err(busy) => return Begun::Ready(Err(busy.into())),
        };
        match parse(target) {
            Err(error) => Begun::Ready(Err(error.into())),
            Ok(HostPort::Address(address)) => Begun::Ready(connecting.open(&net, &[address])),
            Ok(HostPort::Name { name, port }) => Begun::Pending(async move {
                let addresses = resolve(&net, name, port).await?;
                connecting.open(&net, &addresses)
            }),
        }
    }

    /// `setpeername` with an address that need not be looked for.
    ///
    /// # Errors
    /// As [`set_peer`](Self::set_peer).
    pub fn set_address<N>(&self, net: &N, address: &Address) -> Result<(), ConnectError>
    where
        N: DatagramNet<Datagram = T>,
    {
        let connecting = self.begin_connect()?;
        connecting
            .open_at(net, address)
            .map_err(|error| ConnectError::at(error, address))
    }

    fn begin_connect(&self) -> Result<Connecting<T>, Error> {
        let closed = {
            let mut socket = self.0.borrow_mut();
            socket.idle()?;
            socket.connecting = true;
            socket.transport.take()
        };
        drop(closed);
        Ok(Connecting(self.clone()))
    }

    /// `send`: one datagram.
    ///
    /// # Errors
    /// `closed` without a peer, `socket busy` while one is being chosen, the system's message.
    pub fn send(&self, data: &[u8]) -> Result<(), Error> {
        let mut socket = self.0.borrow_mut();
        if socket.connecting {
            return Err(Error::InUse);
        }
        let Some(transport) = &mut socket.transport else {
            return Err(Error::NotConnected(Stage::Write));
        };
        transport
            .send(data)
            .map_err(|error| Error::from_io(&error, Stage::Write))
    }

    /// `receive`: one datagram, cut off after `size` bytes.
    pub fn receive(&self, size: usize) -> Begun<Result<Received, Error>, ReceiveOp<T>> {
        let mut socket = self.0.borrow_mut();
        let received = socket.idle().and_then(|()| socket.receive(size));
        match received {
            Ok(Some(received)) => Begun::Ready(Ok(received)),
            Ok(None) => {
                socket.receiving = true;
                Begun::Pending(ReceiveOp {
                    socket: self.clone(),
                    size,
                    timer: Some(Timer::Arm(socket.timeout)),
                })
            }
            Err(error) => Begun::Ready(Err(error)),
        }
    }

    /// `close`.
    ///
    /// # Errors
    /// `closed` without a peer, `socket busy`.
    pub fn close(&self) -> Result<(), Error> {
        let closed = {
            let mut socket = self.0.borrow_mut();
            socket.idle()?;
            socket.transport.take()
        };
        match closed {
            Some(_) => Ok(()),
            None => Err(Error::NotConnected(Stage::Other)),
        }
    }

    /// The handler ended: closes the socket, busy or not. Drop the parked operations first; they
    /// would not be woken any more.
    pub fn abandon(&self) {
        let closed = self.0.borrow_mut().transport.take();
        drop(closed);
    }
}

/// A peer is being chosen; over when this is dropped.
struct Connecting<T>(DatagramSocket<T>);

impl<T> Connecting<T> {
    /// Opens the first of `addresses` that can be had.
    fn open<N>(&self, net: &N, addresses: &[Address]) -> Result<(), ConnectError>
    where
        N: DatagramNet<Datagram = T>,
    {
        let mut failure = ConnectError::from(Error::NoLiveConnection);
        for address in in_turn(net, addresses) {
            match self.open_at(net, address) {
                Ok(()) => return Ok(()),
                Err(error) => failure = ConnectError::at(error, address),
            }
        }
        Err(failure)
    }

    fn open_at<N>(&self, net: &N, address: &Address) -> Result<(), Error>
    where
        N: DatagramNet<Datagram = T>,
    {
        let local = self.0.0.borrow().local;
        let transport = net.open(address, &local)?;
        self.0.0.borrow_mut().transport = Some(transport);
        Ok(())
    }
}

impl<T> Drop for Connecting<T> {
    fn drop(&mut self) {
        self.0.0.borrow_mut().connecting = false;
    }
}

/// A receive that waits. Dropping it before it is complete (the light thread was killed) closes
/// the socket.
#[must_use = "dropping a receive closes the socket"]
pub struct ReceiveOp<T: DatagramTransport> {
    socket: DatagramSocket<T>,
    size: usize,
    /// What the next wait does to the timer; `None` once the operation is over.
    timer: Option<Timer>,
}

impl<T: DatagramTransport> ReceiveOp<T> {
    fn finish(timer: &mut Option<Timer>, socket: &mut Socket<T>) {
        if let (Some(Timer::Keep), Some(transport)) = (timer.take(), &mut socket.transport) {
            transport.cancel_wait();
        }
        socket.receiving = false;
    }
}

impl<T: DatagramTransport> Future for ReceiveOp<T> {
    type Output = Result<Received, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            socket,
            size,
            timer,
        } = &mut *self;
        let mut inner = socket.0.borrow_mut();
        let result = match (inner.receive(*size), &mut inner.transport) {
            (Ok(None), Some(transport)) => {
                if *timer != Some(Timer::Keep) || !transport.timed_out() {
                    transport.wait(cx.waker(), timer.unwrap_or(Timer::Keep));
                    *timer = Some(Timer::Keep);
                    return Poll::Pending;
                }
                Err(Error::Timeout(Stage::Datagram))
            }
            (Ok(None), None) => Err(Error::NotConnected(Stage::Datagram)),
            (Ok(Some(received)), _) => Ok(received),
            (Err(error), _) => Err(error),
        };
        Self::finish(timer, &mut inner);
        Poll::Ready(result)
    }
}

impl<T: DatagramTransport> Drop for ReceiveOp<T> {
    fn drop(&mut self) {
        if self.timer.is_none() {
            return;
        }
        let closed = {
            let mut socket = self.socket.0.borrow_mut();
            Self::finish(&mut self.timer, &mut socket);
            socket.transport.take()
        };
        drop(closed);
    }
}

#[cfg(test)]
#[path = "datagram_tests.rs"]
mod tests;
