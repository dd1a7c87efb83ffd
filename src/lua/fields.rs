//! Computed fields of the `ngx` table: `ngx.status` and the like.
//!
//! They are never stored in the table, so that every access of one comes to
//! the metatable here; all others are plain fields that a handler may add to.

use std::os::raw::c_int;

use super::{ctx, status};
use crate::vm::{Body, LuaResult, Ret, State, Throw, Type};

/// Where a setter finds the assigned value.
pub const VALUE: c_int = 3;

const KEY: c_int = 2;

/// A field with a value of the moment.
pub struct Field {
    /// Name in `ngx`.
    pub name: &'static str,
    /// Pushes the value and returns it.
    pub get: fn(&mut State) -> LuaResult,
    /// Takes the value at [`VALUE`]. Without it, an assignment makes a plain
    /// field that hides this one.
    pub set: Option<fn(&mut State) -> LuaResult>,
}

/// All of them. So few that to compare names is the fastest way to find one.
const FIELDS: [Field; 4] = [
    ctx::CTX,
    status::STATUS,
    status::HEADERS_SENT,
    ctx::IS_SUBREQUEST,
];

/// Sets `name` in the table on the top to a table that is always empty: `get`
/// and `set` make up its fields.
pub fn computed_table<G: Body, S: Body>(state: &mut State, name: &str, get: G, set: S) {
    state.new_table(0, 0);
    state.new_table(0, 2);
    state.set_function("__index", get);
    state.set_function("__newindex", set);
    state.set_metatable(-2);
    state.raw_set_field(-2, name);
}

/// Makes the fields part of the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.new_table(0, 2);
    state.set_function("__index", |state| match find(state) {
        Some(field) => (field.get)(state),
        None => {
            state.push_nil();
            Ok(Ret::Values(1))
        }
    });
    state.set_function("__newindex", |state| {
        match find(state).and_then(|field| field.set) {
            Some(set) => set(state),
            None => store(state),
        }
    });
    state.set_metatable(-2);
}

fn find(state: &State) -> Option<&'static Field> {
    if state.type_of(KEY) != Type::String {
        return None;
    }
    let key = state.bytes(KEY)?;
    FIELDS.iter().find(|field| field.name.as_bytes() == key)
}

/// Adds a plain field.
fn store(state: &mut State) -> LuaResult {
    // `lua_rawset` raises its errors through the caller: checked here.
    let bad_key = match state.type_of(KEY) {
        Type::Nil | Type::None => Some("nil"),
        Type::Number if state.number(KEY).is_some_and(f64::is_nan) => Some("NaN"),
        _ => None,
    };
    if let Some(bad) = bad_key {
        return Err(Throw::error(format!("table index is {bad}")));
    }
    if state.type_of(1) != Type::Table {
        return Err(Throw::argument(1, "table expected"));
    }
    state.set_top(VALUE);
    state.raw_set(1);
    Ok(Ret::Values(0))
}
