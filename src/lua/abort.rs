//! `ngx.on_abort`.

use std::future::Future;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::text::wrong_type;
use super::{only_request, request_in};
use crate::conf;
use crate::sys::abort::ClientGone;
use crate::sys::log::{self, Level};
use crate::sys::phase::Phases;
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op, sched};

/// Argument: waits for the client to go. Result: what the light thread runs.
const SOURCE: &str = r#"
local wait = ...
return function(callback)
    wait()
    return callback()
end
"#;

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.push_function(wait);
    match state.run_builtin(SOURCE, c"=ngx.on_abort", 1, 1) {
        Ok(()) => {
            state.push_closure(on_abort, 1);
            state.raw_set_field(-2, "on_abort");
        }
        Err(message) => log::cycle(Level::Error, message),
    }
}

/// `ngx.on_abort(callback)`; upvalue: the function that calls it. A light
/// thread waits for the client to go; the handler does not wait for this one.
fn on_abort(state: &mut State) -> LuaResult {
    if state.type_of(1) != Type::Function {
        return Err(wrong_type(state, 1, "function", 1));
    }
    let (_, request) = request_in(Phases::BEFORE_RESPONSE)?;
    if !conf::current().is_some_and(|conf| conf.check_client_abort()) {
        return refuse(state, "lua_check_client_abort is off");
    }
    if request.is_subrequest() {
        return refuse(state, "not supported in subrequests");
    }
    if request.is_awaited() {
        return refuse(state, "duplicate call");
    }
    state.set_top(1);
    state.push_value(State::upvalue(1));
    state.insert(1);
    let Ret::Yield(_) = sched::spawn_in_background(state)? else {
        return Ok(Ret::Values(0));
    };
    // What on_abort returns when it is resumed.
    state.push_int(1);
    Ok(Ret::Yield(1))
}

fn refuse(state: &State, why: &str) -> LuaResult {
    Ok(Ret::Values(state.push_nil_err(why)))
}

fn wait(state: &mut State) -> LuaResult {
    let request = only_request()?;
    match ClientGone::new(request) {
        Some(gone) => run_op(state, Waiting(gone)),
        None => Err(Throw::error("duplicate call")),
    }
}

struct Waiting(ClientGone);

impl Parked for Waiting {
    fn poll(&mut self, cx: &mut Context<'_>, _state: &mut State) -> Poll<c_int> {
        Pin::new(&mut self.0).poll(cx).map(|()| {
            sched::join_handler();
            0
        })
    }
}
