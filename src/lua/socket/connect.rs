//! `sock:connect`, `ngx.socket.connect`.

use std::future::Future;
use std::ops::RangeInclusive;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use super::object::{TcpSocket, is_request_socket, push_new};
use super::owned::own_socket;
use super::{context, cosocket_context, log_errors, log_line};
use crate::conf;
use crate::lua::text::wrong_type;
use crate::sock::{
    self, Address, Begun, ConnectError, ConnectRequest, DirectConnect, PoolName, Target, TcpPools,
};
use crate::sys::link::Link;
use crate::sys::net::{self, HandlerNet};
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op};

/// The options table of a connect.
#[derive(Default)]
struct Options {
    pool: Option<Box<[u8]>>,
    pool_size: Option<usize>,
    backlog: Option<usize>,
}

/// `sock:connect(host, port[, opts])`, `sock:connect("unix:/path"[, opts])`
pub fn connect(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(2..=4).contains(&n) {
        return Err(Throw::error(format!(
            "ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen {n}"
        )));
    }
    let socket = own_socket::<TcpSocket>(state, 1)?;
    if is_request_socket(&socket) {
        return Err(Throw::error("attempt to re-connect a request socket"));
    }
    connect_with(state, &socket, 2..=n, None)
}

/// `ngx.socket.connect(host, port[, opts])`, `ngx.socket.connect("unix:/path"[, opts])`;
/// upvalues: the metatable, the register of objects.
pub fn socket_connect(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(1..=3).contains(&n) {
        return Err(Throw::error(format!(
            "ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen {}",
            n + 1
        )));
    }
    let context = cosocket_context()?;
    let socket = push_new(state, &context, State::upvalue(1), State::upvalue(2));
    connect_with(state, &socket, 1..=n, Some(n + 1))
}

/// Connects `socket` to what the arguments say. The result is the `object`, or
/// 1 where there is none.
#[inline(always)]
fn connect_with(
    state: &mut State,
    socket: &TcpSocket,
    arguments: RangeInclusive<c_int>,
    object: Option<c_int>,
) -> LuaResult {
    let (&first, &last) = (arguments.start(), arguments.end());
    let mut rest = last - first;
    let has_options = rest > 0 && state.type_of(last) == Type::Table;
    let options = if has_options {
        rest -= 1;
        options(state, last)?
    } else {
        Options::default()
    };
    let peer = match peer(state, first, rest > 0)? {
        Ok(peer) => peer,
        Err(message) => return Ok(Ret::Values(state.push_nil_err(message))),
    };
    let net = HandlerNet::new(context()?, log_errors());
    let pools = net::pools();
    let pool = match &options.pool {
        Some(name) => PoolName::Text(name),
        None => peer.pool_name(),
    };
    let begun = match sock::connect_idle(socket, &net, &pools, pool) {
        Ok(None) => return Ok(Ret::Values(push_connected(state, object))),
        Ok(Some(connecting)) => begin(connecting, net, pools, &peer, pool, &options),
        Err(busy) => Begun::Ready(Err(busy.into())),
    };
    match begun {
        Begun::Ready(result) => Ok(Ret::Values(push_result(state, object, result))),
        Begun::Pending(way) => run_op(state, Connecting { way, object }),
    }
}

/// Begins to connect where there is no idle connection.
#[inline(never)]
fn begin(
    connecting: sock::Connecting<Link>,
    net: HandlerNet,
    pools: TcpPools<Link>,
    peer: &Peer<'_>,
    pool: PoolName<'_>,
    options: &Options,
) -> Begun<Result<(), ConnectError>, Way> {
    let pool_size = options.pool_size.or_else(|| {
        let default = || conf::SocketConf::default().pool_size();
        options
            .backlog
            .map(|_| conf::current().map_or_else(default, |conf| conf.socket.pool_size()))
    });
    let socket = connecting.socket().clone();
    if pool_size.is_none() {
        match sock::connect_directly(connecting, &net, &pools, pool) {
            Some(Begun::Ready(result)) => return Begun::Ready(result),
            Some(Begun::Pending(op)) => return Begun::Pending(Way::Direct(op)),
            None => {}
        }
    }
    let request = ConnectRequest {
        target: peer.target(),
        pool_size,
        pool: pool.text(),
        backlog: options.backlog,
    };
    Begun::Pending(Way::Any(Box::pin(sock::connect(
        socket, net, pools, request,
    ))))
}

/// The arguments that say where to connect to.
pub struct Peer<'a> {
    /// A host, or a whole `unix:/path`.
    host: &'a [u8],
    /// None for a unix socket.
    port: Option<u16>,
}

impl Peer<'_> {
    /// The same, to be kept.
    pub fn target(&self) -> Target {
        let host = self.host.into();
        match self.port {
            Some(port) => Target::Host { host, port },
            None => Target::Unix(host),
        }
    }

    /// Its address, if it is a literal one.
    pub fn address(&self) -> Option<Address> {
        Address::literal(self.host, self.port?)
    }

    /// The name that its pool has unless it is given one.
    fn pool_name(&self) -> PoolName<'_> {
        match self.port {
            Some(port) => PoolName::Peer(self.host, port),
            None => PoolName::Text(self.host),
        }
    }
}

/// The host in the argument `first`, and the port after it if there is one;
/// Err: the string for Lua.
#[inline(always)]
pub fn peer(
    state: &State,
    first: c_int,
    has_port: bool,
) -> Result<Result<Peer<'_>, Vec<u8>>, Throw> {
    let Some(host) = state.bytes(first) else {
        return Err(wrong_type(state, first, "string", first));
    };
    if host.starts_with(b"unix:") {
        return Ok(Ok(Peer { host, port: None }));
    }
    let port = first + 1;
    let number = state.number(port).filter(|_| has_port);
    Ok(match number {
        Some(number) if (0.0..65536.0).contains(&number) => Ok(Peer {
            host,
            port: Some(number as u16),
        }),
        None if !has_port || state.is_none_or_nil(port) => Err(b"missing the port number".to_vec()),
        _ => {
            let bad = state
                .bytes(port)
                .unwrap_or_else(|| state.type_name(port).as_bytes());
            Err([b"bad port number: ".as_slice(), bad].concat())
        }
    })
}

/// Pushes what a connect returns.
fn push_result(state: &State, object: Option<c_int>, result: Result<(), ConnectError>) -> c_int {
    match result {
        Ok(()) => push_connected(state, object),
        Err(error) => {
            log_line(error.log_line());
            state.push_nil_err(error.to_string())
        }
    }
}

#[inline]
fn push_connected(state: &State, object: Option<c_int>) -> c_int {
    match object {
        Some(object) => state.push_value(object),
        None => state.push_int(1),
    }
    1
}

fn options(state: &mut State, idx: c_int) -> Result<Options, Throw> {
    state.raw_get_field(idx, "pool_size");
    let pool_size = count(state, idx, "pool_size", 1.0)?;
    state.raw_get_field(idx, "backlog");
    let backlog = count(state, idx, "backlog", 0.0)?;
    state.raw_get_field(idx, "pool");
    let pool = match state.type_of(-1) {
        Type::Nil => None,
        Type::String | Type::Number => state.bytes(-1).map(Into::into),
        _ => return Err(bad_type(state, idx, "pool")),
    };
    state.pop(3);
    Ok(Options {
        pool,
        pool_size,
        backlog,
    })
}

/// The option on the top, a number of at least `least` if it is given.
fn count(state: &State, idx: c_int, name: &str, least: f64) -> Result<Option<usize>, Throw> {
    match state.number(-1) {
        Some(value) if value >= least => Ok(Some(value as usize)),
        Some(value) => Err(Throw::argument(
            idx,
            format!("bad \"{name}\" option value: {}", value as i64),
        )),
        None if state.is_none_or_nil(-1) => Ok(None),
        None => Err(bad_type(state, idx, name)),
    }
}

fn bad_type(state: &State, idx: c_int, name: &str) -> Throw {
    Throw::argument(
        idx,
        format!("bad \"{name}\" option type: {}", state.type_name(-1)),
    )
}

/// How a connect goes on.
enum Way {
    /// It waits for nothing but its only address.
    Direct(DirectConnect<Link>),
    Any(Pin<Box<dyn Future<Output = Result<(), ConnectError>>>>),
}

/// A connect that waits.
struct Connecting {
    way: Way,
    /// Where the object stands on the stack, if that is the result.
    object: Option<c_int>,
}

impl Parked for Connecting {
    fn poll(&mut self, cx: &mut TaskContext<'_>, state: &mut State) -> Poll<c_int> {
        match &mut self.way {
            Way::Direct(op) => op.poll(cx),
            Way::Any(future) => future.as_mut().poll(cx),
        }
        .map(|result| push_result(state, self.object, result))
    }
}
