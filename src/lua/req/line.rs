//! The request line: `ngx.req.get_method`, `ngx.req.get_uri_args`.

use crate::lua::{args, request};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// Adds to the `ngx.req` table on the top.
pub fn open(state: &mut State) {
    state.set_function("get_method", |state| {
        let (_, request) = request()?;
        state.push_bytes(request.method());
        Ok(Ret::Values(1))
    });
    state.set_function("get_uri_args", get_uri_args);
}

/// `ngx.req.get_uri_args(max?, table?)`
fn get_uri_args(state: &mut State) -> LuaResult {
    let max = args::max_argument(state, 1)?;
    let (_, request) = request()?;
    match state.type_of(2) {
        Type::None | Type::Nil => state.new_table(0, 4),
        Type::Table => {
            state.set_top(2);
            state.clear_table(2);
        }
        _ => {
            return Err(Throw::argument(
                2,
                format!("table expected, got {}", state.type_name(2)),
            ));
        }
    }
    if !args::decode(state, request.args(), max) {
        return Ok(Ret::Values(1));
    }
    state.push_bytes("truncated");
    Ok(Ret::Values(2))
}
