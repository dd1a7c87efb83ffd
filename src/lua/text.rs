//! Values that are taken as text.

use std::os::raw::c_int;

use crate::vm::{State, Throw, Type};

/// Replaces the value at `idx` by its text: strings and numbers, booleans,
/// and what has a `__tostring` of its own, such as LuaJIT's 64-bit numbers.
///
/// # Errors
/// False, with the value in place, where it is none of these. An error that
/// `__tostring` raised.
pub fn make_text(state: &mut State, idx: c_int) -> Result<bool, Throw> {
    let idx = state.abs(idx);
    match state.type_of(idx) {
        Type::String | Type::Number => return Ok(true),
        Type::Boolean if state.to_bool(idx) => state.push_bytes("true"),
        Type::Boolean => state.push_bytes("false"),
        _ if !state.call_tostring(idx)? => return Ok(false),
        _ => {}
    }
    state.replace(idx);
    Ok(state.bytes(idx).is_some())
}

/// The error for a value of the wrong type as argument `n`.
pub fn wrong_type(state: &State, n: c_int, expected: &str, idx: c_int) -> Throw {
    Throw::argument(
        n,
        format!("{expected} expected, got {}", state.type_name(idx)),
    )
}
