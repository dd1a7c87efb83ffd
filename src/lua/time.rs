//! `ngx.sleep`, `ngx.now`, `ngx.time`, `ngx.update_time`.

use std::future::Future;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::sys::event::{Sleep, now_seconds, update_time};
use crate::vm::{LuaResult, Parked, Ret, State, Throw, run_op};

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.set_function("sleep", sleep);
    state.set_function("now", |state| {
        state.push_number(now_seconds());
        Ok(Ret::Values(1))
    });
    state.set_function("time", |state| {
        state.push_number(now_seconds().floor());
        Ok(Ret::Values(1))
    });
    state.set_function("update_time", |_| {
        update_time();
        Ok(Ret::Values(0))
    });
}

/// `ngx.sleep(seconds)`
fn sleep(state: &mut State) -> LuaResult {
    if state.top() != 1 {
        return Err(Throw::error("attempt to pass bad number of arguments"));
    }
    let seconds = state.number(1).ok_or_else(|| {
        Throw::argument(1, format!("number expected, got {}", state.type_name(1)))
    })?;
    super::waiting_context()?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(Throw::error(format!(
            "invalid sleep duration \"{seconds}\""
        )));
    }
    // nginx's timers count milliseconds and wrap; a year is long enough.
    let msec = (seconds * 1000.0).min(365.0 * 86_400_000.0) as u64;
    run_op(state, Sleeping(Sleep::new(msec)))
}

struct Sleeping(Sleep);

impl Parked for Sleeping {
    fn poll(&mut self, cx: &mut Context<'_>, _state: &mut State) -> Poll<c_int> {
        Pin::new(&mut self.0).poll(cx).map(|()| 0)
    }
}
