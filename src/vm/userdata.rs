//! Rust values owned by Lua, dropped by its collector.

use std::any::{TypeId, type_name};
use std::os::raw::c_int;
use std::ptr;

use super::ffi;
use super::stack::{State, Type};
use super::unwind::catch_panic;

/// What a full userdata of ours holds. The tag tells the value from userdata
/// of other types and of other modules.
#[repr(C)]
struct Cell<T> {
    tag: TypeId,
    value: Option<T>,
}

/// # Safety
/// Called by Lua only, as `__gc` of a userdata made by `push_userdata::<T>`.
unsafe extern "C-unwind" fn collect<T: 'static>(l: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua passes the running state.
    let state = unsafe { State::from_raw(l) };
    let cell = cell_ptr::<T>(&state, 1);
    if !cell.is_null() {
        // SAFETY: the tag matched, so this is an initialised Cell<T>; taking
        // the value makes a second collection harmless.
        let taken = catch_panic(|| drop(unsafe { (*cell).value.take() }));
        // A panic while dropping must not pass into Lua's collector; the
        // panic hook has logged it.
        drop(taken);
    }
    0
}

fn cell_ptr<T: 'static>(state: &State, idx: c_int) -> *mut Cell<T> {
    if state.type_of(idx) != Type::Userdata || state.len(idx) != size_of::<Cell<T>>() {
        return ptr::null_mut();
    }
    // SAFETY: the value is a full userdata of exactly this size.
    let cell = unsafe { ffi::lua_touserdata(state.raw(), idx) }.cast::<Cell<T>>();
    // SAFETY: the memory is there (size checked above) and any bits make a
    // TypeId.
    if unsafe { (*cell).tag } == TypeId::of::<T>() {
        cell
    } else {
        ptr::null_mut()
    }
}

impl State {
    /// Pushes a userdata that owns `value` and drops it when Lua collects it.
    ///
    /// The metatable (only `__gc`) is made once per state and type.
    pub fn push_userdata<T: 'static>(&mut self, value: T) {
        const { assert!(align_of::<Cell<T>>() <= 8) };
        self.push_bytes(type_name::<T>());
        self.raw_get(ffi::LUA_REGISTRYINDEX);
        if self.is_none_or_nil(-1) {
            self.pop(1);
            self.new_table(0, 1);
            // SAFETY: the state is live and `collect` a lua_CFunction.
            unsafe { ffi::lua_pushcclosure(self.raw(), collect::<T>, 0) };
            self.raw_set_field(-2, "__gc");
            self.push_bytes(type_name::<T>());
            self.push_value(-2);
            self.raw_set(ffi::LUA_REGISTRYINDEX);
        }
        // Nothing after this raises an error, so the value is not lost.
        // SAFETY: the state is live; the memory is written before anything
        // can collect it, for the metatable is set last.
        unsafe {
            let cell = ffi::lua_newuserdata(self.raw(), size_of::<Cell<T>>()).cast::<Cell<T>>();
            cell.write(Cell {
                tag: TypeId::of::<T>(),
                value: Some(value),
            });
        }
        self.insert(-2);
        self.set_metatable(-2);
    }

    /// The value of a userdata that `push_userdata` made, or None for
    /// anything else.
    pub fn userdata<T: 'static>(&self, idx: c_int) -> Option<&T> {
        let cell = cell_ptr::<T>(self, idx);
        if cell.is_null() {
            return None;
        }
        // SAFETY: the tag matched; the userdata stays on the stack while the
        // result is borrowed, since removing needs `&mut self`.
        unsafe { (*cell).value.as_ref() }
    }
}
