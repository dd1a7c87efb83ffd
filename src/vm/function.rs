//! Rust functions that Lua can call: the trampoline between the two.
//!
//! A body returns a `Result`; only when all its values are dropped does the
//! trampoline raise the error. Errors that calls into Lua raise on their own
//! account (memory, finalizers) unwind the body. A panic in a body becomes a
//! Lua error.

use std::os::raw::c_int;
use std::ptr::NonNull;

use super::ffi;
use super::stack::State;
use super::unwind::{Payload, call_catching};
use crate::rt::panic_message;

/// What a Lua function written in Rust gives back.
pub type LuaResult = Result<Ret, Throw>;

/// A successful end of a function body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// This many values on the top of the stack are the results.
    Values(c_int),
    /// The coroutine is to be suspended, handing over this many values.
    Yield(c_int),
}

/// A Lua error to raise.
#[derive(Debug)]
pub enum Throw {
    /// A message that Lua prefixes with the caller's chunk name and line.
    Error(String),
    /// `bad argument #N to 'function' (message)`.
    Argument(c_int, String),
    /// The value on the top of the stack, as it is.
    Value,
}

impl Throw {
    /// An error with the caller's position.
    pub fn error(message: impl Into<String>) -> Throw {
        Throw::Error(message.into())
    }

    /// An argument error; `n` counts from 1 and includes the object.
    pub fn argument(n: c_int, message: impl Into<String>) -> Throw {
        Throw::Argument(n, message.into())
    }
}

/// A function body: a plain `fn` or a closure that captures nothing.
pub trait Body: Fn(&mut State) -> LuaResult + Copy + 'static {}
impl<F: Fn(&mut State) -> LuaResult + Copy + 'static> Body for F {}

impl State {
    /// Pushes a function.
    pub fn push_function<F: Body>(&self, body: F) {
        self.push_closure(body, 0);
    }

    /// Pops `n` values and pushes a function that has them as upvalues.
    pub fn push_closure<F: Body>(&self, _body: F, n: c_int) {
        const { assert!(size_of::<F>() == 0, "a Lua function cannot capture") };
        // SAFETY: the state is live and the trampoline has the C signature.
        unsafe { ffi::lua_pushcclosure(self.raw(), trampoline::<F>, n) }
    }

    /// Sets the function `name` in the table on the top of the stack.
    pub fn set_function<F: Body>(&mut self, name: &str, body: F) {
        self.push_function(body);
        self.raw_set_field(-2, name);
    }

    /// Index of upvalue `n` (from 1) of the running function.
    pub fn upvalue(n: c_int) -> c_int {
        ffi::LUA_GLOBALSINDEX - n
    }
}

/// # Safety
/// Called by Lua only, as a `lua_CFunction`.
unsafe extern "C-unwind" fn trampoline<F: Body>(l: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua passes the running state.
    match unsafe { call_catching(run::<F>, l) } {
        Ok(n) => n,
        // SAFETY: as above.
        Err(payload) => unsafe { raise_panic(l, payload) },
    }
}

/// # Safety
/// `l` must be the running state.
unsafe extern "C-unwind" fn run<F: Body>(l: *mut ffi::lua_State) -> c_int {
    // All Rust values live and die inside run_body(), so that nothing is left
    // to drop when lua_error leaves this frame.
    match run_body::<F>(l) {
        Ok(n) => n,
        // SAFETY: the running coroutine suspends itself; on LuaJIT this
        // returns the marker that the VM waits for.
        Err(Exit::Yield(n)) => unsafe { ffi::lua_yield(l, n) },
        // SAFETY: the error value stands on the top of the stack.
        Err(Exit::Raise) => unsafe { ffi::lua_error(l) },
        // SAFETY: the message on the top is a string that stays anchored
        // on the stack while Lua copies it.
        Err(Exit::RaiseArgument(n)) => unsafe {
            ffi::luaL_argerror(l, n, ffi::lua_tolstring(l, -1, std::ptr::null_mut()))
        },
    }
}

/// How a function is left other than with results.
enum Exit {
    Yield(c_int),
    Raise,
    RaiseArgument(c_int),
}

/// Makes a panic a Lua error.
///
/// # Safety
/// `l` must be the running state.
#[cold]
unsafe fn raise_panic(l: *mut ffi::lua_State, payload: Payload) -> c_int {
    let message = format!("internal error: panicked: {}", panic_message(&*payload));
    drop(payload);
    // SAFETY: by the caller's promise.
    raise_later(&mut unsafe { State::from_raw(l) }, Throw::Error(message));
    // SAFETY: the error value stands on the top of the stack.
    unsafe { ffi::lua_error(l) }
}

#[inline(always)]
fn run_body<F: Body>(l: *mut ffi::lua_State) -> Result<c_int, Exit> {
    // SAFETY: Lua passes the running state; it outlives the call.
    let mut state = unsafe { State::from_raw(l) };
    // SAFETY: F has no size (checked where the function was pushed), so any
    // bit pattern, the empty one, is a value of it.
    let body: F = unsafe { NonNull::<F>::dangling().read() };
    match body(&mut state) {
        Ok(Ret::Values(n)) => Ok(n),
        Ok(Ret::Yield(n)) => Err(Exit::Yield(n)),
        Err(throw) => Err(raise_later(&mut state, throw)),
    }
}

/// Pushes the error that the trampoline is to raise.
#[cold]
fn raise_later(state: &mut State, throw: Throw) -> Exit {
    match throw {
        Throw::Value => Exit::Raise,
        Throw::Error(message) => {
            push_with_position(state, &message);
            Exit::Raise
        }
        Throw::Argument(n, message) => {
            state.push_bytes(message);
            Exit::RaiseArgument(n)
        }
    }
}

/// Pushes `chunk:line: message`, the position being the caller's.
fn push_with_position(state: &mut State, message: &str) {
    // SAFETY: the state is live.
    unsafe { ffi::luaL_where(state.raw(), 1) };
    let mut text = state.bytes(-1).unwrap_or_default().to_vec();
    text.extend_from_slice(message.as_bytes());
    state.pop(1);
    state.push_bytes(text);
}

#[cfg(test)]
mod tests {
    use super::{LuaResult, Ret, Throw};
    use crate::vm::ffi;
    use crate::vm::stack::State;

    fn returns(state: &mut State) -> LuaResult {
        state.push_number(1.0);
        state.push_number(2.0);
        Ok(Ret::Values(2))
    }

    fn throws(_: &mut State) -> LuaResult {
        Err(Throw::error("thrown"))
    }

    fn panics(_: &mut State) -> LuaResult {
        panic!("oh")
    }

    #[test]
    fn results_errors_and_panics_reach_lua() {
        // SAFETY: a state of our own, closed at the end.
        unsafe {
            let l = ffi::luaL_newstate();
            let state = State::from_raw(l);
            for _ in 0..2 {
                state.push_function(returns);
                assert_eq!(ffi::lua_pcall(l, 0, -1, 0), ffi::LUA_OK);
                assert_eq!((state.top(), state.number(1)), (2, Some(1.0)));
                ffi::lua_settop(l, 0);
                state.push_function(throws);
                assert_ne!(ffi::lua_pcall(l, 0, 0, 0), ffi::LUA_OK);
                assert_eq!(state.bytes(-1), Some(b"thrown".as_slice()));
                state.push_function(panics);
                assert_ne!(ffi::lua_pcall(l, 0, 0, 0), ffi::LUA_OK);
                let message = b"internal error: panicked: oh".as_slice();
                assert_eq!(state.bytes(-1), Some(message));
                ffi::lua_settop(l, 0);
            }
            assert!(!std::thread::panicking());
            ffi::lua_close(l);
        }
    }
}
