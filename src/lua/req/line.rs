//! The request line: `ngx.req.get_method`, `ngx.req.http_version`, `ngx.req.set_uri` and the functions
//! for arguments; `ngx.req.start_time`.

use crate::lua::args::{self, take_args};
use crate::lua::control::METHODS;
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
    state.set_function("set_method", set_method);
    state.set_function("raw_header", raw_header);
    state.set_function("is_internal", |state| {
        state.push_bool(only_request()?.is_internal());
        Ok(Ret::Values(1))
    });
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
    args::reply(state, request.args(), max)
}

/// `ngx.req.set_method(id)`, one of `ngx.HTTP_GET` and its like.
fn set_method(state: &mut State) -> LuaResult {
    let (_, request) = request_in(Phases::BEFORE_LOG)?;
    if state.type_of(1) != Type::Number {
        return Err(Throw::error("bad method number"));
    }
    let id = state.number(1).unwrap_or_default();
    let Some(&(name, id)) = METHODS.iter().find(|(_, known)| *known as f64 == id) else {
        return Err(Throw::error(format!("unsupported HTTP method: {id}")));
    };
    let name = name.strip_prefix("HTTP_").unwrap_or(name);
    request.set_method(id as usize, name);
    Ok(Ret::Values(0))
}

/// `header = ngx.req.raw_header(no_request_line?)`, as nginx has kept it: the line and the headers
/// of now, since the bytes that came may be gone.
fn raw_header(state: &mut State) -> LuaResult {
    let request = only_request()?;
    if request.http_version() >= 2000 {
        return Err(Throw::error("http2 requests not supported yet"));
    }
    with_scratch(|text| {
        if !state.to_bool(1) {
            text.extend_from_slice(request.line());
            text.extend_from_slice(b"\r\n");
        }
        for header in request.headers() {
            for part in [header.name, b": ", header.value, b"\r\n"] {
                text.extend_from_slice(part);
            }
        }
        text.extend_from_slice(b"\r\n");
        state.push_bytes(text);
    });
    Ok(Ret::Values(1))
}

/// `ngx.req.set_uri_args(args)`, text or a table.
fn set_uri_args(state: &mut State) -> LuaResult {
    let n = state.top();
    if n != 1 {
        return Err(Throw::error(format!("expecting 1 argument but seen {n}")));
    }
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
    let n = state.top();
    if !(1..=3).contains(&n) {
        return Err(Throw::error(format!(
            "expecting 1, 2 or 3 arguments but seen {n}"
        )));
    }
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
