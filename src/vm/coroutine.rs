//! The `coroutine` library inside handlers.
//!
//! `coroutine.resume` does not call into the VM again: it asks the scheduler
//! to switch, so that a cosocket may wait at any depth of coroutines while a
//! plain `coroutine.yield` still goes to whoever resumed. Outside of handlers
//! (init_by_lua) LuaJIT's own functions serve.

use std::ffi::CStr;

use super::ffi;
use super::function::{Body, LuaResult, Ret, Throw};
use super::mark::Mark;
use super::sched::{self, light};
use super::stack::{State, Type};
use super::state::Coroutine;

/// What Lua's debug library calls the code below.
pub(super) const NAME: &CStr = c"=coroutine";

/// Argument: the function that resumes.
const WRAP: &str = r#"
local resume = ...
local create, error, type = coroutine.create, error, type

-- No tail call: tracebacks find the coroutine that failed as the first local here.
local function results(thread, ok, ...)
    if ok then
        return ...
    end
    error((...), 0)
end

coroutine.wrap = function(f)
    if type(f) ~= "function" then
        error("bad argument #1 to 'wrap' (function expected, got " .. type(f) .. ")", 2)
    end
    local thread = create(f)
    return function(...)
        return results(thread, resume(thread, ...))
    end
end
"#;

/// Replaces the functions of the global table `coroutine`.
pub(super) fn install(state: &mut State) -> Result<(), String> {
    state.push_globals();
    state.raw_get_field(-1, "coroutine");
    replace(state, "resume", resume);
    replace(state, "yield", yield_);
    replace(state, "status", status);
    replace(state, "running", running);
    state.raw_get_field(-1, "resume");
    state.run_builtin(WRAP, NAME, 1, 0)?;
    state.pop(2);
    Ok(())
}

/// Puts `body` in the place of the function `name` of the table on the top. It
/// keeps that function, for where there is no scheduler above it: what
/// init_by_lua wraps may be called by a handler later, so that is asked at each
/// call.
fn replace<F: Body>(state: &mut State, name: &str, body: F) {
    state.raw_get_field(-1, name);
    state.push_closure(body, 1);
    state.raw_set_field(-2, name);
}

/// Calls LuaJIT's own function instead.
fn call_native(state: &mut State) -> LuaResult {
    let n = state.top();
    state.push_value(State::upvalue(1));
    state.insert(1);
    // SAFETY: function and arguments stand on the live stack; an error passes
    // through this function, which holds nothing.
    unsafe { ffi::lua_call(state.raw(), n, ffi::LUA_MULTRET) };
    Ok(Ret::Values(state.top()))
}

/// The coroutine at argument 1.
fn thread_argument(state: &State) -> Result<*mut ffi::lua_State, Throw> {
    // SAFETY: the state is live.
    let l = unsafe { ffi::lua_tothread(state.raw(), 1) };
    if l.is_null() {
        return Err(Throw::argument(1, "coroutine expected"));
    }
    Ok(l)
}

/// Whether the coroutine has ended.
fn is_dead(l: *mut ffi::lua_State) -> bool {
    // SAFETY: callers hold the coroutine on a stack.
    unsafe {
        match ffi::lua_status(l) {
            ffi::LUA_YIELD => Mark::of(l).is_some(),
            // Not started yet, or finished with nothing left on its stack,
            // but for the results of a light thread.
            ffi::LUA_OK => ffi::lua_gettop(l) == 0 || Mark::of(l).is_some(),
            _ => true,
        }
    }
}

/// Whether argument 1 is a coroutine that only the scheduler may resume, or nobody any
/// more. Lua itself cannot tell: it sees one that waits, or was never started.
fn is_ours(state: &State) -> bool {
    // SAFETY: the state is live, and holds the coroutine.
    unsafe {
        let l = ffi::lua_tothread(state.raw(), 1);
        !l.is_null() && (sched::is_active(l) || Mark::of(l).is_some())
    }
}

/// `coroutine.resume(co, ...)`
fn resume(state: &mut State) -> LuaResult {
    let runs = sched::runs(state.raw());
    if !runs && !is_ours(state) {
        return call_native(state);
    }
    let l = thread_argument(state)?;
    let refused = if let Some(status) = active_status(state, l) {
        Some(format!("cannot resume {status} coroutine"))
    } else if !runs || is_dead(l) {
        Some("cannot resume dead coroutine".into())
    } else if !state.is_yieldable() {
        state.push_bytes("attempt to yield across C-call boundary");
        return Err(Throw::Value);
    } else {
        None
    };
    if let Some(message) = refused {
        state.push_bool(false);
        state.push_bytes(message);
        return Ok(Ret::Values(2));
    }
    let nargs = state.top() - 1;
    let Some(thread) = sched::current() else {
        return call_native(state);
    };
    if nargs <= sched::FREE_SLOTS || thread.vm().fits(l, nargs) {
        // SAFETY: `l` is a live coroutine of the same VM, held by argument 1,
        // and has room.
        unsafe { ffi::lua_xmove(state.raw(), l, nargs) };
    } else {
        state.push_bool(false);
        state.push_bytes("too many arguments to resume");
        return Ok(Ret::Values(2));
    }
    // Only the coroutine itself is left on the stack; the yield drops it.
    let anchor = thread.vm().anchor_coroutine(state);
    sched::request_resume(Coroutine { l, anchor }, nargs);
    Ok(Ret::Yield(0))
}

/// `coroutine.yield(...)`
fn yield_(state: &mut State) -> LuaResult {
    // Outside of handlers, Lua itself says where that cannot be.
    if sched::runs(state.raw()) && !state.is_yieldable() {
        return Err(Throw::error("attempt to yield across C-call boundary"));
    }
    Ok(Ret::Yield(state.top()))
}

/// The status of the coroutine `l` if it is in the middle of something.
fn active_status(state: &State, l: *mut ffi::lua_State) -> Option<&'static str> {
    if l == state.raw() || sched::is_top(l) {
        // A light thread that waits has its turns.
        Some("running")
    } else {
        sched::is_active(l).then_some("normal")
    }
}

/// `coroutine.status(co)`
fn status(state: &mut State) -> LuaResult {
    if !sched::runs(state.raw()) && !is_ours(state) {
        return call_native(state);
    }
    let l = thread_argument(state)?;
    let status = if let Some(status) = active_status(state, l) {
        status
    } else if light::is_zombie(l) {
        "zombie"
    } else if is_dead(l) {
        "dead"
    } else {
        "suspended"
    };
    state.push_bytes(status);
    Ok(Ret::Values(1))
}

/// `coroutine.running()`
fn running(state: &mut State) -> LuaResult {
    if !sched::runs(state.raw()) {
        return call_native(state);
    }
    sched::mark_escaped(state.raw());
    // SAFETY: pushes the running coroutine itself.
    unsafe { ffi::lua_pushthread(state.raw()) };
    debug_assert_eq!(state.type_of(-1), Type::Thread);
    Ok(Ret::Values(1))
}
