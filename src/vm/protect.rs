//! Calls into Lua from outside of any Lua function.

use std::cell::Cell;
use std::ffi::c_void;
use std::os::raw::c_int;
use std::panic::resume_unwind;
use std::ptr;

use super::ffi;
use super::stack::{State, Type};
use super::trace::message_of;
use super::unwind::{Payload, catch_panic};
use crate::rt::worker_local;

/// Lua's message when memory runs out.
pub(in crate::vm) const NO_MEMORY: &str = "not enough memory";

worker_local! {
    /// What the next call of `enter` runs.
    static NEXT: Cell<Option<Job>> = Cell::new(None);
}

#[derive(Clone, Copy)]
struct Job {
    run: unsafe fn(*mut c_void, &mut State),
    data: *mut c_void,
}

/// The way into a protected call, which itself allocates nothing: garbage must
/// be collected through it when there is no memory left.
#[derive(Clone, Copy)]
pub(super) struct Gate(c_int);

impl Gate {
    /// Makes the gate of the state `l`. None where memory is short.
    ///
    /// # Safety
    /// `l` must be a live state that is not suspended.
    pub(super) unsafe fn new(l: *mut ffi::lua_State) -> Option<Gate> {
        let mut gate = None;
        let make = |state: &mut State| {
            // SAFETY: the state is live and `enter` a lua_CFunction.
            unsafe { ffi::lua_pushcclosure(state.raw(), enter, 0) };
            gate = Some(Gate(state.anchor()));
        };
        // SAFETY: the state is live by the caller's promise.
        let made = protected(make, || unsafe {
            ffi::lua_cpcall(l, enter, ptr::null_mut())
        });
        made.ok()?;
        gate
    }

    /// Runs `f` on `l`, whose calls into Lua may raise errors where no function
    /// of Lua would catch them. What `f` leaves on the stack is removed.
    ///
    /// # Errors
    /// Lua's message.
    ///
    /// # Safety
    /// `l` must be the live state that the gate was made for, not suspended.
    pub(super) unsafe fn protect<R>(
        self,
        l: *mut ffi::lua_State,
        f: impl FnOnce(&mut State) -> R,
    ) -> Result<R, String> {
        // SAFETY: the state is live by the caller's promise.
        let (mut state, top) = unsafe { (State::from_raw(l), ffi::lua_gettop(l)) };
        // SAFETY: as above; the function is anchored and takes no arguments.
        let result = protected(f, || unsafe {
            State::from_raw(l).push_anchored(self.0);
            ffi::lua_pcall(l, 0, 0, 0)
        });
        result.map_err(|status| {
            // An error raised for another stack has left its message there.
            let message = match state.type_of(-1) {
                _ if status == ffi::LUA_ERRMEM => NO_MEMORY.into(),
                Type::String => message_of(&state),
                _ => "unknown reason".into(),
            };
            state.set_top(top);
            message
        })
    }
}

struct Running<F, R> {
    f: Option<F>,
    result: Option<Result<R, Payload>>,
}

/// Runs `f` in `enter`, which `call` calls. Err: what `call` returned.
fn protected<R, F: FnOnce(&mut State) -> R>(
    f: F,
    call: impl FnOnce() -> c_int,
) -> Result<R, c_int> {
    let mut running = Running {
        f: Some(f),
        result: None,
    };
    NEXT.set(Some(Job {
        run: run::<F, R>,
        data: (&raw mut running).cast(),
    }));
    let status = call();
    NEXT.set(None);
    match running.result {
        Some(Ok(result)) if status == ffi::LUA_OK => Ok(result),
        Some(Err(payload)) => resume_unwind(payload),
        _ => Err(status),
    }
}

/// # Safety
/// `data` points to a `Running<F, R>` that nothing else uses meanwhile.
unsafe fn run<F: FnOnce(&mut State) -> R, R>(data: *mut c_void, state: &mut State) {
    // SAFETY: by the caller's promise.
    let running = unsafe { &mut *data.cast::<Running<F, R>>() };
    if let Some(f) = running.f.take() {
        running.result = Some(catch_panic(|| f(state)));
    }
}

/// # Safety
/// Called by Lua only.
unsafe extern "C-unwind" fn enter(l: *mut ffi::lua_State) -> c_int {
    if let Some(job) = NEXT.take() {
        // SAFETY: Lua passes the running state; whoever set the job waits for
        // this call to end.
        unsafe { (job.run)(job.data, &mut State::from_raw(l)) };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::Gate;
    use crate::vm::ffi;

    #[test]
    fn errors_and_panics_come_back() {
        // SAFETY: a state of our own, closed at the end.
        unsafe {
            let l = ffi::luaL_newstate();
            let gate = Gate::new(l).expect("there is memory");
            assert_eq!(gate.protect(l, |state| state.top()), Ok(0));
            let raised: Result<(), String> = gate.protect(l, |state| {
                state.push_bytes("raised");
                ffi::lua_error(state.raw());
            });
            assert_eq!(raised, Err("raised".into()));
            let panicked = std::panic::catch_unwind(|| gate.protect(l, |_| panic!("panicked")));
            assert!(panicked.is_err());
            let nested = gate.protect(l, |_| gate.protect(l, |_| 1));
            assert_eq!(nested, Ok(Ok(1)));
            assert_eq!(ffi::lua_gettop(l), 0);
            ffi::lua_close(l);
        }
    }
}
