//! `ngx.thread`: light threads.

use super::check_waiting;
use crate::vm::{LuaResult, State, thread_kill, thread_spawn, thread_wait};

/// Adds `thread` to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.new_table(0, 3);
    state.set_function("spawn", |state| in_handler(state, thread_spawn));
    state.set_function("wait", |state| in_handler(state, thread_wait));
    state.set_function("kill", |state| in_handler(state, thread_kill));
    state.raw_set_field(-2, "thread");
}

fn in_handler(state: &mut State, f: fn(&mut State) -> LuaResult) -> LuaResult {
    check_waiting()?;
    f(state)
}
