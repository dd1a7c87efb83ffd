//! Rust values owned by Lua, dropped by its collector.

use std::any::TypeId;
use std::cell::Cell;
use std::ffi::c_void;
use std::os::raw::c_int;
use std::ptr;

use super::stack::{State, Type};
use super::unwind::catch_panic;
use super::{collector, ffi};
use crate::rt::worker_local;

/// What a full userdata of ours holds. The tag tells the value from userdata
/// of other types and of other modules.
#[repr(C)]
struct Held<T> {
    tag: TypeId,
    value: Option<T>,
}

/// A table and the userdata of ours in it.
#[derive(Clone, Copy)]
struct Found {
    table: *const c_void,
    held: *mut c_void,
}

const NOTHING: Found = Found {
    table: ptr::null(),
    held: ptr::null_mut(),
};

worker_local! {
    /// What [`State::with_userdata_in`] found last: code calls many methods of one
    /// object in a row. Forgotten when the userdata is collected, and replaced when
    /// an object is made, which may get the place of a table that is gone.
    static RECENT: Cell<Found> = Cell::new(NOTHING);
}

/// # Safety
/// Called by Lua only, as `__gc` of a userdata made by `push_userdata::<T>`.
unsafe extern "C-unwind" fn collect<T: 'static>(l: *mut ffi::lua_State) -> c_int {
    // SAFETY: Lua passes the running state.
    let state = unsafe { State::from_raw(l) };
    let held = held_ptr::<T>(&state, 1);
    if !held.is_null() {
        if ptr::eq(RECENT.get().held, held.cast()) {
            RECENT.set(NOTHING);
        }
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
            // Nobody may take the function away, which RECENT relies on.
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

    /// Makes a new table on the top an object: with a userdata that owns `value`
    /// in `slot`.
    pub fn set_userdata_in<T: 'static>(&mut self, slot: c_int, value: T) {
        collector::count(self);
        self.push_userdata(value);
        // SAFETY: the userdata stands on the top, its table below it; the
        // addresses are looked at only where RECENT is used.
        RECENT.set(unsafe {
            Found {
                table: ffi::lua_topointer(self.raw(), -2),
                held: ffi::lua_touserdata(self.raw(), -1),
            }
        });
        self.raw_seti(-2, slot);
    }

    /// What `f` makes of the value of the userdata in `slot` of the table at
    /// `idx`; None where there is none of this type.
    #[inline(always)]
    pub fn with_userdata_in<T: 'static, R>(
        &mut self,
        idx: c_int,
        slot: c_int,
        f: impl FnOnce(&T) -> R,
    ) -> Option<R> {
        // SAFETY: the state is live; the address is only compared.
        let table = unsafe { ffi::lua_topointer(self.raw(), idx) };
        let recent = RECENT.get();
        if ptr::eq(recent.table, table) && !table.is_null() {
            let held = recent.held.cast::<Held<T>>();
            // SAFETY: RECENT forgets a userdata before its memory goes; the tag
            // tells whether it is of this type. `f` cannot run Lua.
            unsafe {
                if (*held).tag == TypeId::of::<T>() {
                    return (*held).value.as_ref().map(f);
                }
            }
        }
        self.look_up_userdata_in(idx, slot, f)
    }

    #[inline(never)]
    fn look_up_userdata_in<T: 'static, R>(
        &mut self,
        idx: c_int,
        slot: c_int,
        f: impl FnOnce(&T) -> R,
    ) -> Option<R> {
        if self.type_of(idx) != Type::Table {
            return None;
        }
        // SAFETY: the state is live; the address is only compared.
        let table = unsafe { ffi::lua_topointer(self.raw(), idx) };
        self.raw_geti(idx, slot);
        let held = held_ptr::<T>(self, -1);
        let result = if held.is_null() {
            None
        } else {
            RECENT.set(Found {
                table,
                held: held.cast(),
            });
            // SAFETY: the tag matched, and the userdata stands on the stack.
            unsafe { (*held).value.as_ref() }.map(f)
        };
        self.pop(1);
        result
    }
}
