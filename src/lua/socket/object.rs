//! The TCP socket object.

use std::os::raw::c_int;
use std::rc::Rc;

use super::owned::{any_socket, buffers, own_socket, push_object};
use super::{ahead, connect, log_failure, options, receive, send, tls};
use crate::conf;
use crate::lua::text::wrong_type;
use crate::rt::Millis;
use crate::sock::Timeouts;
use crate::sys::context::Context;
use crate::sys::downstream::Downstream;
use crate::sys::link::Link;
use crate::sys::net;
use crate::vm::{LuaResult, Ret, State, Throw};

/// A TCP socket of this worker.
pub type TcpSocket = crate::sock::TcpSocket<Link>;

/// Largest timeout in milliseconds plus one.
const TIMEOUT_LIMIT: f64 = 2_147_483_648.0;

/// Pushes the metatable that all socket objects share.
pub fn push_metatable(state: &mut State) {
    state.new_table(0, 1);
    state.new_table(0, 24);
    state.set_function("bind", options::bind);
    state.set_function("connect", connect::connect);
    state.set_function("send", send::send);
    ahead::push_receive(state);
    state.raw_set_field(-2, "receive");
    state.set_function("receiveany", receive::receiveany);
    state.set_function("receiveuntil", receive::receiveuntil);
    state.set_function("settimeout", settimeout);
    state.set_function("settimeouts", settimeouts);
    state.set_function("setkeepalive", setkeepalive);
    state.set_function("getreusedtimes", getreusedtimes);
    state.set_function("setoption", options::setoption);
    state.set_function("getoption", options::getoption);
    state.set_function("getfd", options::getfd);
    state.set_function("close", close);
    tls::open(state);
    state.raw_set_field(-2, "__index");
}

/// Pushes the metatables of request sockets: of those that read the body, and
/// of raw ones, which can send as well.
pub fn push_request_metatables(state: &mut State) {
    push_request_metatable(state, false);
    push_request_metatable(state, true);
}

fn push_request_metatable(state: &mut State, raw: bool) {
    state.new_table(0, 1);
    state.new_table(0, 16);
    if raw {
        state.set_function("send", send::send);
    }
    ahead::push_receive(state);
    state.raw_set_field(-2, "receive");
    state.set_function("receiveany", receive::receiveany);
    state.set_function("receiveuntil", receive::receiveuntil);
    state.set_function("settimeout", settimeout);
    state.set_function("settimeouts", settimeouts);
    state.set_function("getfd", options::getfd);
    state.set_function("getoption", options::getoption);
    state.set_function("setoption", options::setoption);
    state.set_function("close", close);
    state.raw_set_field(-2, "__index");
}

/// Buffer size and timeouts of a new socket.
fn defaults() -> (usize, Timeouts) {
    let default = conf::SocketConf::default();
    let conf = conf::current().map_or(&default, |conf| &conf.socket);
    let timeouts = Timeouts {
        connect: conf.connect_timeout(),
        send: conf.send_timeout(),
        read: conf.read_timeout(),
    };
    (conf.buffer_size(), timeouts)
}

/// Pushes a new socket object that `context` owns; see [`push_object`].
pub fn push_new(
    state: &mut State,
    context: &Rc<Context>,
    metatable: c_int,
    register: c_int,
) -> TcpSocket {
    let (buffer_size, timeouts) = defaults();
    let socket = TcpSocket::new(&buffers(), buffer_size, timeouts);
    push_object(state, context, socket.clone(), metatable, register);
    socket
}

/// Pushes an object for the client's connection; see [`push_object`].
pub fn push_request_socket(
    state: &mut State,
    context: &Rc<Context>,
    stream: Downstream,
    metatable: c_int,
    register: c_int,
) {
    let (buffer_size, timeouts) = defaults();
    let link = Link::Downstream(stream);
    let socket = TcpSocket::over(link, &buffers(), buffer_size, timeouts);
    context.set_request_socket(socket.clone());
    push_object(state, context, socket, metatable, register);
}

/// Whether `socket` is the client's connection.
pub fn is_request_socket(socket: &TcpSocket) -> bool {
    socket.with_transport(|link| link.is_downstream()) == Some(true)
}

/// A timeout argument in milliseconds; what is not a number stands for the
/// directive.
pub fn timeout(state: &State, idx: c_int) -> Result<Option<Millis>, Throw> {
    match state.number(idx) {
        Some(ms) if (0.0..TIMEOUT_LIMIT).contains(&ms) => Ok(Some(ms as Millis)),
        Some(_) => Err(Throw::error("bad timeout value")),
        None => Ok(None),
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
    any_socket::<TcpSocket>(state, 1)?.set_timeouts(ms, ms, ms);
    Ok(Ret::Values(0))
}

/// `sock:settimeouts(connect, send, read)`
fn settimeouts(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 4 {
        return Err(Throw::error(format!(
            "ngx.socket settimeouts: expecting 4 arguments (including the object) but seen {n}"
        )));
    }
    let (connect, send, read) = (timeout(state, 2)?, timeout(state, 3)?, timeout(state, 4)?);
    any_socket::<TcpSocket>(state, 1)?.set_timeouts(connect, send, read);
    Ok(Ret::Values(0))
}

/// `sock:setkeepalive([timeout_ms[, size]])`
fn setkeepalive(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(1..=3).contains(&n) {
        return Err(Throw::error(format!(
            "expecting 1 to 3 arguments (including the object), but got {n}"
        )));
    }
    let default = conf::SocketConf::default();
    let conf = conf::current().map_or(&default, |conf| &conf.socket);
    let timeout = match state.number(2) {
        Some(ms) if (0.0..TIMEOUT_LIMIT).contains(&ms) => ms as i64 as Millis,
        Some(_) => return Err(Throw::argument(2, "bad timeout value")),
        None if state.is_none_or_nil(2) => conf.keepalive_timeout(),
        None => return Err(wrong_type(state, 2, "number", 2)),
    };
    let size = match state.number(3) {
        // More than i64::MAX is as good as no limit anyway.
        Some(size) if size >= 1.0 => size as i64 as usize,
        Some(size) => {
            return Err(Throw::argument(
                3,
                format!("bad \"pool_size\" option value: {}", size as i64),
            ));
        }
        None if state.is_none_or_nil(3) => conf.pool_size(),
        None => return Err(wrong_type(state, 3, "number", 3)),
    };
    let socket = own_socket::<TcpSocket>(state, 1)?;
    if is_request_socket(&socket) {
        return Ok(Ret::Values(state.push_nil_err("invalid connection")));
    }
    let result = socket.keepalive(
        &net::pools(),
        Some(timeout).filter(|&ms| ms > 0),
        size,
        net::exiting(),
    );
    Ok(Ret::Values(match result {
        Ok(()) => {
            state.push_int(1);
            1
        }
        Err(error) => state.push_nil_err(error.to_string()),
    }))
}

/// `sock:getreusedtimes()`
fn getreusedtimes(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 1 {
        return Err(Throw::error(format!(
            "expecting 1 argument (including the object), but got {n}"
        )));
    }
    let socket = any_socket::<TcpSocket>(state, 1)?;
    Ok(Ret::Values(match socket.reused_times() {
        Ok(times) => {
            state.push_int(times.into());
            1
        }
        Err(error) => state.push_nil_err(error.to_string()),
    }))
}

/// `sock:close()`
fn close(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 1 {
        return Err(Throw::error(format!(
            "expecting 1 argument (including the object) but seen {n}"
        )));
    }
    let socket = own_socket::<TcpSocket>(state, 1)?;
    if is_request_socket(&socket) {
        let message = "attempt to close a request socket";
        return Ok(Ret::Values(state.push_nil_err(message)));
    }
    Ok(Ret::Values(match socket.close() {
        Ok(()) => {
            state.push_int(1);
            1
        }
        Err(error) => {
            log_failure(&error);
            state.push_nil_err(error.to_string())
        }
    }))
}
