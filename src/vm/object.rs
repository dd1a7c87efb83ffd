//! Objects: Lua tables that stand for something of ours, and say for what by a
//! number.
//!
//! A userdata in each of them, with a finalizer, would tell when an object is
//! collected, but it costs more than all the rest of the object. So all objects
//! of a VM are in a weak table, the register; and an object that nobody refers to, the
//! sentinel, is finalized in each cycle of the collector. Then whoever made the
//! objects is asked to look which of them are left.

use std::cell::Cell;
use std::ffi::c_void;
use std::os::raw::c_int;
use std::ptr;
use std::rc::Rc;

use super::function::{LuaResult, Ret};
use super::stack::{State, Type};
use super::state::Vm;
use super::{collector, ffi};
use crate::rt::worker_local;

/// Place of the number in an object.
const NUMBER: c_int = 1;

/// Place of the sentinel's metatable in that of the register.
const SENTINEL: c_int = 1;

/// An object and its number.
#[derive(Clone, Copy)]
struct Found {
    table: *const c_void,
    number: f64,
}

const NOTHING: Found = Found {
    table: ptr::null(),
    number: 0.0,
};

worker_local! {
    /// What [`State::object`] found last: code calls many methods of one object in
    /// a row. Forgotten at the end of a cycle of the collector, and replaced when one
    /// is made, which may get the place of one that is gone. In between, another table
    /// in that place, should somebody call a method with it, is taken for the object: it
    /// reaches something that nothing else of Lua's does any more.
    static RECENT: Cell<Found> = Cell::new(NOTHING);
    /// A sentinel could not be made: memory was short.
    static IS_MISSING: Cell<bool> = Cell::new(false);
}

/// Where the object with `place` stands in the register.
fn index(place: u32) -> c_int {
    (place as c_int).saturating_add(1)
}

/// The objects of a VM that are left after a cycle of the collector.
pub struct Survivors<'a> {
    state: &'a mut State,
    vm: usize,
}

impl Survivors<'_> {
    /// Their VM, as [`super::sched::current_vm`] names it.
    pub fn vm(&self) -> usize {
        self.vm
    }

    /// Whether the object that was made with `place` is among them.
    pub fn has(&mut self, place: u32) -> bool {
        self.state.raw_geti(State::upvalue(1), index(place));
        let is_left = self.state.type_of(-1) == Type::Table;
        self.state.pop(1);
        is_left
    }
}

/// Whoever makes objects.
pub trait Keeper: 'static {
    /// Called after each cycle of the collector. Must not run Lua.
    fn look(left: &mut Survivors<'_>);
}

impl State {
    /// Pushes a register for objects of this VM.
    pub fn push_register<K: Keeper>(&mut self) {
        self.new_table(0, 0);
        self.new_table(SENTINEL, 1);
        self.push_bytes("v");
        self.raw_set_field(-2, "__mode");
        self.new_table(0, 2);
        self.push_value(-3);
        self.push_closure(finalize::<K>, 1);
        self.raw_set_field(-2, "__gc");
        // Nobody may take the function away, which RECENT relies on.
        self.push_bool(false);
        self.raw_set_field(-2, "__metatable");
        self.raw_seti(-2, SENTINEL);
        self.set_metatable(-2);
        self.make_sentinel(-1);
    }

    /// Makes a sentinel for the register at `idx`.
    fn make_sentinel(&mut self, idx: c_int) {
        IS_MISSING.set(true);
        if self.metatable(idx) {
            // SAFETY: the state is live.
            unsafe { ffi::lua_newuserdata(self.raw(), 0) };
            self.raw_geti(-2, SENTINEL);
            self.set_metatable(-2);
            self.pop(2);
        }
        IS_MISSING.set(false);
    }

    /// Pushes an object with the metatable at the index `metatable`. `make` says what its
    /// number is, and its place in the register at the index `register`, which is free.
    /// `things`: how many things there are that objects stand for.
    ///
    /// From when `make` is called until the object is in the register, nothing
    /// sets off the collector.
    pub fn push_object(
        &mut self,
        metatable: c_int,
        register: c_int,
        things: usize,
        make: impl FnOnce() -> (f64, u32),
    ) {
        if IS_MISSING.get() {
            self.make_sentinel(register);
        }
        collector::count(self, things);
        // Without room for anything else: nearly no code needs it.
        self.new_table(NUMBER, 0);
        let (number, place) = make();
        self.push_value(-1);
        self.raw_seti(register, index(place));
        self.push_number(number);
        self.raw_seti(-2, NUMBER);
        self.push_value(metatable);
        self.set_metatable(-2);
        // SAFETY: the object stands on the top; its address is only compared.
        let table = unsafe { ffi::lua_topointer(self.raw(), -1) };
        RECENT.set(Found { table, number });
    }

    /// The number of the object at `idx`; None where there is none.
    #[inline(always)]
    pub fn object(&mut self, idx: c_int) -> Option<f64> {
        // SAFETY: the state is live; the address is only compared.
        let table = unsafe { ffi::lua_topointer(self.raw(), idx) };
        let recent = RECENT.get();
        if ptr::eq(recent.table, table) && !table.is_null() {
            return Some(recent.number);
        }
        self.look_up_object(idx, table)
    }

    #[inline(never)]
    fn look_up_object(&mut self, idx: c_int, table: *const c_void) -> Option<f64> {
        if self.type_of(idx) != Type::Table {
            return None;
        }
        self.raw_geti(idx, NUMBER);
        let number = match self.type_of(-1) {
            Type::Number => self.number(-1),
            _ => None,
        };
        self.pop(1);
        RECENT.set(Found {
            table,
            number: number?,
        });
        number
    }
}

/// The sentinel's finalizer; upvalue: the register.
fn finalize<K: Keeper>(state: &mut State) -> LuaResult {
    RECENT.set(NOTHING);
    // Where there is none, it is being closed.
    if let Some(vm) = Vm::of(state) {
        let vm = Rc::as_ptr(&vm).addr();
        K::look(&mut Survivors { state, vm });
        state.make_sentinel(State::upvalue(1));
    }
    Ok(Ret::Values(0))
}
