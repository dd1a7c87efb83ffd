//! One Lua VM: its creation, chunk cache and recycled coroutines.

use std::cell::RefCell;
use std::os::raw::c_int;

use super::chunk::{Cache, Chunk};
use super::ffi;
use super::stack::State;
use super::{coroutine, guard};

/// How many finished coroutines a VM keeps for later handlers.
const SPARE_COROUTINES: usize = 1024;

/// What a VM is made with.
pub struct VmOptions<'a> {
    /// `package.path`, already expanded; None leaves LuaJIT's default.
    /// `;;` stands for that default.
    pub package_path: Option<&'a [u8]>,
    /// The same for `package.cpath`.
    pub package_cpath: Option<&'a [u8]>,
    /// Installs the Lua API; called with the new state.
    pub open: fn(&mut State),
}

/// A coroutine that the scheduler made, anchored in the registry.
#[derive(Clone, Copy)]
pub(super) struct Coroutine {
    pub l: *mut ffi::lua_State,
    pub anchor: c_int,
}

/// One Lua VM. Closed when the last owner lets go of it.
pub struct Vm {
    l: *mut ffi::lua_State,
    spare: RefCell<Vec<Coroutine>>,
    chunks: RefCell<Cache>,
}

impl Vm {
    /// Creates a VM with LuaJIT's libraries and the API of `options`.
    ///
    /// # Errors
    /// A text when Lua cannot be started or a library fails to load.
    pub fn new(options: &VmOptions<'_>) -> Result<Vm, String> {
        // SAFETY: a plain constructor.
        let l = unsafe { ffi::luaL_newstate() };
        if l.is_null() {
            return Err("failed to create a Lua VM: not enough memory".into());
        }
        let vm = Vm {
            l,
            spare: RefCell::default(),
            chunks: RefCell::default(),
        };
        // SAFETY: the new state is live and nothing else uses it.
        unsafe { ffi::luaL_openlibs(l) };
        let mut state = vm.state();
        set_search_path(&mut state, "path", options.package_path);
        set_search_path(&mut state, "cpath", options.package_cpath);
        (options.open)(&mut state);
        coroutine::install(&mut state)?;
        state.set_top(0);
        Ok(vm)
    }

    /// The main state: for set-up and for code that cannot wait.
    pub fn state(&self) -> State {
        // SAFETY: `l` lives as long as the Vm.
        unsafe { State::from_raw(self.l) }
    }

    /// From now on a write to an undefined global is reported through `warn`.
    ///
    /// # Errors
    /// A text when the guard cannot be installed.
    pub fn guard_globals(&self) -> Result<(), String> {
        guard::install(&mut self.state())
    }

    /// Compiles `chunk`, or finds it in the cache; returns its anchor.
    ///
    /// # Errors
    /// The whole text for error.log.
    pub(super) fn load(&self, chunk: &Chunk<'_>) -> Result<c_int, String> {
        let mut cache = self.chunks.borrow_mut();
        cache.get(&mut self.state(), chunk)
    }

    /// Runs `chunk` on the main state: for init_by_lua, which cannot wait.
    ///
    /// # Errors
    /// The message with a traceback.
    pub fn run_main(&self, chunk: &Chunk<'_>) -> Result<(), String> {
        let anchor = self.load(chunk)?;
        let mut state = self.state();
        state.push_anchored(anchor);
        protected_call(&mut state, 0)
    }

    /// Gives up an anchor in the registry.
    pub fn release(&self, anchor: c_int) {
        self.state().release(anchor);
    }

    /// A coroutine with an empty stack.
    pub(super) fn take_coroutine(&self) -> Coroutine {
        if let Some(co) = self.spare.borrow_mut().pop() {
            return co;
        }
        // SAFETY: the state is live; the thread is anchored at once.
        let l = unsafe { ffi::lua_newthread(self.l) };
        let anchor = self.state().anchor();
        Coroutine { l, anchor }
    }

    /// Takes back a coroutine; one that finished cleanly is used again.
    pub(super) fn give_coroutine(&self, co: Coroutine, clean: bool) {
        let mut spare = self.spare.borrow_mut();
        if clean && spare.len() < SPARE_COROUTINES {
            spare.push(co);
        } else {
            drop(spare);
            self.state().release(co.anchor);
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: threads and handlers own the Vm while they may use it, so
        // nothing refers to the state any more.
        unsafe { ffi::lua_close(self.l) }
    }
}

/// Calls the function below `nargs` arguments, dropping its results.
///
/// # Errors
/// The error message with a traceback.
pub(super) fn protected_call(state: &mut State, nargs: c_int) -> Result<(), String> {
    let base = state.top() - nargs;
    state.push_function(|state| {
        let text = super::sched::traceback_of(state);
        state.push_bytes(text);
        Ok(super::Ret::Values(1))
    });
    state.insert(base);
    // SAFETY: function, arguments and handler stand on the live stack.
    let status = unsafe { ffi::lua_pcall(state.raw(), nargs, 0, base) };
    let result = if status == ffi::LUA_OK {
        Ok(())
    } else {
        Err(super::sched::message_of(state))
    };
    state.set_top(base - 1);
    result
}

impl State {
    /// Runs Lua source that is part of the product, with the `nargs` values
    /// on the top as its arguments; leaves `nresults` values.
    ///
    /// # Errors
    /// Lua's message, without a traceback.
    pub fn run_builtin(
        &mut self,
        source: &str,
        name: &std::ffi::CStr,
        nargs: c_int,
        nresults: c_int,
    ) -> Result<(), String> {
        // SAFETY: the state is live, source and name outlive the call.
        let mut status = unsafe {
            ffi::luaL_loadbuffer(
                self.raw(),
                source.as_ptr().cast(),
                source.len(),
                name.as_ptr(),
            )
        };
        if status == ffi::LUA_OK {
            self.insert(-nargs - 1);
            // SAFETY: function and arguments stand on the live stack.
            status = unsafe { ffi::lua_pcall(self.raw(), nargs, nresults, 0) };
        }
        if status == ffi::LUA_OK {
            return Ok(());
        }
        let message = super::sched::message_of(self);
        self.pop(1);
        Err(message)
    }
}

/// Sets `package.path` or `package.cpath`.
fn set_search_path(state: &mut State, field: &str, value: Option<&[u8]>) {
    let Some(value) = value else { return };
    state.push_globals();
    state.raw_get_field(-1, "package");
    if state.type_of(-1) == super::Type::Table {
        state.raw_get_field(-1, field);
        let default = state.bytes(-1).unwrap_or_default().to_vec();
        state.pop(1);
        state.push_bytes(expand_default(value, &default));
        state.raw_set_field(-2, field);
    }
    state.pop(2);
}

/// Replaces the first `;;` by `;default;`, as Lua does for LUA_PATH.
fn expand_default(value: &[u8], default: &[u8]) -> Vec<u8> {
    let Some(at) = memchr::memmem::find(value, b";;") else {
        return value.to_vec();
    };
    let mut path = value[..at].to_vec();
    if at > 0 {
        path.push(b';');
    }
    path.extend_from_slice(default);
    if at + 2 < value.len() {
        path.push(b';');
        path.extend_from_slice(&value[at + 2..]);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::expand_default;

    #[test]
    fn double_semicolon_stands_for_the_default_path() {
        let cases: [(&[u8], &[u8]); 4] = [
            (b"/a/?.lua;;", b"/a/?.lua;D"),
            (b";;", b"D"),
            (b"/a;;/b", b"/a;D;/b"),
            (b"/a;/b", b"/a;/b"),
        ];
        for (value, expected) in cases {
            assert_eq!(expand_default(value, b"D"), expected);
        }
    }
}
