//! The request body: `ngx.req.read_body`, `ngx.req.get_body_data`.

use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::lua::scratch::with_scratch;
use crate::lua::{only_request, request_in};
use crate::rt::wake_now;
use crate::sys::body::{Body, Reading};
use crate::sys::phase::Phases;
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op, sched};

/// Adds to the `ngx.req` table on the top.
pub fn open(state: &mut State) {
    state.set_function("read_body", read_body);
    state.set_function("get_body_data", get_body_data);
}

/// `ngx.req.read_body()`
fn read_body(state: &mut State) -> LuaResult {
    let (_, request) = request_in(Phases::BEFORE_RESPONSE)?;
    if !state.is_yieldable() {
        return Err(Throw::error("attempt to yield across C-call boundary"));
    }
    match request.read_body() {
        Ok(Body::There) => Ok(Ret::Values(0)),
        Ok(Body::Reading(reading)) => run_op(state, BodyRead(reading)),
        Err(status) => {
            sched::request_exit(status as i32);
            Ok(Ret::Yield(0))
        }
    }
}

/// Waits until the body is there. Where it cannot be read, nginx ends the
/// request, and the wait with it.
struct BodyRead(Rc<Reading>);

impl Parked for BodyRead {
    fn poll(&mut self, cx: &mut Context<'_>, _state: &mut State) -> Poll<c_int> {
        if self.0.is_done() {
            return Poll::Ready(0);
        }
        let waker = cx.waker().clone();
        self.0.then(move || wake_now(waker));
        Poll::Pending
    }
}

/// `ngx.req.get_body_data(max_bytes?)`
fn get_body_data(state: &mut State) -> LuaResult {
    let request = only_request()?;
    let max = match state.type_of(1) {
        Type::None | Type::Nil => usize::MAX,
        _ => match state.number(1) {
            Some(max) if max >= 0.0 => max as usize,
            Some(_) => return Err(Throw::argument(1, "bad max bytes")),
            None => {
                return Err(Throw::argument(
                    1,
                    format!("number expected, got {}", state.type_name(1)),
                ));
            }
        },
    };
    let Some(mut chunks) = request.body_in_memory() else {
        state.push_nil();
        return Ok(Ret::Values(1));
    };
    let size = chunks.size().min(max);
    match chunks.next() {
        Some(first) if first.len() >= size => state.push_bytes(&first[..size]),
        first => with_scratch(|data| {
            data.reserve(size);
            for chunk in first.into_iter().chain(chunks) {
                let room = size - data.len();
                data.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            state.push_bytes(data);
        }),
    }
    Ok(Ret::Values(1))
}
