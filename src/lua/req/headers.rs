//! `ngx.req.get_headers`, `ngx.req.set_header`, `ngx.req.clear_header`.

use std::os::raw::c_int;
use std::rc::Rc;

use super::common;
use crate::lua::seen::Seen;
use crate::lua::text::{make_text, wrong_type};
use crate::lua::{only_request, only_request_in};
use crate::sys::headers::{Header, HeaderError, HeaderName};
use crate::sys::log::{self, Level};
use crate::sys::phase::Phases;
use crate::sys::request::Request;
use crate::sys::text::ShortText;
use crate::vm::{Body, LuaResult, Ret, State, Throw, Type};

/// How many lines are returned unless the caller says otherwise.
const DEFAULT_MAX: usize = 100;

const NAME: c_int = 1;
const VALUE: c_int = 2;

/// Argument: the metatable of results. `headers.user_agent` and `headers["User-Agent"]`
/// find `user-agent`. Lua, because to call C takes longer than to look twice. Clients may
/// have chosen the names: few are remembered, and only short ones.
const SOURCE: &str = r#"
local metatable = ...
local rawget, type, lower, gsub = rawget, type, string.lower, string.gsub
local keys, room = {}, 256
function metatable.__index(headers, name)
    local key = keys[name]
    if not key then
        if type(name) ~= "string" then
            return nil
        end
        key = gsub(lower(name), "_", "-")
        if #name <= 64 then
            if room == 0 then
                keys, room = {}, 256
            end
            keys[name], room = key, room - 1
        end
    end
    return rawget(headers, key)
end
"#;

/// Adds to the `ngx.req` table on the top.
pub fn open(state: &mut State) {
    push_getter(state, get_headers);
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
        let request = only_request_in(Phases::BEFORE_LOG)?;
        report(request.set_header(&*name(state)?, &[]))
    });
}

/// Makes the module `ngx.req`.
pub fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 2);
    state.set_function("add_header", add_header);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "version");
    Ok(Ret::Values(1))
}

/// Pushes a function whose body is for [`reply`], with what that needs: one
/// metatable for all results, and common names.
pub fn push_getter<F: Body>(state: &mut State, body: F) {
    state.new_table(0, 1);
    state.push_value(-1);
    if let Err(message) = state.run_builtin(SOURCE, c"=ngx.req", 1, 0) {
        log::cycle(Level::Error, message);
    }
    common::push_names(state);
    state.push_closure(body, 2);
}

/// Sets header 1 to value 2: a text, an array of them, or nil for none.
fn set_header(state: &mut State) -> LuaResult {
    let request = only_request_in(Phases::BEFORE_LOG)?;
    let name = name(state)?;
    report(match state.bytes(VALUE) {
        Some(value) => request.set_header(&name, &[value]),
        None => set_other(state, request, &name)?,
    })
}

/// [`set_header`] for a value that is neither string nor number.
fn set_other(
    state: &mut State,
    request: Request,
    name: &HeaderName,
) -> Result<Result<(), HeaderError>, Throw> {
    match state.type_of(VALUE) {
        Type::Nil => Ok(request.set_header(name, &[])),
        Type::Table => {
            let values = array(state)?;
            let values: Vec<_> = values.iter().map(|value| &value[..]).collect();
            Ok(request.set_header(name, &values))
        }
        _ if make_text(state, VALUE)? => {
            Ok(request.set_header(name, &[state.bytes(VALUE).unwrap_or_default()]))
        }
        _ => {
            let expected = "string, number, boolean, table or nil";
            Err(wrong_type(state, VALUE, expected, VALUE))
        }
    }
}

/// The texts in the array that is value 2.
fn array(state: &mut State) -> Result<Vec<Vec<u8>>, Throw> {
    let mut values = Vec::new();
    for i in 1..=c_int::try_from(state.len(VALUE)).unwrap_or(c_int::MAX) {
        state.raw_geti(VALUE, i);
        if !make_text(state, -1)? {
            return Err(wrong_type(state, VALUE, "array of strings", -1));
        }
        values.push(state.bytes(-1).unwrap_or_default().to_vec());
        state.pop(1);
    }
    Ok(values)
}

/// `add_header(name, value)` of the module: header 1 gets value 2, or several, besides those it has.
fn add_header(state: &mut State) -> LuaResult {
    let request = only_request_in(Phases::BEFORE_LOG)?;
    let name = name(state)?;
    let expected = "string or table";
    let added = match state.type_of(VALUE) {
        Type::Table => array(state)?,
        Type::Nil | Type::None => return Err(wrong_type(state, VALUE, expected, VALUE)),
        _ if make_text(state, VALUE)? => vec![state.bytes(VALUE).unwrap_or_default().to_vec()],
        _ => return Err(wrong_type(state, VALUE, expected, VALUE)),
    };
    if added.is_empty() {
        return Err(Throw::argument(VALUE, "non-empty table expected"));
    }
    let there = request.headers().filter(|header| name.is(header.name));
    let mut values: Vec<_> = there.map(|header| header.value).collect();
    values.extend(added.iter().map(Vec::as_slice));
    report(request.set_header(&name, &values))
}

fn report(result: Result<(), HeaderError>) -> LuaResult {
    match result {
        Ok(()) => Ok(Ret::Values(0)),
        Err(HeaderError::Memory) => Err(Throw::error("no memory")),
        Err(HeaderError::NotALength) => Err(Throw::error(
            "invalid value of the request header Content-Length",
        )),
    }
}

/// The name that Lua gave.
#[inline(always)]
fn name(state: &State) -> Result<Rc<HeaderName>, Throw> {
    let name = state.bytes(NAME);
    let name = name.ok_or_else(|| wrong_type(state, NAME, "string", NAME))?;
    Ok(HeaderName::new(name, false))
}

/// `headers, err = ngx.req.get_headers(max?, raw?)`
fn get_headers(state: &mut State) -> LuaResult {
    let request = only_request()?;
    let total = request.header_count();
    reply(state, request.headers(), total)
}

/// What `f(max?, raw?)` returns for `total` headers, `f` being made by
/// [`push_getter`].
#[inline(always)]
pub fn reply<'r>(
    state: &mut State,
    headers: impl Iterator<Item = Header<'r>>,
    total: usize,
) -> LuaResult {
    let (max, raw) = match state.top() {
        0 => (DEFAULT_MAX, false),
        _ => take_options(state)?,
    };
    let size = c_int::try_from(total.min(max)).unwrap_or(c_int::MAX);
    state.new_table(0, size);
    let mut seen = Seen::default();
    for header in headers.take(max) {
        let lowercase;
        let name = match header.lowercase {
            _ if raw => header.name,
            Some(name) => name,
            None => {
                lowercase = ShortText::mapped(header.name, |b| b.to_ascii_lowercase());
                &lowercase
            }
        };
        common::push(state, State::upvalue(2), name);
        if seen.add(name) {
            add(state, header.value);
        } else {
            state.push_bytes(header.value);
            state.raw_set(1);
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

/// Takes `max?, raw?` off the stack.
fn take_options(state: &mut State) -> Result<(usize, bool), Throw> {
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
    Ok((max, raw))
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
