//! The connect sequence: pool, backlog, parse, resolve, connect.

use std::fmt;

use crate::sock::address::Target;
use crate::sock::error::Error;
use crate::sock::net::Net;
use crate::sock::pool::Pools;
use crate::sock::stream::{Idle, TcpSocket};

/// The arguments of a connect, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    pub target: Target,
    /// The pool's key: `opts.pool`, else `host:port` as given, else the unix string.
    pub pool: Box<[u8]>,
    /// `opts.pool_size`, or the directive's where only `backlog` was given. `None`: this connect
    /// creates no pool.
    pub pool_size: Option<usize>,
    pub backlog: Option<usize>,
}

/// Why a connect failed, and towards where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    pub error: Error,
    /// `ADDR:PORT` being connected to, or `HOST:PORT` while queued; for the log line.
    pub peer: Option<Box<str>>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { let _ = f; todo!() }
}

/// The part of a connect that never waits: closes the socket's connection, then takes one from
/// the pool named `pool`. `None`: call [`connect`].
///
/// # Errors
/// The busy strings (nothing is closed then).
pub fn try_connect_now<N: Net>(
    _socket: &TcpSocket<N::Transport>,
    _net: &N,
    _pools: &Pools<Idle<N::Transport>>,
    _pool: &[u8],
) -> Option<Result<(), Error>> { todo!() }

/// Connects `socket`. It takes the connecting slot when first polled; dropping the future gives everything back.
pub async fn connect<N: Net>(
    _socket: TcpSocket<N::Transport>,
    _net: N,
    _pools: Pools<Idle<N::Transport>>,
    _request: ConnectRequest,
) -> Result<(), ConnectError> { todo!() }
