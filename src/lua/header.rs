//! `ngx.header.NAME`: headers of the response.

use std::os::raw::c_int;
use std::rc::Rc;

use super::fields::computed_table;
use super::only_request;
use super::text::{make_text, wrong_type};
use crate::conf;
use crate::sys::context;
use crate::sys::headers::{HeaderError, HeaderName, ResponseHeaders};
use crate::sys::log::Level;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

const KEY: c_int = 2;
const VALUE: c_int = 3;

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    computed_table(state, "header", get, set);
}

/// The name that Lua gave.
#[inline(always)]
fn name(state: &State) -> Result<Rc<HeaderName>, Throw> {
    let name = state
        .bytes(KEY)
        .ok_or_else(|| wrong_type(state, KEY, "string", KEY))?;
    let dashed = conf::current().is_none_or(conf::LocConf::transform_underscores);
    Ok(HeaderName::new(name, dashed))
}

/// nil, the value, or a table of several.
fn get(state: &mut State) -> LuaResult {
    let request = only_request()?;
    let Ok(name) = name(state) else {
        state.push_nil();
        return Ok(Ret::Values(1));
    };
    let mut count = 0;
    request.response_headers().get(&name, |value| {
        // One more than the value: the table for all of them.
        if state.reserve(2) {
            state.push_bytes(value);
            count += 1;
        }
    });
    match count {
        0 => state.push_nil(),
        1 => {}
        _ => {
            state.new_table(count, 0);
            let table = KEY + 1;
            state.insert(table);
            for i in (1..=count).rev() {
                state.raw_seti(table, i);
            }
        }
    }
    Ok(Ret::Values(1))
}

fn set(state: &mut State) -> LuaResult {
    let request = only_request()?;
    if context::with_current(|context| context.header_is_final(request)) == Some(true) {
        super::context()?.log(
            Level::Error,
            "attempt to set ngx.header.HEADER after sending out response headers",
        );
        return Ok(Ret::Values(0));
    }
    let name = name(state)?;
    if name.is_empty() {
        return Ok(Ret::Values(0));
    }
    let headers = request.response_headers();
    let result = match state.bytes(VALUE) {
        Some(text) => headers.set(&name, text),
        None => set_other(state, &headers, &name)?,
    };
    match result {
        Ok(()) => Ok(Ret::Values(0)),
        Err(HeaderError::Memory) => Err(Throw::error("no memory")),
        Err(HeaderError::NotALength) => Err(Throw::error(format!(
            "invalid value \"{}\" of the header Content-Length",
            String::from_utf8_lossy(state.bytes(-1).unwrap_or_default())
        ))),
    }
}

/// Sets the header to a value that is neither string nor number.
fn set_other(
    state: &mut State,
    headers: &ResponseHeaders,
    name: &HeaderName,
) -> Result<Result<(), HeaderError>, Throw> {
    match state.type_of(VALUE) {
        Type::Nil | Type::None => Ok(headers.remove(name)),
        Type::Table => set_all(state, headers, name),
        _ if make_text(state, VALUE)? => {
            Ok(headers.set(name, state.bytes(VALUE).unwrap_or_default()))
        }
        _ => {
            let expected = "string, number, boolean, table or nil";
            Err(wrong_type(state, VALUE, expected, VALUE))
        }
    }
}

/// Sets the header to the strings of the array; of a header that can have
/// only one value, the last counts.
fn set_all(
    state: &mut State,
    headers: &ResponseHeaders,
    name: &HeaderName,
) -> Result<Result<(), HeaderError>, Throw> {
    // Everything is looked at before anything is changed.
    let length = c_int::try_from(state.len(VALUE)).unwrap_or(c_int::MAX);
    for i in 1..=length {
        state.raw_geti(VALUE, i);
        if !make_text(state, -1)? {
            return Err(wrong_type(state, VALUE, "array of strings", -1));
        }
        state.pop(1);
    }
    let single = name.known().is_some_and(|known| !known.is_multi());
    if length == 0 || !single {
        let removed = headers.remove(name);
        if removed.is_err() {
            return Ok(removed);
        }
    }
    let first = if single { length.max(1) } else { 1 };
    for i in first..=length {
        state.raw_geti(VALUE, i);
        make_text(state, -1)?;
        let added = headers.add(name, state.bytes(-1).unwrap_or_default());
        if added.is_err() {
            return Ok(added);
        }
        state.pop(1);
    }
    Ok(Ok(()))
}
