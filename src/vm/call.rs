//! Functions of the user's that run later, in a handler of their own.

use std::cell::Cell;
use std::os::raw::c_int;
use std::rc::Rc;

use super::ffi;
use super::function::Throw;
use super::sched::{self, FREE_SLOTS, Host, Outcome, Thread};
use super::stack::State;
use super::state::{Coroutine, Vm};

/// A Lua function with its arguments, on a coroutine that waits for its turn.
pub struct Call {
    co: Coroutine,
    started: Cell<bool>,
    vm: Rc<Vm>,
}

impl Call {
    fn new(co: Coroutine, vm: Rc<Vm>) -> Call {
        Call {
            co,
            started: Cell::new(false),
            vm,
        }
    }

    /// Takes the function at index `first`, and its arguments above it, off
    /// the stack.
    pub fn take(state: &mut State, first: c_int) -> Result<Call, Throw> {
        let vm = Vm::of(state).ok_or_else(|| Throw::error("no Lua VM to run in"))?;
        let n = state.top() - first + 1;
        let co = vm.coroutine(state);
        let call = Call::new(co, vm);
        if n >= FREE_SLOTS && !call.vm.fits(co.l, n + 1) {
            return Err(Throw::error("too many arguments"));
        }
        // SAFETY: both are live stacks of one VM, and the new one has room.
        unsafe { ffi::lua_xmove(state.raw(), co.l, n) };
        Ok(call)
    }

    /// The VM that it belongs to.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Another call of the same function with the same arguments. None where
    /// memory is short.
    pub fn duplicate(&self) -> Option<Call> {
        let from = self.stack();
        let n = from.top();
        let co = self.vm.protect(|state| self.vm.coroutine(state)).ok()?;
        let call = Call::new(co, self.vm.clone());
        if !self.vm.fits(co.l, n + 1) || !self.vm.fits(from.raw(), n) {
            return None;
        }
        for idx in 1..=n {
            from.push_value(idx);
        }
        // SAFETY: both are live stacks of one VM, and both have room.
        unsafe { ffi::lua_xmove(from.raw(), co.l, n) };
        Some(call)
    }

    /// Where the function was defined: `source:line`.
    pub fn place(&self) -> String {
        self.stack().defined_at(1).unwrap_or_else(|| "?".into())
    }

    /// Starts it as a handler of its own, with `flag` before its arguments;
    /// as [`sched::start`].
    pub fn start(self, flag: bool, host: Rc<dyn Host>) -> (Rc<Thread>, Option<Outcome>) {
        let mut state = self.stack();
        let nargs = state.top();
        // Room for it was made in take() or duplicate().
        state.push_bool(flag);
        state.insert(2);
        // The thread owns the coroutine from here on.
        self.started.set(true);
        sched::begin(&self.vm, host, self.co, nargs)
    }

    fn stack(&self) -> State {
        // SAFETY: the coroutine is anchored, and its VM alive.
        unsafe { State::from_raw(self.co.l) }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.started.get() {
            self.vm.release(self.co.anchor);
        }
    }
}
