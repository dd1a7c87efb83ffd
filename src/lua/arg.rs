//! `ngx.arg`: what the running phase's code is given.

use std::os::raw::c_int;

use super::{context, disabled};
use crate::vm::{LuaResult, Ret, State};

/// The arguments of `set_by_lua*`: what its context's code works on.
pub struct SetArguments(pub Vec<Vec<u8>>);

const KEY: c_int = 2;

/// Adds `arg` to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.new_table(0, 0);
    state.new_table(0, 1);
    state.set_function("__index", get);
    state.set_metatable(-2);
    state.raw_set_field(-2, "arg");
}

fn get(state: &mut State) -> LuaResult {
    let context = context()?;
    let Some(args) = context.subject::<SetArguments>() else {
        return Err(disabled(&context));
    };
    let n = state.number(KEY).unwrap_or_default() as usize;
    match n.checked_sub(1).and_then(|index| args.0.get(index)) {
        Some(arg) => state.push_bytes(arg),
        None => state.push_nil(),
    }
    Ok(Ret::Values(1))
}
