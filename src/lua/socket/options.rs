//! `sock:bind`, `sock:setoption`, `sock:getoption`, `sock:getfd`.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::object::TcpSocket;
use super::owned::any_socket;
use crate::sock::{Status, Transport};
use crate::sys::connection::Connection;
use crate::sys::net::parse_bind_address;
use crate::sys::sockopt::SocketOption;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// `sock:bind(address[, port])`
pub fn bind(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(2..=3).contains(&n) {
        return Err(Throw::error(format!(
            "expecting 2 or 3 arguments (including the object), but got {n}"
        )));
    }
    let socket = any_socket::<TcpSocket>(state, 1)?;
    let address = match bind_address(state) {
        Ok(address) => address,
        Err(message) => return Ok(Ret::Values(state.push_nil_err(message))),
    };
    let mut local = socket.local();
    local.bind = Some(address);
    socket.set_local(local);
    state.push_bool(true);
    Ok(Ret::Values(1))
}

/// The address, and port if there is one, in arguments 2 and 3 of a bind; Err:
/// the string for Lua.
pub fn bind_address(state: &State) -> Result<SocketAddr, &'static str> {
    let address = match state.type_of(2) {
        Type::String => state
            .bytes(2)
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(parse_bind_address),
        _ => None,
    };
    let mut address = address.ok_or("bad address")?;
    if !state.is_none_or_nil(3) {
        match state.number(3) {
            Some(port) if (0.0..65536.0).contains(&port) => address.set_port(port as u16),
            _ => return Err("bad port number"),
        }
    }
    Ok(address)
}

/// The descriptor of the connection; Err: the string for Lua.
fn descriptor(socket: &TcpSocket) -> Result<Result<RawFd, &'static str>, Throw> {
    if socket.status() == Status::New {
        return Err(Throw::error("socket is never created nor connected"));
    }
    Ok(socket
        .with_transport(|transport| transport.fd())
        .ok_or("closed"))
}

/// `sock:getfd()`
pub fn getfd(state: &mut State) -> LuaResult {
    let socket = any_socket::<TcpSocket>(state, 1)?;
    Ok(Ret::Values(match descriptor(&socket)? {
        Ok(fd) => {
            state.push_int(fd.into());
            1
        }
        Err(closed) => state.push_nil_err(closed),
    }))
}

/// The option that argument 2 names; Err: the string for Lua.
fn option(state: &State) -> Result<SocketOption, Vec<u8>> {
    if state.is_none_or_nil(2) {
        return Err(b"missing the \"option\" argument".to_vec());
    }
    let name = match state.type_of(2) {
        Type::String | Type::Number => state.bytes(2).unwrap_or_default(),
        _ => state.type_name(2).as_bytes(),
    };
    SocketOption::from_name(name).ok_or_else(|| [b"unsupported option ".as_slice(), name].concat())
}

/// `sock:setoption(name, value)`
pub fn setoption(state: &mut State) -> LuaResult {
    let n = state.top();
    let socket = any_socket::<TcpSocket>(state, 1)?;
    let option = option(state);
    let value = match state.type_of(3) {
        Type::Boolean => Some(state.to_bool(3).into()),
        _ => state.number(3).map(|n| n as i32),
    };
    if n >= 3
        && let (Ok(SocketOption::IpTransparent), Some(value)) = (&option, value)
    {
        // It matters when the socket is bound, which connect does.
        let mut local = socket.local();
        local.transparent = value != 0;
        socket.set_local(local);
        if socket.status() == Status::New {
            state.push_bool(true);
            return Ok(Ret::Values(1));
        }
    }
    let fd = match descriptor(&socket)? {
        Ok(fd) => fd,
        Err(closed) => return Ok(Ret::Values(state.push_nil_err(closed))),
    };
    if option == Ok(SocketOption::TcpNoDelay) {
        socket.with_transport(|link| link.outgoing().map(Connection::keep_tcp_delay));
    }
    let result = match (option, value) {
        (Err(message), _) => Err(message),
        (Ok(_), None) => Err(b"missing the \"value\" argument".to_vec()),
        (Ok(option), Some(value)) => option
            .set(fd, value)
            .map_err(|e| crate::sock::error::system_text(&e).into_bytes()),
    };
    Ok(Ret::Values(match result {
        Ok(()) => {
            state.push_bool(true);
            1
        }
        Err(message) => state.push_nil_err(message),
    }))
}

/// `sock:getoption(name)`
pub fn getoption(state: &mut State) -> LuaResult {
    let socket = any_socket::<TcpSocket>(state, 1)?;
    let option = option(state);
    let fd = match descriptor(&socket)? {
        Ok(fd) => fd,
        Err(closed) => return Ok(Ret::Values(state.push_nil_err(closed))),
    };
    let result = option.and_then(|option| {
        option
            .get(fd)
            .map_err(|e| crate::sock::error::system_text(&e).into_bytes())
    });
    Ok(Ret::Values(match result {
        Ok(value) => {
            state.push_int(value.into());
            1
        }
        Err(message) => state.push_nil_err(message),
    }))
}
