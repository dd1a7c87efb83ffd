//! `ngx.encode_args` and `ngx.decode_args`.

use super::args;
use super::scratch::with_scratch;
use super::text::wrong_type;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.set_function("encode_args", encode);
    state.set_function("decode_args", decode);
}

/// `str = ngx.encode_args(table)`
fn encode(state: &mut State) -> LuaResult {
    if state.top() != 1 {
        return Err(Throw::error(format!(
            "expecting 1 argument but seen {}",
            state.top()
        )));
    }
    if state.type_of(1) != Type::Table {
        return Err(wrong_type(state, 1, "table", 1));
    }
    with_scratch(|text| {
        args::encode(state, 1, text)?;
        state.push_bytes(text);
        Ok(Ret::Values(1))
    })
}

/// `table, err = ngx.decode_args(str, max_args?)`
fn decode(state: &mut State) -> LuaResult {
    let n = state.top();
    if !matches!(n, 1 | 2) {
        return Err(Throw::error(format!(
            "expecting 1 or 2 arguments but seen {n}"
        )));
    }
    let max = args::max_argument(state, 2)?;
    if state.bytes(1).is_none() {
        return Err(wrong_type(state, 1, "string", 1));
    }
    // Decoding changes the stack, from which the text could go.
    with_scratch(|text| {
        text.extend_from_slice(state.bytes(1).unwrap_or_default());
        args::new_table(state, text);
        let truncated = args::decode(state, text, max);
        if truncated {
            state.push_bytes("truncated");
        }
        Ok(Ret::Values(1 + i32::from(truncated)))
    })
}
