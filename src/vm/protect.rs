//! Calls into Lua from outside of any Lua function.

use std::ffi::c_void;
use std::os::raw::c_int;
use std::panic::resume_unwind;

use super::ffi;
use super::stack::{State, Type};
use super::unwind::{Payload, catch_panic};

struct Running<F, R> {
    f: Option<F>,
    result: Option<Result<R, Payload>>,
}

/// Runs `f`, whose calls into Lua may raise errors where no function of Lua
/// would catch them. What `f` leaves on the stack of `l` is removed.
///
/// # Errors
/// Lua's message.
///
/// # Safety
/// `l` must be a live state that is not suspended.
pub(super) unsafe fn protect<R, F>(l: *mut ffi::lua_State, f: F) -> Result<R, String>
where
    F: FnOnce(&mut State) -> R,
{
    let mut running = Running {
        f: Some(f),
        result: None,
    };
    // SAFETY: the state is live; `running` outlives the call, and is of the
    // type that `call` expects.
    let (top, status) = unsafe {
        let top = ffi::lua_gettop(l);
        let status = ffi::lua_cpcall(l, call::<F, R>, (&raw mut running).cast());
        (top, status)
    };
    match running.result {
        Some(Ok(result)) if status == ffi::LUA_OK => return Ok(result),
        Some(Err(payload)) => resume_unwind(payload),
        _ => {}
    }
    // SAFETY: the state is live.
    let mut state = unsafe { State::from_raw(l) };
    // An error raised for another stack has left its message there.
    let message = match state.type_of(-1) {
        _ if status == ffi::LUA_ERRMEM => "not enough memory".into(),
        Type::String => super::trace::message_of(&state),
        _ => "unknown reason".into(),
    };
    state.set_top(top);
    Err(message)
}

/// # Safety
/// Called by Lua only, with a `Running<F, R>` as its argument.
unsafe extern "C-unwind" fn call<F, R>(l: *mut ffi::lua_State) -> c_int
where
    F: FnOnce(&mut State) -> R,
{
    // SAFETY: Lua passes the running state, and protect() the argument, which
    // nothing else uses meanwhile.
    let (mut state, running) = unsafe {
        let data: *mut c_void = ffi::lua_touserdata(l, 1);
        (State::from_raw(l), &mut *data.cast::<Running<F, R>>())
    };
    if let Some(f) = running.f.take() {
        running.result = Some(catch_panic(|| f(&mut state)));
    }
    0
}

#[cfg(test)]
mod tests {
    use super::protect;
    use crate::vm::ffi;

    #[test]
    fn errors_and_panics_come_back() {
        // SAFETY: a state of our own, closed at the end.
        unsafe {
            let l = ffi::luaL_newstate();
            assert_eq!(protect(l, |state| state.top()), Ok(1));
            let raised: Result<(), String> = protect(l, |state| {
                state.push_bytes("raised");
                ffi::lua_error(state.raw());
            });
            assert_eq!(raised, Err("raised".into()));
            let panicked = std::panic::catch_unwind(|| protect(l, |_| panic!("panicked")));
            assert!(panicked.is_err());
            assert_eq!(ffi::lua_gettop(l), 0);
            ffi::lua_close(l);
        }
    }
}
