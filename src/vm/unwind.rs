//! Catching panics where Lua errors must pass.
//!
//! Lua raises its errors by unwinding the stack, and nearly every call into
//! Lua may raise one: memory runs out, a stack overflows, a finalizer of the
//! user's fails while the call sets off a garbage collection. Such an error has
//! to reach Lua's own handler; the destructors of the Rust frames in between
//! run on its way. `std::panic::catch_unwind` would end the process ("Rust
//! cannot catch foreign exceptions"). [`catch_panic`] catches panics alone.

use std::any::Any;
use std::os::raw::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::ffi::lua_State;

/// Why a panic happened; see [`crate::rt::panic_message`].
pub type Payload = Box<dyn Any + Send>;

/// Runs `f`; a panic is caught, a Lua error passes through.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub fn catch_panic<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    native::catch_panic(f)
}

/// Runs `f`; a panic is caught. On this architecture a Lua error raised inside
/// of `f`, other than by a body's result, ends the process.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn catch_panic<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// A function that Lua can call.
pub(super) type CFunction = unsafe extern "C-unwind" fn(*mut lua_State) -> c_int;

/// [`catch_panic`] for a function that Lua calls, with as little as possible
/// around it: it is what every call of ours passes through.
///
/// # Safety
/// As to call `body` with `l`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) unsafe fn call_catching(body: CFunction, l: *mut lua_State) -> Result<c_int, Payload> {
    // SAFETY: by the caller's promise.
    unsafe { native::call_catching(body, l) }
}

/// [`catch_panic`] for a function that Lua calls.
///
/// # Safety
/// As to call `body` with `l`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn call_catching(body: CFunction, l: *mut lua_State) -> Result<c_int, Payload> {
    // SAFETY: by the caller's promise.
    catch_panic(|| unsafe { body(l) })
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod native {
    use std::arch::global_asm;
    use std::ffi::c_void;
    use std::os::raw::c_int;

    use super::{AssertUnwindSafe, CFunction, Payload, catch_unwind, lua_State};

    // ngx_cosocket_try(call, data): returns what `call(data)` returns, and null
    // or the exception that the personality below stopped here, each in a
    // register. There is but one call in it, so the personality always knows
    // where it has to go on.
    #[cfg(target_arch = "x86_64")]
    global_asm!(
        ".pushsection .text.ngx_cosocket_try,\"ax\",@progbits",
        ".p2align 4",
        ".globl ngx_cosocket_try, ngx_cosocket_caught",
        ".hidden ngx_cosocket_try",
        ".hidden ngx_cosocket_caught",
        ".type ngx_cosocket_try,@function",
        "ngx_cosocket_try:",
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}",
        "sub rsp, 8",
        ".cfi_def_cfa_offset 16",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "xor edx, edx",
        "ngx_cosocket_caught:",
        "add rsp, 8",
        ".cfi_def_cfa_offset 8",
        "ret",
        ".cfi_endproc",
        ".size ngx_cosocket_try, . - ngx_cosocket_try",
        ".popsection",
        personality = sym personality,
    );

    #[cfg(target_arch = "aarch64")]
    global_asm!(
        ".pushsection .text.ngx_cosocket_try,\"ax\",@progbits",
        ".p2align 2",
        ".globl ngx_cosocket_try, ngx_cosocket_caught",
        ".hidden ngx_cosocket_try",
        ".hidden ngx_cosocket_caught",
        ".type ngx_cosocket_try,@function",
        "ngx_cosocket_try:",
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}",
        "stp x29, x30, [sp, -16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset 29, -16",
        ".cfi_offset 30, -8",
        "mov x9, x0",
        "mov x0, x1",
        "blr x9",
        "mov x1, xzr",
        "ngx_cosocket_caught:",
        "ldp x29, x30, [sp], 16",
        ".cfi_restore 30",
        ".cfi_restore 29",
        ".cfi_def_cfa_offset 0",
        "ret",
        ".cfi_endproc",
        ".size ngx_cosocket_try, . - ngx_cosocket_try",
        ".popsection",
        personality = sym personality,
    );

    /// What a call came to: its result, unless there is an exception.
    #[repr(C)]
    struct Ended {
        result: usize,
        exception: *mut c_void,
    }

    type Call = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

    unsafe extern "C-unwind" {
        fn ngx_cosocket_try(call: Call, data: *mut c_void) -> Ended;
        fn _Unwind_RaiseException(exception: *mut c_void) -> c_int;
    }

    unsafe extern "C" {
        fn ngx_cosocket_caught();
        fn _Unwind_SetGR(context: *mut c_void, register: c_int, value: usize);
        fn _Unwind_SetIP(context: *mut c_void, address: usize);
    }

    /// The class of Rust's panics.
    const RUST: u64 = u64::from_ne_bytes(*b"MOZ\0RUST");
    /// Second result register, as DWARF numbers it, on both architectures.
    const EXCEPTION_REGISTER: c_int = 1;

    const SEARCH_PHASE: c_int = 1;
    const HANDLER_FRAME: c_int = 4;
    const FORCED: c_int = 8;

    const HANDLER_FOUND: c_int = 6;
    const INSTALL_CONTEXT: c_int = 7;
    const CONTINUE_UNWIND: c_int = 8;

    /// Asked by the unwinder what `ngx_cosocket_try` does with an exception.
    ///
    /// # Safety
    /// Called by the unwinder only.
    unsafe extern "C" fn personality(
        _version: c_int,
        actions: c_int,
        class: u64,
        exception: *mut c_void,
        context: *mut c_void,
    ) -> c_int {
        if class != RUST || actions & FORCED != 0 {
            CONTINUE_UNWIND
        } else if actions & SEARCH_PHASE != 0 {
            HANDLER_FOUND
        } else if actions & HANDLER_FRAME != 0 {
            // SAFETY: the unwinder passes its live context; at that address
            // the function returns that register.
            unsafe {
                _Unwind_SetGR(context, EXCEPTION_REGISTER, exception.expose_provenance());
                _Unwind_SetIP(context, ngx_cosocket_caught as *const () as usize);
            }
            INSTALL_CONTEXT
        } else {
            CONTINUE_UNWIND
        }
    }

    struct Running<F, R> {
        f: Option<F>,
        result: Option<R>,
    }

    /// # Safety
    /// `data` points to a `Running<F, R>` that nothing else uses.
    unsafe extern "C-unwind" fn call<F: FnOnce() -> R, R>(data: *mut c_void) -> c_int {
        // SAFETY: by the caller's promise.
        let running = unsafe { &mut *data.cast::<Running<F, R>>() };
        if let Some(f) = running.f.take() {
            running.result = Some(f());
        }
        0
    }

    pub(super) fn catch_panic<R, F: FnOnce() -> R>(f: F) -> Result<R, Payload> {
        let mut running = Running {
            f: Some(f),
            result: None,
        };
        // SAFETY: `running` outlives the call, and is of the type that `call`
        // expects.
        let ended = unsafe { ngx_cosocket_try(call::<F, R>, (&raw mut running).cast()) };
        match running.result {
            Some(result) if ended.exception.is_null() => Ok(result),
            // SAFETY: it was stopped above.
            _ => Err(unsafe { payload(ended.exception) }),
        }
    }

    /// # Safety
    /// As to call `body` with `l`.
    #[inline(always)]
    pub(super) unsafe fn call_catching(
        body: CFunction,
        l: *mut lua_State,
    ) -> Result<c_int, Payload> {
        // SAFETY: a function may be called through another type of the same
        // ABI, whose only difference is what its pointer points to.
        let body = unsafe { std::mem::transmute::<CFunction, Call>(body) };
        // SAFETY: by the caller's promise.
        let ended = unsafe { ngx_cosocket_try(body, l.cast()) };
        if ended.exception.is_null() {
            // A c_int leaves the upper half of the register undefined.
            return Ok(ended.result as c_int);
        }
        // SAFETY: it was stopped above.
        Err(unsafe { payload(ended.exception) })
    }

    /// What a panic carries: it is thrown anew, for Rust to take it apart.
    ///
    /// # Safety
    /// `exception` must be a stopped exception of Rust's, used nowhere else.
    #[cold]
    unsafe fn payload(exception: *mut c_void) -> Payload {
        // SAFETY: by the caller's promise.
        let caught = catch_unwind(AssertUnwindSafe(|| unsafe {
            _Unwind_RaiseException(exception)
        }));
        match caught {
            Err(payload) => payload,
            // The unwinder could not throw, though a frame catches above.
            Ok(_) => std::process::abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::catch_panic;
    use crate::vm::ffi;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn results_come_back() {
        assert_eq!(catch_panic(|| vec![1, 2]).ok(), Some(vec![1, 2]));
    }

    #[test]
    fn panics_are_caught_again_and_again() {
        for i in 0..3 {
            let dropped = Rc::new(Cell::new(false));
            let in_frame = DropFlag(dropped.clone());
            let caught = catch_panic(move || {
                let _in_frame = in_frame;
                if i < 5 {
                    panic!("number {i}");
                }
            });
            let payload = caught.expect_err("it panicked");
            let text = payload.downcast_ref::<String>().map(String::as_str);
            assert_eq!(text, Some(&*format!("number {i}")));
            assert!(dropped.get());
            assert!(!std::thread::panicking());
        }
    }

    struct DropFlag(Rc<Cell<bool>>);

    impl Drop for DropFlag {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    thread_local!(static DROPPED: Rc<Cell<bool>> = Rc::default());

    unsafe extern "C-unwind" fn raises(l: *mut ffi::lua_State) -> i32 {
        let in_frame = DropFlag(DROPPED.with(Clone::clone));
        let caught = catch_panic(|| {
            let _in_frame = in_frame;
            // SAFETY: Lua passes the running state.
            unsafe {
                ffi::lua_pushnumber(l, 42.0);
                ffi::lua_error(l)
            }
        });
        i32::from(caught.is_err())
    }

    #[test]
    fn lua_errors_pass_and_drop_what_they_pass() {
        // SAFETY: a state of our own; what is pushed is what is called.
        unsafe {
            let l = ffi::luaL_newstate();
            ffi::lua_pushcclosure(l, raises, 0);
            assert_ne!(ffi::lua_pcall(l, 0, 0, 0), ffi::LUA_OK);
            assert_eq!(ffi::lua_tonumber(l, -1), 42.0);
            ffi::lua_close(l);
        }
        assert!(DROPPED.with(|dropped| dropped.get()));
    }
}
