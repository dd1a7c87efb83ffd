//! The socket engine: everything a cosocket does, without nginx and without Lua.
//!
//! * [`transport`] and [`net`] are what a backend supplies: one byte stream or datagram
//!   socket, and the means to make one (resolve, connect, time, randomness).
//! * [`stream`] is the socket object: slots, halves, timeouts, reading and writing; `received`
//!   hands out what is there already.
//! * [`datagram`] is the datagram socket: UDP and unix.
//! * [`mod@connect`] is the connect sequence, [`pool`] the keepalive pools, [`pool_name`] what
//!   they are asked for by.
//! * [`framing`], [`until`] and [`rxbuf`] cut the received bytes into results.
//! * [`error`] holds every failure with its Lua-visible text.
//!
//! Rule of the house: no `RefCell` borrow is held while a waker is woken or a connection is
//! dropped, because a waker may resume Lua at once and come back in here.
#![forbid(unsafe_code)]

pub mod address;
pub mod connect;
pub mod datagram;
pub mod error;
pub mod framing;
pub mod net;
pub mod ops;
pub mod pool;
pub mod pool_name;
mod received;
pub mod rxbuf;
pub mod stream;
pub mod transport;
pub mod until;

#[cfg(test)]
pub mod mock;

pub use address::{Address, HostPort, Target};
pub use connect::{
    ConnectError, ConnectRequest, DirectConnect, connect, connect_directly, connect_idle,
};
pub use datagram::{DatagramSocket, ReceiveOp, Received};
pub use error::{Error, Operation, ResolveError, Stage};
pub use framing::{Mode, Piece};
pub use net::{DatagramNet, Local, Net};
pub use ops::{ReadOp, SendOp};
pub use pool::{IdleKey, Poolable, Pools};
pub use pool_name::PoolName;
pub use rxbuf::Buffers;
pub use stream::{
    Begun, Connecting, Exclusive, Idle, ReadOutcome, Status, TcpPools, TcpSocket, Timeouts,
};
pub use transport::{DatagramTransport, Direction, Timer, Transport};
pub use until::Until;
