//! Lua's errors as text.

use std::os::raw::c_int;

use super::ffi;
use super::stack::{State, Type};

/// Text of the error value on the top of the stack.
pub(super) fn message_of(state: &State) -> String {
    match state.bytes(-1) {
        Some(text) => String::from_utf8_lossy(text).into_owned(),
        None => "unknown reason".into(),
    }
}

/// Message handler: the error value of the running function with a traceback.
pub(super) fn traceback_of(state: &mut State) -> Vec<u8> {
    let message = message_of(state);
    let mut text = message.into_bytes();
    text.push(b'\n');
    text.extend_from_slice(&traceback(state.raw(), state.raw(), 1));
    text
}

/// LuaJIT's traceback of `of`, made on the stack `on`.
fn traceback(on: *mut ffi::lua_State, of: *mut ffi::lua_State, level: c_int) -> Vec<u8> {
    // SAFETY: both states are live; the string is taken off again.
    let mut state = unsafe {
        ffi::luaL_traceback(on, of, std::ptr::null(), level);
        State::from_raw(on)
    };
    let text = state.bytes(-1).unwrap_or_default().to_vec();
    state.pop(1);
    text
}

/// Text of the error value that a dead coroutine left on its top; an object
/// may have a `__tostring` of its own, which runs on the stack `main`.
fn error_message(dead: &State, main: &mut State) -> String {
    if dead.type_of(-1) != Type::Table || !main.reserve(4) {
        return message_of(dead);
    }
    let top = main.top();
    dead.push_value(-1);
    // SAFETY: both are live stacks of one VM with room for the value.
    unsafe { ffi::lua_xmove(dead.raw(), main.raw(), 1) };
    let message = match main.call_tostring(-1) {
        Ok(true) => message_of(main),
        Ok(false) | Err(_) => message_of(dead),
    };
    main.set_top(top);
    message
}

/// The line that error.log gets for an error that nothing caught.
///
/// # Safety
/// `l` must be a live coroutine that died with its error value on the top, and
/// `main` another live stack of its VM.
pub(super) unsafe fn describe_error(
    thread: &str,
    l: *mut ffi::lua_State,
    status: c_int,
    main: *mut ffi::lua_State,
) -> Vec<u8> {
    let kind = match status {
        ffi::LUA_ERRMEM => "memory allocation error",
        ffi::LUA_ERRSYNTAX => "syntax error",
        ffi::LUA_ERRERR => "error handler error",
        _ => "runtime error",
    };
    // SAFETY: by the caller's promise.
    let state = unsafe { State::from_raw(l) };
    // SAFETY: by the caller's promise.
    let message = error_message(&state, &mut unsafe { State::from_raw(main) });
    let mut text = format!("lua {thread} thread aborted: {kind}: {message}").into_bytes();
    text.extend_from_slice(b"\nstack traceback:\ncoroutine 0:");
    let trace = traceback(main, l, 0);
    text.extend_from_slice(trace.strip_prefix(b"stack traceback:").unwrap_or(&trace));
    text
}
