//! `ngx.var.NAME`: nginx's variables, and `ngx.var[1]`: what the last regular
//! expression captured.

use std::os::raw::c_int;

use super::fields::computed_table;
use super::only_request;
use super::text::{make_text, wrong_type};
use crate::sys::variable::VariableError;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

const KEY: c_int = 2;
const VALUE: c_int = 3;

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    computed_table(state, "var", get, set);
}

fn get(state: &mut State) -> LuaResult {
    let request = only_request()?;
    let value = match state.type_of(KEY) {
        Type::String => request.variable(state.bytes(KEY).unwrap_or_default()),
        Type::Number => {
            let n = state.number(KEY).unwrap_or(-1.0);
            (n >= 0.0).then(|| request.capture(n as usize)).flatten()
        }
        _ => return Err(Throw::error("bad variable name")),
    };
    match value {
        Some(value) => state.push_bytes(value),
        None => state.push_nil(),
    }
    Ok(Ret::Values(1))
}

fn set(state: &mut State) -> LuaResult {
    let request = only_request()?;
    if state.type_of(KEY) != Type::String {
        return Err(Throw::error("bad variable name"));
    }
    let value = match state.bytes(VALUE) {
        Some(text) => Some(text),
        None => {
            if !state.is_none_or_nil(VALUE) && !make_text(state, VALUE)? {
                let expected = "string, number, boolean or nil";
                return Err(wrong_type(state, VALUE, expected, VALUE));
            }
            state.bytes(VALUE)
        }
    };
    let name = state.bytes(KEY).unwrap_or_default();
    match request.set_variable(name, value) {
        Ok(()) => Ok(Ret::Values(0)),
        Err(e) => Err(explain(e, &String::from_utf8_lossy(name))),
    }
}

fn explain(error: VariableError, name: &str) -> Throw {
    Throw::error(match error {
        VariableError::NotFound => format!(
            "variable \"{name}\" not found for writing; maybe it is a built-in variable that \
             is not changeable or you forgot to use \"set ${name} '';\" in the config file to \
             define it first"
        ),
        VariableError::NotChangeable => format!("variable \"{name}\" not changeable"),
        VariableError::NotAssignable => {
            format!("variable \"{name}\" cannot be assigned a value")
        }
        VariableError::TooLong => format!("value of variable \"{name}\" too long"),
        VariableError::Memory => "no memory".into(),
    })
}
