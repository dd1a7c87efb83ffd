//! `ngx.arg`: what the running phase's code is given, and what a body filter
//! makes of it.

use std::os::raw::c_int;
use std::rc::Rc;

use super::fields::computed_table;
use super::table::{NotText, Strictness, flatten};
use super::{context, disabled};
use crate::sys::context::Context;
use crate::sys::filter::Chunk;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// The arguments of `set_by_lua*`: what its context's code works on.
pub struct SetArguments(pub Vec<Vec<u8>>);

const KEY: c_int = 2;
const VALUE: c_int = 3;

/// In a body filter: the bytes, and whether they are the last.
const TEXT: usize = 1;
const EOF: usize = 2;

/// Adds `arg` to the `ngx` table on the top.
pub fn open(state: &mut State) {
    computed_table(state, "arg", get, set);
}

fn get(state: &mut State) -> LuaResult {
    let context = context()?;
    let n = state.number(KEY).unwrap_or_default() as usize;
    if let Some(args) = context.subject::<SetArguments>() {
        match n.checked_sub(1).and_then(|index| args.0.get(index)) {
            Some(arg) => state.push_bytes(arg),
            None => state.push_nil(),
        }
        return Ok(Ret::Values(1));
    }
    let chunk = chunk(&context)?;
    match n {
        TEXT => chunk
            .with_text(|text| state.push_bytes(text))
            .ok_or_else(|| Throw::error("a part of the body is not in memory"))?,
        EOF => state.push_bool(chunk.is_last()),
        _ => state.push_nil(),
    }
    Ok(Ret::Values(1))
}

fn set(state: &mut State) -> LuaResult {
    let context = context()?;
    let chunk = chunk(&context)?;
    match state.number(KEY).unwrap_or_default() as usize {
        TEXT => chunk.set_text(text(state)?),
        EOF => chunk.set_last(state.to_bool(VALUE)),
        _ => return Err(Throw::argument(KEY, "1 or 2 expected")),
    }
    Ok(Ret::Values(0))
}

fn chunk(context: &Context) -> Result<Rc<Chunk>, Throw> {
    context.subject().ok_or_else(|| disabled(context))
}

/// What is to take the chunk's place.
fn text(state: &mut State) -> Result<Vec<u8>, Throw> {
    let mut text = Vec::new();
    match state.type_of(VALUE) {
        Type::Nil => {}
        Type::String | Type::Number => {
            text.extend_from_slice(state.bytes(VALUE).unwrap_or_default());
        }
        Type::Table => flatten(state, VALUE, &mut text, Strictness::Text).map_err(|bad| {
            Throw::error(match bad {
                NotText::Type(found) => format!("bad chunk data type: {found}"),
                NotText::NotArray => "bad chunk data type: non-array table".into(),
                NotText::TooDeep => bad.to_string(),
            })
        })?,
        _ => {
            let found = state.type_name(VALUE);
            return Err(Throw::error(format!("bad chunk data type: {found}")));
        }
    }
    Ok(text)
}
