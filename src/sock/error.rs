//! Everything that can go wrong, with the text Lua gets (`Display`) and the line the error log
//! gets ([`Error::log_line`]).

use std::fmt;
use std::io;

/// The operation that occupies a slot of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Connecting,
    Reading,
    Writing,
}

/// What a socket was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a slot of a keepalive pool.
    Queue,
    Connect,
    Read,
    Write,
}

/// Why a socket operation failed. `Display` is the exact string handed to Lua.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer closed the connection.
    Closed,
    /// The socket was never connected, or this half of it is closed: `closed` as well, but logged.
    NotConnected(Stage),
    /// Another light thread is in this operation.
    Busy(Operation),
    /// No progress within the timeout. On a read the connection stays open.
    Timeout(Stage),
    /// The client went away (request sockets).
    ClientAborted,
    /// A system call failed.
    System { errno: i32, stage: Stage },
    /// The backlog of the pool is full.
    TooManyWaiting,
    /// `host` is not one: the reason in nginx's words.
    BadHost { host: Box<str>, reason: &'static str },
    /// The name could not be resolved.
    Resolve { host: Box<str>, error: ResolveError },
    /// nginx has no connection left.
    NoLiveConnection,
    /// A result would be too large, or memory is short.
    NoMemory,
    /// `setkeepalive` with received data that were not read.
    UnreadData,
    /// `setkeepalive` on a connection of which one half is closed.
    InvalidConnection,
    /// `setkeepalive` on a connection on which the peer sent something, or end of file.
    DubiousState,
}

/// Why a name could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// No `resolver` directive applies.
    NoResolver,
    /// The query could not be started.
    NotStarted,
    /// The resolver is gone while the query ran.
    NotWorking,
    /// nginx's resolver code and its text, such as 3 and `Host not found`.
    Failed { code: i32, text: Box<str> },
}
