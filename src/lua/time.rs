//! `ngx.sleep`, and the clock: `ngx.now`, `ngx.today`, `ngx.http_time` and
//! their like.

use std::future::Future;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::text::wrong_type;
use crate::sys::event::{Sleep, now_seconds, update_time};
use crate::sys::time::{self, Date};
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
    state.set_function("today", |state| {
        let Date {
            year, month, day, ..
        } = time::local();
        state.push_bytes(format!("{year:04}-{month:02}-{day:02}"));
        Ok(Ret::Values(1))
    });
    state.set_function("localtime", |state| push_date(state, &time::local()));
    state.set_function("utctime", |state| push_date(state, &time::utc()));
    state.set_function("http_time", |state| {
        let seconds = seconds_argument(state)?;
        state.push_bytes(time::http_time(seconds));
        Ok(Ret::Values(1))
    });
    state.set_function("cookie_time", |state| {
        let seconds = seconds_argument(state)?;
        state.push_bytes(time::cookie_time(seconds));
        Ok(Ret::Values(1))
    });
    state.set_function("parse_http_time", parse_http_time);
}

/// `yyyy-mm-dd hh:mm:ss`
fn push_date(state: &State, date: &Date) -> LuaResult {
    state.push_bytes(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        date.year, date.month, date.day, date.hour, date.minute, date.second
    ));
    Ok(Ret::Values(1))
}

fn seconds_argument(state: &State) -> Result<i64, Throw> {
    match state.number(1) {
        Some(seconds) => Ok(seconds as i64),
        None => Err(Throw::error("number argument only")),
    }
}

/// `seconds = ngx.parse_http_time(text)`, nil for other text.
fn parse_http_time(state: &mut State) -> LuaResult {
    let Some(text) = state.bytes(1) else {
        return Err(Throw::error("string argument only"));
    };
    match time::parse_http_time(text) {
        Some(seconds) => state.push_int(seconds),
        None => state.push_nil(),
    }
    Ok(Ret::Values(1))
}

/// `ngx.sleep(seconds)`
fn sleep(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 1 {
        return Err(Throw::error(format!(
            "attempt to pass {n} arguments, but accepted 1"
        )));
    }
    let seconds = state
        .number(1)
        .ok_or_else(|| wrong_type(state, 1, "number", 1))?;
    super::check_waiting()?;
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

    fn may_raise(&self) -> bool {
        false
    }
}
