//! The connect sequence: an idle connection of the pool; else a slot of the pool, parse, resolve
//! and connect.
//!
//! A queued connect waits under the connect timeout and gets a fresh one with its slot. Resolving
//! is under nginx's `resolver_timeout`. All addresses of a name share one connect timeout.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use crate::rt::{Deadline, Millis};
use crate::sock::address::{Address, HostPort, Target};
use crate::sock::error::{Error, ResolveError, Stage};
use crate::sock::net::{Local, Net};
use crate::sock::pool::{Acquired, Lease, Ticket};
use crate::sock::pool_name::PoolName;
use crate::sock::stream::{Begun, Connecting, Connection, Idle, Membership, TcpPools, TcpSocket};
use crate::sock::transport::{Direction, Timer, Transport};

/// The arguments of a connect, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    pub target: Target,
    /// The pool's name: `opts.pool`, else `host:port` as given, else the unix string.
    pub pool: Box<[u8]>,
    /// `opts.pool_size`, or the directive's where only `backlog` was given. `None`: this connect
    /// creates no pool.
    pub pool_size: Option<usize>,
    pub backlog: Option<usize>,
}

/// Why a connect failed, and on the way to where. `Display` is the string handed to Lua.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    pub error: Error,
    /// `ADDR:PORT` being connected to, or `HOST:PORT` while queued.
    pub peer: Option<Box<str>>,
}

impl ConnectError {
    pub(super) fn at(error: Error, peer: &impl fmt::Display) -> Self {
        Self {
            error,
            peer: Some(peer.to_string().into()),
        }
    }

    /// The line for the error log; see [`Error::log_line`].
    pub fn log_line(&self) -> Option<String> {
        self.error.log_line(self.peer.as_deref())
    }
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        Self { error, peer: None }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for ConnectError {}

/// The beginning of a connect: closes the connection the socket has, and takes one from the pool
/// called `pool`. `None`: that was all; else go on with [`connect_directly`] or [`connect`].
///
/// # Errors
/// The busy strings; nothing was closed then.
#[inline(always)]
pub fn connect_idle<N: Net>(
    socket: &TcpSocket<N::Transport>,
    net: &N,
    pools: &TcpPools<N::Transport>,
    pool: PoolName<'_>,
) -> Result<Option<Connecting<N::Transport>>, Error> {
    let connecting = socket.begin_connect()?;
    while let Some((lease, idle)) = pools.take_idle(pool) {
        if let Ok(connection) = reuse(net, lease, idle) {
            connecting.install(connection);
            return Ok(None);
        }
    }
    Ok(Some(connecting))
}

/// Begins to connect to an address that need not be looked for, where there is no pool of that
/// name and none is asked for. `None`: it takes a [`connect`].
///
/// # Errors
/// As [`connect`].
pub fn connect_directly<N: Net>(
    connecting: Connecting<N::Transport>,
    net: &N,
    pools: &TcpPools<N::Transport>,
    pool: PoolName<'_>,
) -> Option<BegunConnect<N::Transport>> {
    let PoolName::Peer(host, port) = pool else {
        return None;
    };
    if pools.contains(pool) {
        return None;
    }
    let address = Address::literal(host, port)?;
    let name = pool.text();
    let socket = connecting.socket();
    Some(match net.connect(&address, &name, &socket.local()) {
        Ok(transport) => Begun::Pending(DirectConnect {
            timer: Timer::Arm(socket.timeouts().connect),
            under_way: Some((
                Connection::fresh(transport, Membership::Named(name)),
                connecting,
            )),
            address,
        }),
        Err(error) => Begun::Ready(Err(ConnectError::at(error, &address))),
    })
}

/// What a connect came to at once.
pub type BegunConnect<T> = Begun<Result<(), ConnectError>, DirectConnect<T>>;

/// A connect to the only address there is. Dropping it gives everything back.
pub struct DirectConnect<T: Transport> {
    /// `None` once it is over.
    under_way: Option<(Box<Connection<T>>, Connecting<T>)>,
    timer: Timer,
    address: Address,
}

impl<T: Transport> DirectConnect<T> {
    /// Goes on with it.
    ///
    /// # Errors
    /// As [`connect`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        let Some((connection, _)) = &mut self.under_way else {
            return Poll::Pending;
        };
        let result = ready!(poll_established(
            &mut connection.transport,
            &mut self.timer,
            cx
        ));
        Poll::Ready(match (result, self.under_way.take()) {
            (Ok(()), Some((connection, connecting))) => {
                connecting.install(connection);
                Ok(())
            }
            (Ok(()), None) => Ok(()),
            (Err(error), closed) => {
                drop(closed);
                Err(ConnectError::at(error, &self.address))
            }
        })
    }
}

/// Connects `socket`. Takes its connecting slot when first polled; dropping the future gives
/// everything back: the slot, the place in the queue, the query, the half-open connection.
///
/// # Errors
/// See the sheet, section 5.
pub async fn connect<N: Net>(
    socket: TcpSocket<N::Transport>,
    net: N,
    pools: TcpPools<N::Transport>,
    request: ConnectRequest,
) -> Result<(), ConnectError> {
    let connecting = socket.begin_connect()?;
    let timeout = socket.timeouts().connect;
    let ConnectRequest {
        target,
        pool,
        pool_size,
        backlog,
    } = request;
    let (lease, idle) = match pools.acquire(&pool, pool_size, backlog) {
        Acquired::Unpooled => (None, None),
        Acquired::Slot(lease) => (Some(lease), None),
        Acquired::Hit(lease, idle) => (Some(lease), Some(idle)),
        Acquired::Full => return Err(Error::TooManyWaiting.into()),
        Acquired::Queued(ticket) => match wait_in_queue(&net, ticket, timeout).await {
            Some((lease, idle)) => (Some(lease), idle),
            None => return Err(ConnectError::at(Error::Timeout(Stage::Queue), &target)),
        },
    };
    let membership = match (lease, idle) {
        (Some(lease), Some(idle)) => match reuse(&net, lease, idle) {
            Ok(connection) => {
                connecting.install(connection);
                return Ok(());
            }
            // It died while nobody looked: its slot serves for a new one.
            Err(lease) => Membership::Leased(lease),
        },
        (Some(lease), None) => Membership::Leased(lease),
        (None, _) => Membership::Named(pool),
    };
    let addresses = find(&net, &target).await?;
    let transport = connect_to_any(&net, &addresses, &socket.local(), timeout).await?;
    connecting.install(Connection::fresh(transport, membership));
    Ok(())
}

/// A connection that is taken over, or the leave to open another one.
type Reused<T> = Result<Box<Connection<T>>, Lease<Idle<T>>>;

/// Takes over a connection of the pool, or drops it if something happened on it that the event
/// loop did not report yet.
#[inline(always)]
fn reuse<N: Net>(
    net: &N,
    lease: Lease<Idle<N::Transport>>,
    mut idle: Idle<N::Transport>,
) -> Reused<N::Transport> {
    let transport = idle.transport();
    net.adopt(transport);
    if transport.ready(Direction::Read) && !transport.is_quiet() {
        return Err(lease);
    }
    Ok(idle.reuse(lease))
}

/// `None`: timed out.
async fn wait_in_queue<N: Net>(
    net: &N,
    ticket: Ticket<Idle<N::Transport>>,
    timeout: Millis,
) -> Option<(Lease<Idle<N::Transport>>, Option<Idle<N::Transport>>)> {
    let mut ticket = pin!(ticket);
    let mut timer = pin!(net.sleep(timeout));
    poll_fn(|cx| match ticket.as_mut().poll(cx) {
        Poll::Ready(granted) => Poll::Ready(Some(granted)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Parses and, if need be, resolves. At least one address.
async fn find<N: Net>(net: &N, target: &Target) -> Result<Vec<Address>, Error> {
    match parse(target)? {
        HostPort::Address(address) => Ok(vec![address]),
        HostPort::Name { name, port } => resolve(net, name, port).await,
    }
}

pub(super) fn parse(target: &Target) -> Result<HostPort, Error> {
    target
        .parse()
        .map_err(|reason| Error::unresolved(target.name(), ResolveError::NoHost(reason)))
}

/// At least one address.
pub(super) async fn resolve<N: Net>(
    net: &N,
    name: Box<str>,
    port: u16,
) -> Result<Vec<Address>, Error> {
    match net.resolve(&name, port).await {
        Ok(addresses) if !addresses.is_empty() => {
            Ok(addresses.into_iter().map(Address::Ip).collect())
        }
        Ok(_) => Err(Error::unresolved(name, ResolveError::host_not_found())),
        Err(error) => Err(Error::unresolved(name, error)),
    }
}

/// The addresses in turn, beginning anywhere.
pub(super) fn in_turn<'a, N: Net>(
    net: &N,
    addresses: &'a [Address],
) -> impl Iterator<Item = &'a Address> {
    let start = match addresses.len() {
        0 | 1 => 0,
        count => net.random() as usize % count,
    };
    let (before, from) = addresses
        .split_at_checked(start)
        .unwrap_or((&[], addresses));
    from.iter().chain(before)
}

/// Tries the addresses in turn, beginning anywhere. A refused connect leaves the rest of the time
/// to the others; the last failure is the one reported.
async fn connect_to_any<N: Net>(
    net: &N,
    addresses: &[Address],
    local: &Local,
    timeout: Millis,
) -> Result<N::Transport, ConnectError> {
    let deadline = Deadline::after(net.now(), timeout);
    let mut left = Some(timeout);
    let mut failure = ConnectError::from(Error::NoLiveConnection);
    for address in in_turn(net, addresses) {
        let Some(time) = left else {
            return Err(ConnectError::at(Error::Timeout(Stage::Connect), address));
        };
        let attempt = match net.connect(address, &address.text(), local) {
            Ok(transport) => established(transport, time).await,
            Err(error) => Err(error),
        };
        match attempt {
            Ok(transport) => return Ok(transport),
            Err(error) => {
                let last = error.is_timeout();
                failure = ConnectError::at(error, address);
                if last {
                    break;
                }
            }
        }
        left = deadline.remaining(net.now());
    }
    Err(failure)
}

/// Waits until `transport` is connected. Dropping it closes it.
async fn established<T: Transport>(mut transport: T, timeout: Millis) -> Result<T, Error> {
    let mut timer = Timer::Arm(timeout);
    poll_fn(|cx| poll_established(&mut transport, &mut timer, cx)).await?;
    Ok(transport)
}

/// `timer`: what the next wait does to it.
fn poll_established<T: Transport>(
    transport: &mut T,
    timer: &mut Timer,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    match transport.connect_result() {
        Poll::Ready(Ok(())) => {
            if *timer == Timer::Keep {
                transport.cancel_wait(Direction::Write);
            }
            Poll::Ready(Ok(()))
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(Error::from_io(&error, Stage::Connect))),
        Poll::Pending if *timer == Timer::Keep && transport.timed_out(Direction::Write) => {
            Poll::Ready(Err(Error::Timeout(Stage::Connect)))
        }
        Poll::Pending => {
            transport.wait(Direction::Write, cx.waker(), *timer);
            *timer = Timer::Keep;
            Poll::Pending
        }
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
