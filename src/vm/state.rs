//! One Lua VM: its creation, chunk cache and recycled coroutines.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::os::raw::c_int;
use std::ptr;
use std::rc::{Rc, Weak};

use super::chunk::{Cache, Chunk, LoadError};
use super::ffi;
use super::heap::Heap;
use super::protect::{Gate, NO_MEMORY};
use super::stack::State;
use super::{collector, coroutine, guard};

/// How many finished coroutines a VM keeps for later handlers; as many places in
/// the registry.
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
    /// For whoever wants to know the VMs of one origin; see [`Vm::owner`].
    pub owner: usize,
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
    /// Closes the state.
    _heap: Heap,
    gate: Gate,
    /// The table of globals, to compare.
    globals: Cell<*const c_void>,
    spare: RefCell<Vec<Coroutine>>,
    /// Places in the registry of coroutines that were given up.
    places: RefCell<Vec<c_int>>,
    chunks: RefCell<Cache>,
    owner: usize,
}

/// Key in the registry: `Weak<Vm>`.
const VM: &str = "cosocket.vm";

impl Vm {
    /// Creates a VM with LuaJIT's libraries and the API of `options`.
    ///
    /// # Errors
    /// A text when Lua cannot be started or a library fails to load.
    pub fn new(options: &VmOptions<'_>) -> Result<Rc<Vm>, String> {
        let no_memory = || "failed to create a Lua VM: not enough memory";
        let heap = Heap::new().ok_or_else(no_memory)?;
        let l = heap.state();
        // SAFETY: the new state is live.
        let gate = unsafe { Gate::new(l) }.ok_or_else(no_memory)?;
        let vm = Rc::new(Vm {
            l,
            _heap: heap,
            gate,
            globals: Cell::new(ptr::null()),
            spare: RefCell::default(),
            places: RefCell::default(),
            chunks: RefCell::default(),
            owner: options.owner,
        });
        vm.protect(|state| {
            state.push_userdata(Rc::downgrade(&vm));
            state.raw_set_field(ffi::LUA_REGISTRYINDEX, VM);
            // SAFETY: the new state is live and nothing else uses it.
            unsafe { ffi::luaL_openlibs(state.raw()) };
            set_search_path(state, "path", options.package_path);
            set_search_path(state, "cpath", options.package_cpath);
            (options.open)(state);
            collector::install(state);
            coroutine::install(state)
        })??;
        vm.globals.set(globals(l));
        Ok(vm)
    }

    /// The VM of a state.
    pub(super) fn of(state: &mut State) -> Option<Rc<Vm>> {
        state.raw_get_field(ffi::LUA_REGISTRYINDEX, VM);
        let vm = state.userdata::<Weak<Vm>>(-1).and_then(Weak::upgrade);
        state.pop(1);
        vm
    }

    /// What [`VmOptions`] said.
    pub fn owner(&self) -> usize {
        self.owner
    }

    /// Runs `f` on the main state; a Lua error that a call in it raises ends
    /// it, and nothing that it left on the main stack stays.
    ///
    /// # Errors
    /// Lua's message.
    pub(super) fn protect<R>(&self, f: impl FnOnce(&mut State) -> R) -> Result<R, String> {
        // SAFETY: the main state is live and never suspended.
        unsafe { self.gate.protect(self.l, f) }
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
        self.protect(guard::install)?
    }

    /// Compiles `chunk`, or finds it in the cache; returns its anchor.
    fn load(&self, state: &mut State, chunk: &Chunk<'_>) -> Result<c_int, LoadError> {
        self.chunks.borrow_mut().get(state, chunk)
    }

    fn make(&self, chunk: &Chunk<'_>) -> Result<(c_int, Coroutine), LoadError> {
        self.protect(|state| {
            let function = self.load(state, chunk)?;
            Ok((function, new_coroutine(state)))
        })?
    }

    #[cold]
    fn make_anyway(&self, chunk: &Chunk<'_>) -> Result<(c_int, Coroutine), LoadError> {
        match self.make(chunk) {
            Err(error) if error.text.ends_with(NO_MEMORY) => {
                self.collect_garbage();
                self.make(chunk)
            }
            made => made,
        }
    }

    /// A coroutine with the function of `chunk` on its stack.
    ///
    /// # Errors
    /// What is wrong with the file or the code in it.
    #[inline(always)]
    pub(super) fn prepare(&self, chunk: &Chunk<'_>) -> Result<Coroutine, LoadError> {
        // With both at hand nothing is allocated.
        let cached = self.chunks.borrow().find(chunk);
        let spare = cached.and_then(|_| self.spare.borrow_mut().pop());
        let (function, co) = match (cached, spare) {
            (Some(function), Some(co)) => (function, co),
            _ => self.make_anyway(chunk)?,
        };
        // SAFETY: the coroutine is anchored and belongs to the live VM.
        unsafe { State::from_raw(co.l) }.push_anchored(function);
        Ok(co)
    }

    /// A coroutine with nothing on its stack; `state` is one of this VM.
    pub(super) fn coroutine(&self, state: &mut State) -> Coroutine {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| new_coroutine(state))
    }

    /// Runs `chunk` on the main state: for code that cannot wait. `take` finds
    /// its result on the top of the stack.
    ///
    /// # Errors
    /// The message with a traceback.
    pub fn evaluate<R>(
        &self,
        chunk: &Chunk<'_>,
        take: impl FnOnce(&mut State) -> R,
    ) -> Result<R, String> {
        self.protect(|state| {
            let anchor = self.load(state, chunk).map_err(|e| e.text)?;
            state.push_anchored(anchor);
            protected_call(state)?;
            // The code may have replaced them (`setfenv(0, …)`).
            self.globals.set(globals(self.l));
            Ok(take(state))
        })?
    }

    /// Gives up an anchor in the registry.
    pub fn release(&self, anchor: c_int) {
        self.state().release(anchor);
    }

    /// A place in the registry for a coroutine; `state` is one of this VM. To
    /// use a place again takes much less than `luaL_ref` does.
    pub(super) fn take_place(&self, state: &mut State) -> c_int {
        let place = self.places.borrow_mut().pop();
        place.unwrap_or_else(|| {
            // Not nil: luaL_ref would take the place to be free.
            state.push_bool(false);
            state.anchor()
        })
    }

    /// Takes back a place where no coroutine stands, or one that may.
    pub(super) fn give_place(&self, place: c_int) {
        let mut places = self.places.borrow_mut();
        if places.len() < SPARE_COROUTINES {
            return places.push(place);
        }
        drop(places);
        self.release(place);
    }

    /// Anchors the coroutine on the top of `state`, which is one of this VM.
    pub(super) fn anchor_coroutine(&self, state: &mut State) -> c_int {
        let place = self.take_place(state);
        state.raw_seti(ffi::LUA_REGISTRYINDEX, place);
        place
    }

    /// Gives up the anchor of a coroutine.
    pub(super) fn release_coroutine(&self, co: Coroutine) {
        let mut state = self.state();
        state.push_bool(false);
        state.raw_seti(ffi::LUA_REGISTRYINDEX, co.anchor);
        self.give_place(co.anchor);
    }

    /// Makes room for `n` more values on the stack of a coroutine that waits;
    /// false where there is none to be had.
    pub(super) fn fits(&self, l: *mut ffi::lua_State, n: c_int) -> bool {
        // SAFETY: callers hold the coroutine, which belongs to this VM. A
        // refusal may leave a message on its stack.
        unsafe {
            let top = ffi::lua_gettop(l);
            let fits = self.protect(|_| ffi::lua_checkstack(l, n) != 0) == Ok(true);
            if !fits {
                ffi::lua_settop(l, top);
            }
            fits
        }
    }

    /// Collects all garbage. Lua does not do that by itself when memory runs
    /// out.
    pub(super) fn collect_garbage(&self) {
        // The error of a finalizer of the user's is none of ours.
        let _ = self.protect(|state| {
            // SAFETY: the state is live.
            unsafe { ffi::lua_gc(state.raw(), ffi::LUA_GCCOLLECT, 0) }
        });
    }

    /// Takes back a coroutine; one that finished cleanly is used again.
    pub(super) fn give_coroutine(&self, co: Coroutine, clean: bool) {
        let mut spare = self.spare.borrow_mut();
        if clean && spare.len() < SPARE_COROUTINES {
            // SAFETY: both are live stacks of this VM; the coroutine is
            // anchored and has finished. Its globals may have been replaced
            // (`setfenv(0, …)`); those of the next handler are the VM's.
            unsafe {
                if ffi::lua_gettop(co.l) != 0 {
                    ffi::lua_settop(co.l, 0);
                }
                if globals(co.l) != self.globals.get() {
                    self.state().push_globals();
                    ffi::lua_xmove(self.l, co.l, 1);
                    ffi::lua_replace(co.l, ffi::LUA_GLOBALSINDEX);
                }
            }
            spare.push(co);
        } else {
            drop(spare);
            self.state().release(co.anchor);
        }
    }
}

/// The table of globals of `l`, a live state.
fn globals(l: *mut ffi::lua_State) -> *const c_void {
    // SAFETY: callers hold the state; the pointer is only compared.
    unsafe { ffi::lua_topointer(l, ffi::LUA_GLOBALSINDEX) }
}

fn new_coroutine(state: &mut State) -> Coroutine {
    // SAFETY: the state is live; the thread is anchored at once.
    let l = unsafe { ffi::lua_newthread(state.raw()) };
    Coroutine {
        l,
        anchor: state.anchor(),
    }
}

/// Calls the function on the top; its first result takes its place.
///
/// # Errors
/// The error message with a traceback.
fn protected_call(state: &mut State) -> Result<(), String> {
    let base = state.top();
    state.push_function(|state| {
        let text = super::trace::traceback_of(state);
        state.push_bytes(text);
        Ok(super::Ret::Values(1))
    });
    state.insert(base);
    // SAFETY: function, arguments and handler stand on the live stack.
    let status = unsafe { ffi::lua_pcall(state.raw(), 0, 1, base) };
    if status == ffi::LUA_OK {
        return Ok(());
    }
    Err(super::trace::message_of(state))
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
        let message = super::trace::message_of(self);
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
