//! `ngx.resp`: the response's header as a whole, and the module of that name.

use std::os::raw::c_int;

use super::req::headers::{push_getter, reply};
use super::text::make_text;
use super::{only_request, preload, request};
use crate::conf;
use crate::sys::headers::{Header, HeaderName};
use crate::sys::log::Level;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

const VALUE: c_int = 2;

/// Adds `resp` to the `ngx` table on the top, and has `require` find `ngx.resp`.
pub fn open(state: &mut State) {
    state.new_table(0, 1);
    push_getter(state, get_headers);
    state.raw_set_field(-2, "get_headers");
    state.raw_set_field(-2, "resp");
    preload(state, "ngx.resp", |state| {
        state.new_table(0, 2);
        state.push_bytes("0.1.0");
        state.raw_set_field(-2, "version");
        state.set_function("add_header", add_header);
        Ok(Ret::Values(1))
    });
}

/// `headers, err = ngx.resp.get_headers(max?, raw?)`
fn get_headers(state: &mut State) -> LuaResult {
    let all = only_request()?.response_headers().all();
    let headers = all.iter().map(|(name, value)| Header {
        name,
        lowercase: None,
        value,
    });
    reply(state, headers, all.len())
}

/// `add_header(name, value)`: one more line of a header, or several.
fn add_header(state: &mut State) -> LuaResult {
    let (context, request) = request()?;
    let Some(name) = state.bytes(1) else {
        return Err(Throw::error("invalid header name"));
    };
    let dashed = conf::current().is_none_or(conf::LocConf::transform_underscores);
    let name = HeaderName::new(name, dashed);
    let mut values = Vec::new();
    if state.type_of(VALUE) == Type::Table {
        for i in 1..=c_int::try_from(state.len(VALUE)).unwrap_or(c_int::MAX) {
            state.raw_geti(VALUE, i);
            values.push(text(state)?);
            state.pop(1);
        }
    } else if !state.is_none_or_nil(VALUE) {
        state.push_value(VALUE);
        values.push(text(state)?);
    }
    if values.is_empty() {
        return Err(Throw::error("invalid header value"));
    }
    if context.header_is_final(request) {
        context.log(
            Level::Error,
            "attempt to set ngx.header.HEADER after sending out response headers",
        );
        return Ok(Ret::Values(0));
    }
    let headers = request.response_headers();
    for value in &values {
        headers
            .add(&name, value)
            .map_err(|_| Throw::error("failed to add header"))?;
    }
    Ok(Ret::Values(0))
}

/// The text of the value on the top.
fn text(state: &mut State) -> Result<Vec<u8>, Throw> {
    if !make_text(state, -1)? {
        return Err(Throw::error("invalid header value"));
    }
    Ok(state.bytes(-1).unwrap_or_default().to_vec())
}
