//! What a connect needs from the backend.

use std::future::Future;
use std::net::SocketAddr;

use crate::rt::Millis;
use crate::sock::address::Address;
use crate::sock::error::{Error, ResolveError};
use crate::sock::transport::{DatagramTransport, Transport};

/// How the local end is set up before connecting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Address (and port, 0 = any) to bind to: `sock:bind`. Not used for unix sockets.
    pub bind: Option<SocketAddr>,
    /// Set `IP_TRANSPARENT` before binding.
    pub transparent: bool,
}

/// The network as one handler (request, timer) sees it: a small value that knows the handler's
/// resolver and log. Owned by the connect operation.
pub trait Net {
    type Transport: Transport;

    /// Resolves `host` under nginx's `resolver_timeout`, and puts `port` to every address. An
    /// empty list counts as "host not found". Dropping the future cancels the query.
    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = Result<Vec<SocketAddr>, ResolveError>>;

    /// Starts a non-blocking connect; `name` is the address as text, for the log. The transport
    /// may be connected already (unix sockets); see [`Transport::connect_result`].
    ///
    /// # Errors
    /// What failed at once: [`Error::System`] with [`Stage::Begin`](crate::sock::Stage) for a
    /// failed system call, which is logged already; [`Error::NoLiveConnection`] where nginx has no connection left.
    fn connect(
        &self,
        address: &Address,
        name: &[u8],
        local: &Local,
    ) -> Result<Self::Transport, Error>;

    /// Makes a connection of the worker belong to this handler (log, data): the end of
    /// [`Transport::disown`] and, where it was idle, of [`Transport::park`] (no timer, not
    /// watched, no longer reusable).
    fn adopt(&self, transport: &mut Self::Transport);

    /// Completes after `timeout`; disarmed when dropped. Must hold up a graceful shutdown.
    fn sleep(&self, timeout: Millis) -> impl Future<Output = ()>;

    /// The worker's clock (`ngx_current_msec`).
    fn now(&self) -> Millis;

    /// A random number, to choose among several addresses.
    fn random(&self) -> u32;
}

/// The network of a handler that also sends datagrams.
pub trait DatagramNet: Net {
    type Datagram: DatagramTransport;

    /// Opens a socket whose peer is `address`, bound as `local` says. A unix socket gets an
    /// address of its own as well, so that the peer can answer.
    ///
    /// # Errors
    /// As [`Net::connect`].
    fn open(&self, address: &Address, local: &Local) -> Result<Self::Datagram, Error>;
}
