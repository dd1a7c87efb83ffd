//! `ngx.arg`: what the running phase's code is given.

use std::os::raw::c_int;

use super::{context, disabled};
use crate::sys::phase::Phase;
use crate::vm::{LuaResult, Ret, State};

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
    if context.phase() != Phase::Set {
        return Err(disabled(&context));
    }
    let n = state.number(KEY).unwrap_or_default();
    match context.arg(n as usize) {
        Some(arg) => state.push_bytes(arg),
        None => state.push_nil(),
    }
    Ok(Ret::Values(1))
}
