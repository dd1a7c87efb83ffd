//! `ngx.say`, `ngx.print`, `ngx.flush`, `ngx.eof`, `ngx.send_headers`.

use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use super::request_in;
use super::table::{Strictness, flatten};
use super::text::wrong_type;
use crate::conf;
use crate::rt::decimal;
use crate::sys::context::Context;
use crate::sys::output::{Output, OutputError, OutputOptions};
use crate::sys::phase::Phases;
use crate::sys::request::Request;
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op};

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.set_function("say", |state| echo(state, true));
    state.set_function("print", |state| echo(state, false));
    state.set_function("flush", flush);
    state.set_function("eof", eof);
    state.set_function("send_headers", send_headers);
}

/// Settings of the location whose handler runs.
pub fn options() -> OutputOptions {
    conf::current().map_or(
        OutputOptions {
            default_type: true,
            http10_buffering: true,
        },
        |conf| OutputOptions {
            default_type: conf.use_default_type(),
            http10_buffering: conf.http10_buffering(),
        },
    )
}

/// The results of an output function: 1, or nil and why not.
fn report(state: &State, result: Result<(), OutputError>) -> c_int {
    match result {
        Ok(()) => {
            state.push_int(1);
            1
        }
        Err(e) => state.push_nil_err(e.text()),
    }
}

fn echo(state: &mut State, newline: bool) -> LuaResult {
    let (context, request) = request_in(Phases::BEFORE_RESPONSE)?;
    let end = if newline { &b"\n"[..] } else { b"" };
    let mut room = [0; 10];
    let text = match (state.top(), state.type_of(1)) {
        (1, Type::String) => state.bytes(1),
        (1, Type::Number) => number_text(state, &mut room),
        _ => None,
    };
    let result = match text {
        Some(text) => context.output.write(request, [text, end].into_iter()),
        None => write_all(state, &context.output, request, end)?,
    };
    let result = result.and_then(|()| context.output.push_if_full(request, options));
    Ok(Ret::Values(report(state, result)))
}

/// The text of the first argument, a number. Lua would make a string of it, which is garbage
/// then: that is for what `room` cannot take.
#[inline(never)]
fn number_text<'a>(state: &'a State, room: &'a mut [u8; 10]) -> Option<&'a [u8]> {
    let number = state.number(1)?;
    let whole = number as u32;
    // By their bits, since Lua knows a -0.
    match f64::from(whole).to_bits() == number.to_bits() {
        true => Some(decimal(whole, room)),
        false => state.bytes(1),
    }
}

/// More arguments than this are put together before they are written.
const FEW: usize = 8;

/// Writes all arguments, which are checked before, and `end`.
#[inline(never)]
fn write_all(
    state: &mut State,
    output: &Output,
    request: Request,
    end: &[u8],
) -> Result<Result<(), OutputError>, Throw> {
    let top = state.top();
    if let Some(texts) = take_plain(state, top, &mut [b"".as_slice(); FEW]) {
        return Ok(output.write(request, texts.iter().copied().chain([end])));
    }
    let mut text = Vec::new();
    for idx in 1..=top {
        append(state, idx, &mut text)?;
    }
    Ok(output.write(request, [&*text, end].into_iter()))
}

/// The texts of the arguments, if all of them are plain ones.
fn take_plain<'s, 't>(
    state: &'s State,
    top: c_int,
    texts: &'t mut [&'s [u8]],
) -> Option<&'t [&'s [u8]]> {
    let texts = texts.get_mut(..usize::try_from(top).ok()?)?;
    for (text, idx) in texts.iter_mut().zip(1..) {
        *text = plain_text(state, idx)?;
    }
    Some(texts)
}

fn plain_text(state: &State, idx: c_int) -> Option<&[u8]> {
    state.bytes(idx).or_else(|| match state.type_of(idx) {
        Type::Nil => Some(b"nil"),
        Type::Boolean if state.to_bool(idx) => Some(b"true"),
        Type::Boolean => Some(b"false"),
        _ => None,
    })
}

/// Appends the value of the argument `idx`, an array flattened.
fn append(state: &mut State, idx: c_int, text: &mut Vec<u8>) -> Result<(), Throw> {
    if let Some(plain) = plain_text(state, idx) {
        text.extend_from_slice(plain);
        return Ok(());
    }
    if state.is_null(idx) {
        text.extend_from_slice(b"null");
        return Ok(());
    }
    if state.type_of(idx) != Type::Table {
        return Err(Throw::argument(
            idx,
            format!(
                "string, number, boolean, nil, ngx.null, or array table expected, but got {}",
                state.type_name(idx)
            ),
        ));
    }
    flatten(state, idx, text, Strictness::Loose)
        .map_err(|not_text| Throw::argument(idx, not_text.to_string()))
}

/// `ngx.flush(wait?)`
fn flush(state: &mut State) -> LuaResult {
    let (context, request) = request_in(Phases::BEFORE_RESPONSE)?;
    let n = state.top();
    if n > 1 {
        return Err(Throw::error(format!(
            "attempt to pass {n} arguments, but accepted 0 or 1"
        )));
    }
    if !matches!(state.type_of(1), Type::None | Type::Boolean) {
        return Err(wrong_type(state, 1, "boolean", 1));
    }
    let wait = state.to_bool(1);
    let result = context.output.flush(request, options());
    if result.is_err() || !wait {
        return Ok(Ret::Values(report(state, result)));
    }
    run_op(state, Flushing { context })
}

/// Waits until the client has taken what was written.
struct Flushing {
    context: Rc<Context>,
}

impl Parked for Flushing {
    fn poll(&mut self, cx: &mut TaskContext<'_>, state: &mut State) -> Poll<c_int> {
        match self.context.request() {
            Some(request) => self
                .context
                .output
                .poll_flushed(request, cx)
                .map(|result| report(state, result)),
            None => Poll::Ready(state.push_nil_err("client aborted")),
        }
    }
}

/// `ngx.eof()`
fn eof(state: &mut State) -> LuaResult {
    let (context, request) = request_in(Phases::BEFORE_RESPONSE)?;
    let result = context
        .output
        .check_open()
        .and_then(|()| context.output.finish(request, options()));
    Ok(Ret::Values(report(state, result)))
}

/// `ngx.send_headers()`
fn send_headers(state: &mut State) -> LuaResult {
    let (context, request) = request_in(Phases::BEFORE_RESPONSE)?;
    let result = if request.header_sent() {
        Ok(())
    } else {
        context.output.send_header(request, options())
    };
    Ok(Ret::Values(report(state, result)))
}
