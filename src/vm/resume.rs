//! Resuming coroutines alike on every architecture.

use std::os::raw::c_int;

use super::ffi;

/// Whether LuaJIT takes only the values that it was told of for the results of
/// the call that has yielded. Its x86-64 code does; on AArch64, say, it counts
/// whatever stands on the stack beside them, and takes values that are not there.
const COUNTS_RESULTS_ONLY: bool = cfg!(target_arch = "x86_64");

/// Lets a coroutine begin, or go on with the `n` values on the top of its
/// stack; says how it stopped. What stood below the values when it waited, the
/// arguments of the function that had yielded, is dropped.
///
/// # Safety
/// `l` must be a live coroutine that does not run, with that many values, and
/// its function below them if it is to begin.
#[inline]
pub(super) unsafe fn resume_with(l: *mut ffi::lua_State, n: c_int) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe {
        if !COUNTS_RESULTS_ONLY && ffi::lua_status(l) == ffi::LUA_YIELD {
            for below in (1..=ffi::lua_gettop(l) - n).rev() {
                ffi::lua_remove(l, below);
            }
        }
        ffi::lua_resume_(l, n)
    }
}

#[cfg(test)]
mod tests {
    use super::resume_with;
    use crate::vm::ffi;
    use crate::vm::function::{LuaResult, Ret};
    use crate::vm::stack::State;

    fn waits(state: &mut State) -> LuaResult {
        Ok(Ret::Yield(state.top()))
    }

    #[test]
    fn results_are_those_handed_over() {
        // SAFETY: a state of our own; its coroutine is anchored on its stack.
        unsafe {
            let main = ffi::luaL_newstate();
            ffi::luaL_openlibs(main);
            let l = ffi::lua_newthread(main);
            let co = State::from_raw(l);
            for (args, results) in [(0, 0), (3, 0), (3, 1), (1, 3), (2, 2)] {
                // From Lua code, which tells how many results it gets.
                let code = b"local waits = ... return waits(select(2, ...))";
                let (text, size) = (code.as_ptr().cast(), code.len());
                assert_eq!(ffi::luaL_loadbuffer(l, text, size, c"=test".as_ptr()), 0);
                co.push_function(waits);
                (0..args).for_each(|i| co.push_int(i.into()));
                assert_eq!(resume_with(l, args + 1), ffi::LUA_YIELD);
                assert_eq!(co.top(), args);
                (0..results).for_each(|i| co.push_int(10 + i64::from(i)));
                assert_eq!(resume_with(l, results), ffi::LUA_OK);
                let got: Vec<_> = (1..=co.top()).map(|i| co.number(i)).collect();
                let want: Vec<_> = (0..results).map(|i| Some(f64::from(10 + i))).collect();
                assert_eq!(got, want, "{args} arguments");
                ffi::lua_settop(l, 0);
            }
            ffi::lua_close(main);
        }
    }
}
