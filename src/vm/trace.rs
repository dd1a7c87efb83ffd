//! Lua's errors as text.

use std::ffi::CStr;
use std::os::raw::c_int;

use super::coroutine;
use super::ffi;
use super::stack::{State, Type};

/// Coroutines in a traceback, at most; nginx cuts off lines of more than 2 KB.
const MOST_COROUTINES: usize = 5;

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
    text.extend_from_slice(b"\nstack traceback:");
    let failed = std::iter::successors(Some(l), |&l| {
        // SAFETY: `l` has died of its error, and keeps the next one alive.
        unsafe { failed_wrap(l) }
    });
    let chain: Vec<_> = failed.collect();
    for (n, &l) in chain.iter().rev().take(MOST_COROUTINES).enumerate() {
        text.extend_from_slice(format!("\ncoroutine {n}:").as_bytes());
        // Those further out begin with the two functions that passed it on.
        let trace = traceback(main, l, if n == 0 { 0 } else { 2 });
        text.extend_from_slice(trace.strip_prefix(b"stack traceback:").unwrap_or(&trace));
    }
    text
}

/// The coroutine whose error `coroutine.wrap` has passed on to `l`, which died of it.
///
/// # Safety
/// `l` must be a live coroutine that died of an error.
unsafe fn failed_wrap(l: *mut ffi::lua_State) -> Option<*mut ffi::lua_State> {
    // SAFETY: zeros are a valid lua_Debug, which Lua fills; there is room for
    // the value that lua_getlocal pushes, and it is taken off again. The local
    // itself stays on the dead stack.
    unsafe {
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        // Above `error` itself.
        if !State::from_raw(l).reserve(1)
            || ffi::lua_getstack(l, 1, &mut frame) == 0
            || ffi::lua_getinfo(l, c"S".as_ptr(), &mut frame) == 0
            || CStr::from_ptr(frame.source) != coroutine::NAME
            || ffi::lua_getlocal(l, &frame, 1).is_null()
        {
            return None;
        }
        let failed = ffi::lua_tothread(l, -1);
        State::from_raw(l).pop(1);
        (!failed.is_null()).then_some(failed)
    }
}
