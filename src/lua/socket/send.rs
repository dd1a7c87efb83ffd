//! `sock:send`.

use std::future::Future;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use super::log_failure;
use super::object::TcpSocket;
use super::owned::own_socket;
use crate::lua::scratch::with_scratch;
use crate::lua::table::{Strictness, flatten};
use crate::sock::{Begun, Error, SendOp};
use crate::sys::link::Link;
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op};

/// `sock:send(data)`
pub fn send(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 2 {
        return Err(Throw::error(format!(
            "expecting 2 arguments (including the object), but got {n}"
        )));
    }
    let socket = own_socket::<TcpSocket>(state, 1)?;
    let begun = match state.bytes(2) {
        Some(text) => match socket.send_now(text) {
            // Nearly every call.
            Ok(sent) if sent == text.len() => return Ok(Ret::Values(push_sent(state, sent))),
            sent => socket.send_rest(text, sent),
        },
        None => with_data(state, 2, |data| socket.send(data))?,
    };
    match begun {
        Begun::Ready(result) => Ok(Ret::Values(push_result(state, result))),
        Begun::Pending(op) => run_op(state, Sending { op }),
    }
}

/// Runs `f` with the bytes of the argument at `idx`, which may be whatever can
/// be sent.
pub fn with_data<R>(state: &mut State, idx: c_int, f: impl FnOnce(&[u8]) -> R) -> Result<R, Throw> {
    if let Some(text) = state.bytes(idx) {
        return Ok(f(text));
    }
    match state.type_of(idx) {
        Type::Boolean if state.to_bool(idx) => Ok(f(b"true")),
        Type::Boolean => Ok(f(b"false")),
        Type::Nil => Ok(f(b"nil")),
        Type::Table => with_scratch(|scratch| {
            flatten(state, idx, scratch, Strictness::Text)
                .map_err(|not_text| Throw::argument(idx, not_text.to_string()))?;
            Ok(f(scratch))
        }),
        _ => Err(Throw::argument(
            idx,
            format!(
                "string, number, boolean, nil, or array table expected, got {}",
                state.type_name(idx)
            ),
        )),
    }
}

#[inline(always)]
fn push_sent(state: &State, sent: usize) -> c_int {
    state.push_int(sent as i64);
    1
}

fn push_result(state: &State, result: Result<usize, Error>) -> c_int {
    match result {
        Ok(sent) => push_sent(state, sent),
        Err(error) => {
            log_failure(&error);
            state.push_nil_err(error.to_string())
        }
    }
}

/// A send that waits for the kernel to take the rest.
struct Sending {
    op: SendOp<Link>,
}

impl Parked for Sending {
    fn poll(&mut self, cx: &mut TaskContext<'_>, state: &mut State) -> Poll<c_int> {
        Pin::new(&mut self.op)
            .poll(cx)
            .map(|result| push_result(state, result))
    }
}
