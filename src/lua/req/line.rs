//! The request line: `ngx.req.get_method`, `ngx.req.http_version`, `ngx.req.set_uri` and the functions
//! for arguments; `ngx.req.start_time`.

use crate::lua::args::{self, take_args};
use crate::lua::redirect::{printable, unsafe_byte};
use crate::lua::scratch::with_scratch;
use crate::lua::text::wrong_type;
use crate::lua::{disabled, only_request, request_in};
use crate::sys::phase::{Phase, Phases};
use crate::vm::{LuaResult, Ret, State, Throw, Type, sched};

/// Adds to the `ngx.req` table on the top.
pub fn open(state: &mut State) {
    // The names that nearly all requests have are kept by the function.
    for name in [GET, POST] {
        state.push_bytes(name);
    }
    state.push_closure(get_method, 2);
    state.raw_set_field(-2, "get_method");
    state.set_function("get_uri_args", get_uri_args);
    state.set_function("set_uri_args", set_uri_args);
    state.set_function("set_uri", set_uri);
    state.set_function("http_version", http_version);
    state.set_function("start_time", |state| {
        let request = only_request()?;
        state.push_number(request.start_time());
        Ok(Ret::Values(1))
    });
}

const GET: &[u8] = b"GET";
const POST: &[u8] = b"POST";

/// `name = ngx.req.get_method()`
fn get_method(state: &mut State) -> LuaResult {
    let request = only_request()?;
    match request.method() {
        GET => state.push_value(State::upvalue(1)),
        POST => state.push_value(State::upvalue(2)),
        other => state.push_bytes(other),
    }
    Ok(Ret::Values(1))
}

/// `version = ngx.req.http_version()`; nil where nginx knows none.
fn http_version(state: &mut State) -> LuaResult {
    let request = only_request()?;
    match request.http_version() {
        9 => state.push_number(0.9),
        1000 => state.push_number(1.0),
        1001 => state.push_number(1.1),
        2000 => state.push_number(2.0),
        3000 => state.push_number(3.0),
        _ => state.push_nil(),
    }
    Ok(Ret::Values(1))
}

/// `ngx.req.get_uri_args(max?, table?)`
fn get_uri_args(state: &mut State) -> LuaResult {
    let max = args::max_argument(state, 1)?;
    let request = only_request()?;
    match state.type_of(2) {
        Type::None | Type::Nil => args::new_table(state, request.args()),
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

/// `ngx.req.set_uri_args(args)`, text or a table.
fn set_uri_args(state: &mut State) -> LuaResult {
    let (_, request) = request_in(Phases::BEFORE_LOG)?;
    with_scratch(|text| {
        take_args(state, 1, text)?;
        if !request.set_args(text) {
            return Err(Throw::error("no memory"));
        }
        Ok(Ret::Values(0))
    })
}

/// `ngx.req.set_uri(uri, jump?, binary?)`
fn set_uri(state: &mut State) -> LuaResult {
    let (context, request) = request_in(Phases::BEFORE_LOG)?;
    let jump = state.to_bool(2);
    if jump && context.phase() != Phase::Rewrite {
        return Err(disabled(&context));
    }
    let Some(uri) = state.bytes(1) else {
        return Err(wrong_type(state, 1, "string", 1));
    };
    if uri.is_empty() {
        return Err(Throw::error("attempt to use zero-length uri"));
    }
    if !state.to_bool(3)
        && let Some(byte) = unsafe_byte(uri)
    {
        return Err(Throw::error(format!(
            "unsafe byte \"0x{byte:02x}\" in uri \"{}\" (maybe you want to set the 'binary' argument?)",
            printable(uri)
        )));
    }
    if jump && !state.is_yieldable() {
        return Err(Throw::error("attempt to yield across C-call boundary"));
    }
    if !request.set_uri(uri, jump) {
        return Err(Throw::error("no memory"));
    }
    if jump {
        sched::request_exit(0);
        return Ok(Ret::Yield(0));
    }
    Ok(Ret::Values(0))
}
