//! The network as one handler sees it.

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use ngx::ffi::{ngx_exiting, ngx_log_t, ngx_terminate};

use super::address::RawAddress;
use super::connection::{ConnectFailed, Connection, log_for};
use super::context::Context;
use super::datagram::Datagram;
use super::event::{Sleep, now_msec};
use super::link::Link;
use crate::rt::{Millis, worker_local};
use crate::sock::net::Local;
use crate::sock::{Address, DatagramNet, Error, Idle, Net, Pools, ResolveError, Stage};

/// The keepalive pools of this worker.
pub fn pools() -> Pools<Idle<Link>> {
    worker_local! {
        static POOLS: OnceCell<Pools<Idle<Link>>> = OnceCell::new();
    }
    POOLS.with(|pools| pools.get_or_init(Pools::new).clone())
}

/// Whether the worker is leaving: idle connections are not kept any more.
pub fn exiting() -> bool {
    // SAFETY: plain reads of flags that nginx's signal code sets.
    unsafe { ngx_exiting != 0 || ngx_terminate != 0 }
}

/// What a connect of one handler needs: its resolver and log.
#[derive(Clone)]
pub struct HandlerNet {
    context: Rc<Context>,
    log_errors: bool,
}

impl HandlerNet {
    /// For connects of `context`; with `log_errors` nginx's own messages
    /// about the connection are logged.
    pub fn new(context: Rc<Context>, log_errors: bool) -> HandlerNet {
        HandlerNet {
            context,
            log_errors,
        }
    }

    fn log(&self) -> *mut ngx_log_t {
        log_for(self.context.log_ptr(), self.log_errors)
    }
}

impl Net for HandlerNet {
    type Transport = Link;

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let resolver = self.context.resolver().ok_or(ResolveError::NoResolver)?;
        let addresses = resolver.resolve(host).await?;
        Ok(addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }

    fn connect(&self, address: &Address, name: &[u8], local: &Local) -> Result<Link, Error> {
        let bind = match address {
            Address::Ip(_) => local.bind,
            Address::Unix(_) => None,
        };
        let bind = bind.map(|address| (RawAddress::inet(address), address.to_string()));
        remote(address)
            .and_then(|raw| {
                Connection::connect(
                    &raw,
                    name,
                    bind.as_ref().map(|(raw, name)| (raw, name.as_bytes())),
                    local.transparent,
                    self.log(),
                )
            })
            .map(Link::Outgoing)
            .map_err(|failed| not_connected(failed, Stage::Begin))
    }

    fn adopt(&self, transport: &mut Link) {
        if let Some(connection) = transport.outgoing() {
            connection.unpark(self.log());
        }
    }

    async fn sleep(&self, timeout: Millis) {
        Sleep::new(timeout).await;
    }

    fn now(&self) -> Millis {
        now_msec()
    }

    fn random(&self) -> u32 {
        ngx::ffi::ngx_random() as u32
    }
}

impl DatagramNet for HandlerNet {
    type Datagram = Datagram;

    fn open(&self, address: &Address, local: &Local) -> Result<Datagram, Error> {
        let bind = match address {
            Address::Ip(_) => local.bind.map(RawAddress::inet),
            // The answer to a unix socket needs an address, too.
            Address::Unix(_) => Some(RawAddress::unnamed_unix()),
        };
        remote(address)
            .and_then(|raw| Datagram::open(&raw, bind.as_ref(), self.log()))
            .map_err(|failed| not_connected(failed, Stage::Connect))
    }
}

fn remote(address: &Address) -> Result<RawAddress, ConnectFailed> {
    RawAddress::of(address).ok_or(ConnectFailed::System(libc::ENAMETOOLONG))
}

fn not_connected(failed: ConnectFailed, stage: Stage) -> Error {
    match failed {
        ConnectFailed::System(errno) => Error::System { errno, stage },
        ConnectFailed::NoConnection => Error::NoLiveConnection,
    }
}

/// Reads a literal address for `bind`, with port 0.
pub fn parse_bind_address(text: &str) -> Option<SocketAddr> {
    let text = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0))
}
