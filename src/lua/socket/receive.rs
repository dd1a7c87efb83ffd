//! `sock:receive`, `sock:receiveany`, `sock:receiveuntil`.

use std::future::Future;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use super::object::TcpSocket;
use super::owned::own_socket;
use super::{ahead, log_failure};
use crate::lua::text::wrong_type;
use crate::sock::{Begun, Error, Mode, Piece, ReadOp, ReadOutcome, Until};
use crate::sys::link::Link;
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op};

/// `sock:receive([size | "*l" | "*a"])`
pub fn receive(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(1..=2).contains(&n) {
        return Err(Throw::error(format!(
            "expecting 1 or 2 arguments (including the object), but got {n}"
        )));
    }
    if n == 1 {
        return line(state);
    }
    match state.number(2) {
        // More than i64::MAX is too much anyway.
        Some(size) if size >= 0.0 => exact(state, size as i64 as usize),
        Some(_) => Err(Throw::argument(2, "bad number argument")),
        None => match pattern(state, 2)? {
            Mode::Line => line(state),
            mode => {
                let socket = own_socket(state, 1)?;
                read(state, socket, mode)
            }
        },
    }
}

#[inline(always)]
fn line(state: &mut State) -> LuaResult {
    let socket = own_socket::<TcpSocket>(state, 1)?;
    if socket.take_line(|data| state.push_bytes(data)).is_none() {
        return read(state, socket, Mode::Line);
    }
    ahead::after_line(state, &socket);
    drop(socket);
    Ok(Ret::Values(1))
}

#[inline(always)]
fn exact(state: &mut State, size: usize) -> LuaResult {
    let socket = own_socket::<TcpSocket>(state, 1)?;
    ahead::row_ends();
    let push = |data: &[u8]| state.push_bytes(data);
    if socket.take_exact(size, push).is_none() {
        return read(state, socket, Mode::Exact(size));
    }
    drop(socket);
    Ok(Ret::Values(1))
}

/// The mode that is no number of bytes.
#[inline(never)]
fn pattern(state: &State, idx: c_int) -> Result<Mode, Throw> {
    if state.is_none_or_nil(idx) {
        return Ok(Mode::Line);
    }
    if state.type_of(idx) != Type::String {
        return Err(Throw::argument(
            idx,
            format!("bad pattern argument: {}", state.type_name(idx)),
        ));
    }
    match state.bytes(idx).unwrap_or_default() {
        b"*l" => Ok(Mode::Line),
        b"*a" => Ok(Mode::All),
        pattern => Err(Throw::argument(
            idx,
            format!("bad pattern argument: {}", String::from_utf8_lossy(pattern)),
        )),
    }
}

/// `sock:receiveany(max)`
pub fn receiveany(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 2 {
        return Err(Throw::error(format!(
            "expecting 2 arguments (including the object), but got {n}"
        )));
    }
    let max = state
        .number(2)
        .filter(|&max| max >= 1.0)
        .ok_or_else(|| Throw::argument(2, "bad max argument"))?;
    let socket = own_socket(state, 1)?;
    read(state, socket, Mode::Any(max as usize))
}

/// `sock:receiveuntil(pattern[, { inclusive = bool }])`
pub fn receiveuntil(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(2..=3).contains(&n) {
        return Err(Throw::error(format!(
            "expecting 2 or 3 arguments (including the object), but got {n}"
        )));
    }
    let inclusive = match state.type_of(3) {
        Type::None | Type::Nil => false,
        Type::Table => {
            state.raw_get_field(3, "inclusive");
            let inclusive = match state.type_of(-1) {
                Type::Nil => false,
                Type::Boolean => state.to_bool(-1),
                _ => {
                    return Err(Throw::error(format!(
                        "bad \"inclusive\" option value type: {}",
                        state.type_name(-1)
                    )));
                }
            };
            state.pop(1);
            inclusive
        }
        _ => {
            return Err(wrong_type(state, 3, "table", 3));
        }
    };
    own_socket::<TcpSocket>(state, 1)?;
    let pattern = match state.type_of(2) {
        Type::String | Type::Number => state.bytes(2).unwrap_or_default().to_vec(),
        _ => {
            return Err(wrong_type(state, 2, "string", 2));
        }
    };
    let Some(until) = Until::new(&pattern, inclusive) else {
        return Ok(Ret::Values(state.push_nil_err("pattern is empty")));
    };
    state.push_value(1);
    state.push_userdata(until);
    state.push_closure(iterator, 2);
    Ok(Ret::Values(1))
}

/// What `receiveuntil` returns; upvalues: the socket object, the pattern.
fn iterator(state: &mut State) -> LuaResult {
    let n = state.top();
    if n > 1 {
        return Err(Throw::error(format!(
            "expecting 0 or 1 arguments, but seen {n}"
        )));
    }
    let size = match state.number(1) {
        Some(size) if size >= 1.0 => Some(size as usize),
        Some(size) if size < 0.0 => return Err(Throw::argument(1, "bad size argument")),
        Some(_) => None,
        None if state.is_none_or_nil(1) => None,
        None => return Err(wrong_type(state, 1, "number", 1)),
    };
    state.push_value(State::upvalue(2));
    let until = state
        .userdata::<Until>(-1)
        .cloned()
        .ok_or_else(|| Throw::error("bad request"))?;
    state.push_value(State::upvalue(1));
    let object = state.top();
    let socket = own_socket(state, object)?;
    read(state, socket, Mode::Until(until, size))
}

#[inline(never)]
fn read(state: &mut State, socket: TcpSocket, mode: Mode) -> LuaResult {
    if !matches!(mode, Mode::Line) {
        ahead::row_ends();
    }
    match socket.read(mode) {
        Begun::Ready(outcome) => Ok(Ret::Values(push_outcome(state, &socket, &outcome))),
        Begun::Pending(op) => run_op(state, Reading { op }),
    }
}

#[inline(always)]
fn push_outcome(state: &State, socket: &TcpSocket, outcome: &ReadOutcome) -> c_int {
    match outcome {
        ReadOutcome::Data(piece) => {
            socket.take(*piece, |data| state.push_bytes(data));
            1
        }
        ReadOutcome::EndOfPieces => {
            state.push_nil();
            state.push_nil();
            state.push_nil();
            3
        }
        ReadOutcome::Failed(error, partial) => push_failure(state, socket, error, *partial),
    }
}

#[inline(never)]
fn push_failure(state: &State, socket: &TcpSocket, error: &Error, partial: Option<Piece>) -> c_int {
    log_failure(error);
    let n = state.push_nil_err(error.to_string());
    match partial {
        Some(piece) => {
            socket.take(piece, |data| state.push_bytes(data));
            n + 1
        }
        None => n,
    }
}

/// A read that waits for the peer.
struct Reading {
    op: ReadOp<Link>,
}

impl Parked for Reading {
    fn poll(&mut self, cx: &mut TaskContext<'_>, state: &mut State) -> Poll<c_int> {
        Pin::new(&mut self.op)
            .poll(cx)
            .map(|outcome| push_outcome(state, self.op.socket(), &outcome))
    }
}
