//! Operations that may have to wait.

use std::os::raw::c_int;
use std::task::{Context, Poll};

use super::function::{LuaResult, Ret, Throw};
use super::sched;
use super::stack::State;

/// An operation that a Lua function started.
///
/// It is polled once when the function is called; when it cannot complete it
/// is parked in the coroutine and polled again each time its waker is used.
/// Dropping it cancels it.
pub trait Parked {
    /// Tries to complete; when it does, pushes the results of the Lua
    /// function and says how many.
    ///
    /// Must not run Lua code. What stood on the stack when the operation was
    /// parked still stands there, so that an object cannot be collected while
    /// one of its methods waits.
    fn poll(&mut self, cx: &mut Context<'_>, state: &mut State) -> Poll<c_int>;

    /// Whether `poll` does anything to the stack that may raise an error of
    /// Lua's, such as to make a string. Where it does not, the scheduler saves
    /// itself a protected call.
    fn may_raise(&self) -> bool {
        true
    }
}

/// Runs `op` as the body of a Lua function: returns its results at once where
/// it completes at once, else suspends the running coroutine until it does.
#[inline]
pub fn run_op<O: Parked + 'static>(state: &mut State, op: O) -> LuaResult {
    // Where it stays: nearly all that get here wait.
    let mut op = Box::new(op);
    let Some(waker) = sched::current_waker() else {
        return Err(Throw::error("no request found"));
    };
    match op.poll(&mut Context::from_waker(&waker), state) {
        Poll::Ready(n) => Ok(Ret::Values(n)),
        Poll::Pending => suspend(state, op),
    }
}

/// Suspends the running coroutine until `op`, which is pending, completes.
#[inline(always)]
pub(super) fn suspend(state: &mut State, op: Box<dyn Parked>) -> LuaResult {
    if !state.is_yieldable() {
        return Err(Throw::error("attempt to yield across C-call boundary"));
    }
    sched::park(op);
    Ok(Ret::Yield(state.top()))
}
