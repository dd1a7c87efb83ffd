//! The request body: reading, replacing and discarding it.

use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::lua::args;
use crate::lua::scratch::with_scratch;
use crate::lua::text::wrong_type;
use crate::lua::{only_request, request_in};
use crate::rt::wake_now;
use crate::sys::body::{Body, Reading};
use crate::sys::new_body::NewBodyError;
use crate::sys::phase::Phases;
use crate::sys::request::Request;
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op, sched};

/// Adds to the `ngx.req` table on the top.
pub fn open(state: &mut State) {
    state.set_function("read_body", read_body);
    state.set_function("discard_body", discard_body);
    state.set_function("get_body_data", get_body_data);
    state.set_function("get_body_file", get_body_file);
    state.set_function("get_post_args", get_post_args);
    state.set_function("set_body_data", set_body_data);
    state.set_function("set_body_file", set_body_file);
    state.set_function("init_body", init_body);
    state.set_function("append_body", append_body);
    state.set_function("finish_body", finish_body);
}

/// `ngx.req.read_body()`
fn read_body(state: &mut State) -> LuaResult {
    let (_, request) = request_in(Phases::BEFORE_RESPONSE)?;
    if !state.is_yieldable() {
        return Err(Throw::error("attempt to yield across C-call boundary"));
    }
    match request.read_body() {
        Ok(Body::There) => Ok(Ret::Values(0)),
        Ok(Body::Reading(reading)) => run_op(state, BodyRead(reading)),
        Err(status) => {
            sched::request_exit(status as i32);
            Ok(Ret::Yield(0))
        }
    }
}

/// Waits until the body is there. Where it cannot be read, nginx ends the
/// request, and the wait with it.
struct BodyRead(Rc<Reading>);

impl Parked for BodyRead {
    fn poll(&mut self, cx: &mut Context<'_>, _state: &mut State) -> Poll<c_int> {
        if self.0.is_done() {
            return Poll::Ready(0);
        }
        let waker = cx.waker().clone();
        self.0.then(move || wake_now(waker));
        Poll::Pending
    }
}

/// `ngx.req.get_body_data(max_bytes?)`
fn get_body_data(state: &mut State) -> LuaResult {
    let request = only_request()?;
    let max = match state.type_of(1) {
        Type::None | Type::Nil => usize::MAX,
        _ => match state.number(1) {
            Some(max) if max >= 0.0 => max as usize,
            Some(_) => return Err(Throw::argument(1, "bad max bytes")),
            None => {
                return Err(wrong_type(state, 1, "number", 1));
            }
        },
    };
    let Some(mut chunks) = request.body_in_memory() else {
        state.push_nil();
        return Ok(Ret::Values(1));
    };
    let size = chunks.size().min(max);
    match chunks.next() {
        Some(first) if first.len() >= size => state.push_bytes(&first[..size]),
        first => with_scratch(|data| {
            data.reserve(size);
            for chunk in first.into_iter().chain(chunks) {
                let room = size - data.len();
                data.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            state.push_bytes(data);
        }),
    }
    Ok(Ret::Values(1))
}

/// `ngx.req.discard_body()`
fn discard_body(_: &mut State) -> LuaResult {
    let (_, request) = request_in(Phases::BEFORE_RESPONSE)?;
    request
        .discard_body()
        .map_err(|error| failure(error, b""))?;
    Ok(Ret::Values(0))
}

/// `name = ngx.req.get_body_file()`
fn get_body_file(state: &mut State) -> LuaResult {
    match only_request()?.body_file() {
        Some(name) => state.push_bytes(name),
        None => state.push_nil(),
    }
    Ok(Ret::Values(1))
}

/// `args, err = ngx.req.get_post_args(max?, table?)`
fn get_post_args(state: &mut State) -> LuaResult {
    let n = state.top();
    if n > 2 {
        return Err(Throw::error(format!(
            "expecting 0, 1 or 2 arguments but seen {n}"
        )));
    }
    let max = args::max_argument(state, 1)?;
    let request = only_request()?;
    if !request.has_read_body() {
        return Err(Throw::error(
            "no request body found; maybe you should turn on lua_need_request_body?",
        ));
    }
    if request.body_file().is_some() {
        let message = "request body in temp file not supported";
        return Ok(Ret::Values(state.push_nil_err(message)));
    }
    with_scratch(|text| {
        if let Some(chunks) = request.body_in_memory() {
            for chunk in chunks {
                text.extend_from_slice(chunk);
            }
        }
        args::reply(state, text, max)
    })
}

/// The request, if its body can be replaced.
fn replaceable() -> Result<Request, Throw> {
    let (_, request) = request_in(Phases::BEFORE_RESPONSE)?;
    // nginx counts what is left in the length that a new body would set.
    if request.is_discarding_body() {
        return Err(Throw::error(
            "request body already discarded asynchronously",
        ));
    }
    // nginx would read what a request socket asks for into the new body.
    if !request.has_read_body() || request.has_unread_socket() {
        return Err(Throw::error("request body not read yet"));
    }
    Ok(request)
}

/// The only argument, a text.
fn only_text(state: &mut State) -> Result<&[u8], Throw> {
    match state.top() {
        1 if state.bytes(1).is_none() => Err(wrong_type(state, 1, "string", 1)),
        1 => Ok(state.bytes(1).unwrap_or_default()),
        n => Err(Throw::error(format!("expecting 1 arguments but seen {n}"))),
    }
}

/// `ngx.req.set_body_data(data)`
fn set_body_data(state: &mut State) -> LuaResult {
    let data = only_text(state)?;
    let request = replaceable()?;
    request
        .set_body_data(data)
        .map_err(|error| failure(error, b""))?;
    Ok(Ret::Values(0))
}

/// `ngx.req.set_body_file(name, auto_clean?)`
fn set_body_file(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(1..=2).contains(&n) {
        return Err(Throw::error(format!(
            "expecting 1 or 2 arguments but seen {n}"
        )));
    }
    let name = state
        .bytes(1)
        .ok_or_else(|| wrong_type(state, 1, "string", 1))?;
    if !matches!(state.type_of(2), Type::None | Type::Nil | Type::Boolean) {
        return Err(wrong_type(state, 2, "boolean", 2));
    }
    replaceable()?
        .set_body_file(name, state.to_bool(2))
        .map_err(|error| failure(error, name))?;
    Ok(Ret::Values(0))
}

/// `ngx.req.init_body(buffer_size?)`
fn init_body(state: &mut State) -> LuaResult {
    let limit = match state.top() {
        0 => None,
        1 => match state.number(1) {
            // As in the original, 0 is the default.
            Some(0.0) => None,
            Some(size) if size > 0.0 => Some(size as usize),
            Some(size) => return Err(Throw::error(format!("bad size argument: {size}"))),
            None => return Err(wrong_type(state, 1, "number", 1)),
        },
        n => {
            return Err(Throw::error(format!(
                "expecting 0 or 1 argument but seen {n}"
            )));
        }
    };
    // A request socket that has yet to read is no obstacle: the body is replaced at the end.
    let (_, request) = request_in(Phases::BEFORE_RESPONSE)?;
    let request = match request.has_unread_socket() {
        true => request,
        false => replaceable()?,
    };
    request
        .begin_new_body(limit)
        .map_err(|error| failure(error, b""))?;
    Ok(Ret::Values(0))
}

/// `ngx.req.append_body(data)`
fn append_body(state: &mut State) -> LuaResult {
    let data = only_text(state)?;
    let (_, request) = request_in(Phases::BEFORE_RESPONSE)?;
    begun(request.append_to_body(data))
}

/// `ngx.req.finish_body()`
fn finish_body(_: &mut State) -> LuaResult {
    let request = replaceable()?;
    begun(request.finish_new_body())
}

/// What functions return that need a body that was begun.
fn begun(result: Result<bool, NewBodyError>) -> LuaResult {
    match result {
        Ok(true) => Ok(Ret::Values(0)),
        Ok(false) => Err(Throw::error("request_body not initialized")),
        // The line in error.log says which file.
        Err(NewBodyError::File(call)) => Err(Throw::error(format!("{call}() failed"))),
        Err(error) => Err(failure(error, b"")),
    }
}

fn failure(error: NewBodyError, file: &[u8]) -> Throw {
    let file = String::from_utf8_lossy(file);
    Throw::error(match error {
        NewBodyError::File(call) => format!("{call}() \"{file}\" failed"),
        NewBodyError::NotAFile => format!("\"{file}\" is not a regular file"),
        NewBodyError::Memory => "no memory".into(),
    })
}
