//! `ngx.socket.udp`: UDP and unix datagram sockets.

use std::future::Future;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use super::connect::peer;
use super::object::timeout;
use super::options::bind_address;
use super::owned::{any_socket, buffers, own_socket, push_object};
use super::send::with_data;
use super::{constructor_context, context, log_errors, log_line};
use crate::conf;
use crate::lua::text::wrong_type;
use crate::sock::net::Local;
use crate::sock::{Begun, ConnectError, DatagramSocket, Error, ReceiveOp, Received};
use crate::sys::datagram::Datagram;
use crate::sys::net::HandlerNet;
use crate::vm::{LuaResult, Parked, Ret, State, Throw, run_op};

/// A datagram socket of this worker.
type UdpSocket = DatagramSocket<Datagram>;

/// Pushes the metatable that all datagram socket objects share.
pub fn push_metatable(state: &mut State) {
    state.new_table(0, 1);
    state.new_table(0, 6);
    state.set_function("bind", bind);
    state.set_function("setpeername", setpeername);
    state.set_function("send", send);
    state.set_function("receive", receive);
    state.set_function("settimeout", settimeout);
    state.set_function("close", close);
    state.raw_set_field(-2, "__index");
}

/// `ngx.socket.udp()`; upvalues: the metatable, the register of objects.
pub fn new(state: &mut State) -> LuaResult {
    let context = constructor_context(state)?;
    let default = conf::SocketConf::default();
    let conf = conf::current().map_or(&default, |conf| &conf.socket);
    let socket = UdpSocket::new(&buffers(), conf.read_timeout());
    push_object(
        state,
        &context,
        socket,
        State::upvalue(1),
        State::upvalue(2),
    );
    Ok(Ret::Values(1))
}

/// `sock:bind(address[, port])`
fn bind(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(2..=3).contains(&n) {
        return Err(Throw::error(format!(
            "expecting 2 or 3 arguments (including the object), but got {n}"
        )));
    }
    let socket = any_socket::<UdpSocket>(state, 1)?;
    let address = match bind_address(state) {
        Ok(address) => address,
        Err(message) => return Ok(Ret::Values(state.push_nil_err(message))),
    };
    socket.set_local(Local {
        bind: Some(address),
        transparent: false,
    });
    state.push_int(1);
    Ok(Ret::Values(1))
}

/// `sock:setpeername(host, port)`, `sock:setpeername("unix:/path")`
fn setpeername(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(2..=3).contains(&n) {
        return Err(Throw::error(format!(
            "ngx.socket.udp setpeername: expecting 2 or 3 arguments (including the object), but seen {n}"
        )));
    }
    let socket = own_socket::<UdpSocket>(state, 1)?;
    let peer = match peer(state, 2, n == 3)? {
        Ok(peer) => peer,
        Err(message) => return Ok(Ret::Values(state.push_nil_err(message))),
    };
    let net = HandlerNet::new(context()?, log_errors());
    if let Some(address) = peer.address() {
        let result = socket.set_address(&net, &address);
        return Ok(Ret::Values(push_peer(state, result)));
    }
    match socket.set_peer(net, &peer.target()) {
        Begun::Ready(result) => Ok(Ret::Values(push_peer(state, result))),
        Begun::Pending(future) => run_op(
            state,
            Resolving {
                future: Box::pin(future),
            },
        ),
    }
}

fn push_peer(state: &State, result: Result<(), ConnectError>) -> c_int {
    match result {
        Ok(()) => {
            state.push_int(1);
            1
        }
        Err(error) => {
            log_line(error.log_line());
            state.push_nil_err(error.to_string())
        }
    }
}

/// A `setpeername` that waits for the resolver.
struct Resolving {
    future: Pin<Box<dyn Future<Output = Result<(), ConnectError>>>>,
}

impl Parked for Resolving {
    fn poll(&mut self, cx: &mut TaskContext<'_>, state: &mut State) -> Poll<c_int> {
        self.future
            .as_mut()
            .poll(cx)
            .map(|result| push_peer(state, result))
    }
}

/// `sock:send(data)`
fn send(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 2 {
        return Err(Throw::error(format!(
            "expecting 2 arguments (including the object), but got {n}"
        )));
    }
    let socket = own_socket::<UdpSocket>(state, 1)?;
    let result = with_data(state, 2, |data| socket.send(data))?;
    Ok(Ret::Values(push_done(state, result)))
}

/// The result of what does not wait.
fn push_done(state: &State, result: Result<(), Error>) -> c_int {
    match result {
        Ok(()) => {
            state.push_int(1);
            1
        }
        Err(error) => push_failure(state, &error),
    }
}

fn push_failure(state: &State, error: &Error) -> c_int {
    log_line(error.log_line(None));
    state.push_nil_err(error.to_string())
}

/// `sock:receive([size])`
fn receive(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(1..=2).contains(&n) {
        return Err(Throw::error(format!(
            "expecting 1 or 2 arguments (including the object), but got {n}"
        )));
    }
    let size = if n == 1 { usize::MAX } else { size(state)? };
    let socket = own_socket::<UdpSocket>(state, 1)?;
    match socket.receive(size) {
        Begun::Ready(result) => Ok(Ret::Values(push_received(state, result))),
        Begun::Pending(op) => run_op(state, Receiving { op }),
    }
}

/// How much of a datagram is wanted: argument 2.
fn size(state: &State) -> Result<usize, Throw> {
    match state.number(2) {
        Some(size) if size >= 0.0 => Ok(size as usize),
        Some(_) => Err(Throw::argument(2, "bad number argument")),
        None if state.is_none_or_nil(2) => Ok(usize::MAX),
        None => Err(wrong_type(state, 2, "number", 2)),
    }
}

fn push_received(state: &State, result: Result<Received, Error>) -> c_int {
    match result {
        Ok(datagram) => {
            state.push_bytes(&*datagram);
            1
        }
        Err(error) => push_failure(state, &error),
    }
}

/// A receive that waits for a datagram.
struct Receiving {
    op: ReceiveOp<Datagram>,
}

impl Parked for Receiving {
    fn poll(&mut self, cx: &mut TaskContext<'_>, state: &mut State) -> Poll<c_int> {
        Pin::new(&mut self.op)
            .poll(cx)
            .map(|result| push_received(state, result))
    }
}

/// `sock:settimeout(ms)`
fn settimeout(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 2 {
        return Err(Throw::error(format!(
            "ngx.socket settimeout: expecting 2 arguments (including the object) but seen {n}"
        )));
    }
    let ms = timeout(state, 2)?;
    any_socket::<UdpSocket>(state, 1)?.set_timeout(ms);
    Ok(Ret::Values(0))
}

/// `sock:close()`
fn close(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 1 {
        return Err(Throw::error(format!(
            "expecting 1 argument (including the object) but seen {n}"
        )));
    }
    let socket = own_socket::<UdpSocket>(state, 1)?;
    let result = socket.close();
    Ok(Ret::Values(push_done(state, result)))
}
