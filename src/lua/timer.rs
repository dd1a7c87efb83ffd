//! `ngx.timer`: functions that run later, apart from any request.

use std::cell::Cell;

use super::text::wrong_type;
use super::{context, disabled};
use crate::rt::worker_local;
use crate::sys::phase::Phase;
use crate::sys::process;
use crate::vm::{Call, LuaResult, Ret, State, Throw, Type};

/// Largest delay in milliseconds: nginx's timers wrap.
const MAX_DELAY: f64 = 365.0 * 86_400_000.0;

/// The part of timers that knows what a handler is.
pub struct Timers {
    /// Has a call made after some milliseconds; again and again, if so asked.
    /// Err: the text for Lua.
    pub start: fn(Call, u64, bool) -> Result<(), &'static str>,
    /// How many wait for their time.
    pub pending: fn() -> usize,
    /// How many run.
    pub running: fn() -> usize,
}

worker_local! {
    static TIMERS: Cell<Option<&'static Timers>> = Cell::new(None);
}

/// Says who runs timers in this process.
pub fn set_timers(timers: &'static Timers) {
    TIMERS.set(Some(timers));
}

/// Adds `timer` to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.new_table(0, 4);
    state.set_function("at", |state| start(state, false));
    state.set_function("every", |state| start(state, true));
    state.set_function("pending_count", |state| {
        state.push_int(TIMERS.get().map_or(0, |timers| (timers.pending)()) as i64);
        Ok(Ret::Values(1))
    });
    state.set_function("running_count", |state| {
        state.push_int(TIMERS.get().map_or(0, |timers| (timers.running)()) as i64);
        Ok(Ret::Values(1))
    });
    state.raw_set_field(-2, "timer");
}

/// `ngx.timer.at(delay, callback, ...)`, `ngx.timer.every(delay, callback, ...)`
fn start(state: &mut State, every: bool) -> LuaResult {
    let n = state.top();
    if n < 2 {
        return Err(Throw::error(format!(
            "expecting at least 2 arguments but got {n}"
        )));
    }
    let delay = match state.number(1) {
        Some(seconds) if every && seconds < 0.0 => {
            return Err(Throw::argument(1, "delay must not be negative"));
        }
        // What should have run already runs at once.
        Some(seconds) => (seconds * 1000.0).clamp(0.0, MAX_DELAY) as u64,
        None => {
            return Err(wrong_type(state, 1, "number", 1));
        }
    };
    if state.type_of(2) != Type::Function {
        return Err(wrong_type(state, 2, "Lua function", 2));
    }
    if every && delay == 0 {
        return Err(Throw::error("delay cannot be zero"));
    }
    let context = context()?;
    if context.phase() == Phase::ExitWorker {
        return Err(disabled(&context));
    }
    let Some(timers) = TIMERS.get() else {
        return Err(Throw::error("no timers in this process"));
    };
    if delay > 0 && process::exiting() {
        return Ok(Ret::Values(state.push_nil_err("process exiting")));
    }
    let call = Call::take(state, 2)?;
    Ok(Ret::Values(match (timers.start)(call, delay, every) {
        Ok(()) => {
            state.push_int(1);
            1
        }
        Err(message) => state.push_nil_err(message),
    }))
}
