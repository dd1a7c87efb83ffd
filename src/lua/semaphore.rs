//! `require "ngx.semaphore"`.

use std::future::Future;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::text::wrong_type;
use super::{check_waiting, preload};
use crate::rt::{Semaphore, Wait};
use crate::sys::event::Sleep;
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op};

/// Place of the userdata in the object.
const SEMAPHORE: c_int = 1;
/// More resources than anything has, and few enough to count.
const MOST: f64 = 4_294_967_296.0;

/// Makes the module available to `require`.
pub fn open(state: &mut State) {
    preload(state, "ngx.semaphore", load);
}

fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 5);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "version");
    state.set_function("wait", wait);
    state.set_function("post", post);
    state.set_function("count", count);
    state.new_table(0, 1);
    state.push_value(-2);
    state.raw_set_field(-2, "__index");
    state.push_closure(new, 1);
    state.raw_set_field(-2, "new");
    Ok(Ret::Values(1))
}

/// `semaphore.new(n?)`; upvalue: the metatable.
fn new(state: &mut State) -> LuaResult {
    let n = amount(state, 1, 0.0)?;
    if n < 0.0 {
        return Err(Throw::error("no negative number"));
    }
    state.new_table(1, 0);
    state.push_userdata(Semaphore::new(n as u64));
    state.raw_seti(-2, SEMAPHORE);
    state.push_value(State::upvalue(1));
    state.set_metatable(-2);
    Ok(Ret::Values(1))
}

/// `sem:post(n?)`
fn post(state: &mut State) -> LuaResult {
    let semaphore = this(state)?;
    let n = amount(state, 2, 1.0)?;
    if n < 1.0 {
        return Err(Throw::error("positive number required"));
    }
    semaphore.post(n as u64);
    state.push_bool(true);
    Ok(Ret::Values(1))
}

/// `sem:count()`
fn count(state: &mut State) -> LuaResult {
    let count = this(state)?.count();
    state.push_int(count);
    Ok(Ret::Values(1))
}

/// `sem:wait(seconds?)`
fn wait(state: &mut State) -> LuaResult {
    let semaphore = this(state)?;
    let seconds = amount(state, 2, 0.0)?;
    if seconds < 0.0 {
        return Err(Throw::error("no negative number"));
    }
    check_waiting()?;
    let msec = (seconds * 1000.0) as u64;
    if semaphore.try_take() {
        state.push_bool(true);
        return Ok(Ret::Values(1));
    }
    if msec == 0 {
        return Ok(Ret::Values(state.push_nil_err("timeout")));
    }
    run_op(
        state,
        Waiting {
            wait: semaphore.wait(),
            timeout: Sleep::new(msec),
        },
    )
}

struct Waiting {
    wait: Wait,
    timeout: Sleep,
}

impl Parked for Waiting {
    fn poll(&mut self, cx: &mut Context<'_>, state: &mut State) -> Poll<c_int> {
        if Pin::new(&mut self.wait).poll(cx).is_ready() {
            state.push_bool(true);
            return Poll::Ready(1);
        }
        Pin::new(&mut self.timeout)
            .poll(cx)
            .map(|()| state.push_nil_err("timeout"))
    }
}

/// The number at `idx`, within what makes sense.
fn amount(state: &State, idx: c_int, default: f64) -> Result<f64, Throw> {
    if state.is_none_or_nil(idx) {
        return Ok(default);
    }
    match state.number(idx) {
        Some(n) if !n.is_nan() => Ok(n.min(MOST)),
        _ => Err(wrong_type(state, idx, "number", idx)),
    }
}

/// The semaphore of the object at index 1.
fn this(state: &mut State) -> Result<Semaphore, Throw> {
    let mut found = None;
    if state.type_of(1) == Type::Table {
        state.raw_geti(1, SEMAPHORE);
        found = state.userdata::<Semaphore>(-1).cloned();
        state.pop(1);
    }
    found.ok_or_else(|| Throw::error("not a semaphore object"))
}
