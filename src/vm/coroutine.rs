//! The `coroutine` library inside handlers.
//!
//! `coroutine.resume` does not call into the VM again: it asks the scheduler
//! to switch, so that a cosocket may wait at any depth of coroutines while a
//! plain `coroutine.yield` still goes to whoever resumed. Outside of handlers
//! (init_by_lua) LuaJIT's own functions serve.

use std::ffi::CStr;

use super::ffi;
use super::function::{LuaResult, Ret, Throw};
use super::mark::Mark;
use super::sched::{self, light};
use super::stack::{State, Type};
use super::state::Coroutine;

/// What Lua's debug library calls the code below.
pub(super) const NAME: &CStr = c"=coroutine";

/// Arguments: resume, yield, status, running for handlers; a function that
/// tells whether the running coroutine is one of a handler. That is asked at
/// each call: what init_by_lua wraps may be called by a handler later.
const SOURCE: &str = r#"
local resume, yield, status, running, in_handler = ...
local native = coroutine
local create = native.create
local error, type = error, type

local function choose(ours, theirs)
    return function(...)
        if in_handler() then
            return ours(...)
        end
        return theirs(...)
    end
end

local co = {}
for name, value in pairs(native) do
    co[name] = value
end
co.resume = choose(resume, native.resume)
co.yield = choose(yield, native.yield)
co.status = choose(status, native.status)
co.running = choose(running, native.running)

-- No tail call: tracebacks find the coroutine that failed as the first local here.
local function results(thread, ok, ...)
    if ok then
        return ...
    end
    error((...), 0)
end

local resume_either = co.resume

co.wrap = function(f)
    if type(f) ~= "function" then
        error("bad argument #1 to 'wrap' (function expected, got " .. type(f) .. ")", 2)
    end
    local thread = create(f)
    return function(...)
        return results(thread, resume_either(thread, ...))
    end
end

for name, value in pairs(co) do
    native[name] = value
end
"#;

/// Replaces the functions of the global table `coroutine`.
pub(super) fn install(state: &mut State) -> Result<(), String> {
    state.push_function(resume);
    state.push_function(yield_);
    state.push_function(status);
    state.push_function(running);
    state.push_function(|state| {
        state.push_bool(sched::runs(state.raw()));
        Ok(Ret::Values(1))
    });
    state.run_builtin(SOURCE, NAME, 5, 0)
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

/// `coroutine.resume(co, ...)`
fn resume(state: &mut State) -> LuaResult {
    let l = thread_argument(state)?;
    let refused = if l == state.raw() || sched::is_active(l) {
        Some("cannot resume non-suspended coroutine")
    } else if is_dead(l) {
        Some("cannot resume dead coroutine")
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
    let fits = nargs <= sched::FREE_SLOTS
        || sched::current().is_some_and(|thread| thread.vm().fits(l, nargs));
    if fits {
        // SAFETY: `l` is a live coroutine of the same VM, held by argument 1,
        // and has room.
        unsafe { ffi::lua_xmove(state.raw(), l, nargs) };
    } else {
        state.push_bool(false);
        state.push_bytes("too many arguments to resume");
        return Ok(Ret::Values(2));
    }
    // Only the coroutine itself is left on the stack; the yield drops it.
    let anchor = state.anchor();
    sched::request_resume(Coroutine { l, anchor }, nargs);
    Ok(Ret::Yield(0))
}

/// `coroutine.yield(...)`
fn yield_(state: &mut State) -> LuaResult {
    if !state.is_yieldable() {
        return Err(Throw::error("attempt to yield across C-call boundary"));
    }
    Ok(Ret::Yield(state.top()))
}

/// `coroutine.status(co)`
fn status(state: &mut State) -> LuaResult {
    let l = thread_argument(state)?;
    let status = if l == state.raw() {
        "running"
    } else if sched::is_top(l) {
        // A light thread, which has its turns.
        "running"
    } else if sched::is_active(l) {
        "normal"
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
    sched::mark_escaped(state.raw());
    // SAFETY: pushes the running coroutine itself.
    unsafe { ffi::lua_pushthread(state.raw()) };
    debug_assert_eq!(state.type_of(-1), Type::Thread);
    Ok(Ret::Values(1))
}
