//! Rust values owned by Lua, dropped by its collector.

use std::any::TypeId;
use std::os::raw::c_int;
use std::ptr;

use super::ffi;
use super::stack::State;
use super::unwind::catch_panic;

/// What a full userdata of ours holds. The tag tells the value from userdata
/// of other types and of other modules.
#[repr(C)]
struct Held<T> {
    tag: TypeId,
    value: Option<T>,
}

/// # Safety
/// Called by Lua only, as `__gc` of a userdata made by `push_userdata::<T>`.
unsafe extern "C-unwind" fn collect<T: 'static>(l: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua passes the running state.
    let state = unsafe { State::from_raw(l) };
    let held = held_ptr::<T>(&state, 1);
    if !held.is_null() {
        // SAFETY: the tag matched, so this is an initialised Held<T>; taking
        // the value makes a second collection harmless.
        let taken = catch_panic(|| drop(unsafe { (*held).value.take() }));
        // A panic while dropping must not pass into Lua's collector; the
        // panic hook has logged it.
        drop(taken);
    }
    0
}

fn held_ptr<T: 'static>(state: &State, idx: c_int) -> *mut Held<T> {
    // SAFETY: the state is live.
    let held = unsafe { ffi::lua_touserdata(state.raw(), idx) }.cast::<Held<T>>();
    // A light userdata has no length.
    if held.is_null() || state.len(idx) != size_of::<Held<T>>() {
        return ptr::null_mut();
    }
    // SAFETY: the value is a full userdata of exactly this size, and any bits
    // make a TypeId.
    if unsafe { (*held).tag } == TypeId::of::<T>() {
        held
    } else {
        ptr::null_mut()
    }
}

impl State {
    /// Pushes a userdata that owns `value` and drops it when Lua collects it.
    ///
    /// The metatable (`__gc`, out of reach for Lua) is made once per state and type.
    pub fn push_userdata<T: 'static>(&mut self, value: T) {
        const { assert!(align_of::<Held<T>>() <= 8) };
        // SAFETY: the state is live; the memory is written before anything can
        // use it.
        let held = unsafe {
            let held = ffi::lua_newuserdata(self.raw(), size_of::<Held<T>>()).cast::<Held<T>>();
            held.write(Held {
                tag: TypeId::of::<T>(),
                value: None,
            });
            held
        };
        self.push_collector::<T>();
        self.set_metatable(-2);
        // Nothing after this raises an error, so the value is not lost.
        // SAFETY: the userdata stands on the stack.
        unsafe { (*held).value = Some(value) };
    }

    /// Pushes the metatable of the userdata that hold a T. Its key in the
    /// registry is the address of the function in it, which nobody else uses.
    fn push_collector<T: 'static>(&mut self) {
        let key = collect::<T> as *const () as usize;
        self.push_light(key);
        self.raw_get(ffi::LUA_REGISTRYINDEX);
        if self.is_none_or_nil(-1) {
            self.pop(1);
            self.new_table(0, 2);
            // SAFETY: the state is live and `collect` a lua_CFunction.
            unsafe { ffi::lua_pushcclosure(self.raw(), collect::<T>, 0) };
            self.raw_set_field(-2, "__gc");
            self.push_bool(false);
            self.raw_set_field(-2, "__metatable");
            self.push_light(key);
            self.push_value(-2);
            self.raw_set(ffi::LUA_REGISTRYINDEX);
        }
    }

    /// The value of a userdata that `push_userdata` made, or None for
    /// anything else.
    pub fn userdata<T: 'static>(&self, idx: c_int) -> Option<&T> {
        let held = held_ptr::<T>(self, idx);
        if held.is_null() {
            return None;
        }
        // SAFETY: the tag matched; the userdata stays on the stack while the
        // result is borrowed, since removing needs `&mut self`.
        unsafe { (*held).value.as_ref() }
    }
}
