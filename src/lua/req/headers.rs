//! `ngx.req.get_headers`, `ngx.req.set_header`, `ngx.req.clear_header`.

use std::os::raw::c_int;

use crate::lua::text::{make_text, wrong_type};
use crate::lua::{only_request, request_in};
use crate::sys::headers::{HeaderError, HeaderName, lookup_key};
use crate::sys::phase::Phases;
use crate::sys::text::ShortText;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// How many lines are returned unless the caller says otherwise.
const DEFAULT_MAX: usize = 100;

const NAME: c_int = 1;
const VALUE: c_int = 2;

/// Adds to the `ngx.req` table on the top.
pub fn open(state: &mut State) {
    // One metatable for all results, kept by the function.
    state.new_table(0, 1);
    state.set_function("__index", find);
    state.push_closure(get_headers, 1);
    state.raw_set_field(-2, "get_headers");
    state.set_function("set_header", |state| {
        if state.top() != 2 {
            return Err(Throw::error(format!(
                "expecting two arguments, but got {}",
                state.top()
            )));
        }
        set_header(state)
    });
    state.set_function("clear_header", |state| {
        if state.top() != 1 {
            return Err(Throw::error(format!(
                "expecting one argument, but got {}",
                state.top()
            )));
        }
        state.push_nil();
        set_header(state)
    });
}

/// Sets header 1 to value 2: a text, an array of them, or nil for none.
fn set_header(state: &mut State) -> LuaResult {
    let (_, request) = request_in(Phases::BEFORE_LOG)?;
    let mut values = Vec::new();
    match state.type_of(VALUE) {
        Type::Nil => {}
        Type::Table => {
            for i in 1..=c_int::try_from(state.len(VALUE)).unwrap_or(c_int::MAX) {
                state.raw_geti(VALUE, i);
                values.push(take_value(state, "array of strings")?);
                state.pop(1);
            }
        }
        _ => {
            state.push_value(VALUE);
            values.push(take_value(state, "string, number, boolean, table or nil")?);
            state.pop(1);
        }
    }
    let name = state
        .bytes(NAME)
        .ok_or_else(|| wrong_type(state, NAME, "string", NAME))?;
    match request.set_header(&HeaderName::new(name, || false), &values) {
        Ok(()) => Ok(Ret::Values(0)),
        Err(HeaderError::Memory) => Err(Throw::error("no memory")),
        Err(HeaderError::NotALength) => Err(Throw::error(
            "invalid value of the request header Content-Length",
        )),
    }
}

/// The text of the value on the top.
fn take_value(state: &mut State, expected: &str) -> Result<Vec<u8>, Throw> {
    if !make_text(state, -1)? {
        return Err(wrong_type(state, VALUE, expected, -1));
    }
    Ok(state.bytes(-1).unwrap_or_default().to_vec())
}

/// `headers, err = ngx.req.get_headers(max?, raw?)`
fn get_headers(state: &mut State) -> LuaResult {
    let request = only_request()?;
    let max = match state.type_of(1) {
        Type::None | Type::Nil => DEFAULT_MAX,
        _ => match state.number(1) {
            Some(0.0) => usize::MAX,
            Some(n) if n >= 1.0 => n as usize,
            Some(_) => DEFAULT_MAX,
            None => return Err(wrong_type(state, 1, "number", 1)),
        },
    };
    let raw = state.to_bool(2);
    state.set_top(0);
    let total = request.header_count();
    let size = c_int::try_from(total.min(max)).unwrap_or(c_int::MAX);
    state.new_table(0, size);
    // A bit for each name that there was; other names may have the same.
    let mut seen = 0_u64;
    for header in request.headers().take(max) {
        let lowercase;
        let name = match header.lowercase {
            _ if raw => header.name,
            Some(name) => name,
            None => {
                lowercase = ShortText::mapped(header.name, |b| b.to_ascii_lowercase());
                &lowercase
            }
        };
        let bit = 1
            << (name
                .iter()
                .fold(name.len(), |hash, &b| hash ^ usize::from(b))
                % 64);
        state.push_bytes(name);
        if seen & bit == 0 {
            seen |= bit;
            state.push_bytes(header.value);
            state.raw_set(1);
        } else {
            add(state, header.value);
        }
    }
    if !raw {
        state.push_value(State::upvalue(1));
        state.set_metatable(1);
    }
    if total > max {
        state.push_bytes("truncated");
        return Ok(Ret::Values(2));
    }
    Ok(Ret::Values(1))
}

/// Pops a name and stores the value under it in the table at index 1: the
/// second value of a name makes an array of them.
fn add(state: &mut State, value: &[u8]) {
    state.push_value(-1);
    state.raw_get(1);
    match state.type_of(-1) {
        Type::Nil => {
            state.pop(1);
            state.push_bytes(value);
            state.raw_set(1);
        }
        Type::Table => {
            let next = state.len(-1) as c_int + 1;
            state.push_bytes(value);
            state.raw_seti(-2, next);
            state.pop(2);
        }
        _ => {
            state.new_table(4, 0);
            state.insert(-2);
            state.raw_seti(-2, 1);
            state.push_bytes(value);
            state.raw_seti(-2, 2);
            state.raw_set(1);
        }
    }
}

/// `__index` of the result: `headers.user_agent`, `headers["User-Agent"]`.
fn find(state: &mut State) -> LuaResult {
    if state.type_of(1) != Type::Table || state.type_of(2) != Type::String {
        state.push_nil();
        return Ok(Ret::Values(1));
    }
    let key = lookup_key(state.bytes(2).unwrap_or_default());
    state.push_bytes(&*key);
    state.raw_get(1);
    Ok(Ret::Values(1))
}
