//! `ngx.redirect` and `ngx.exec`: the request goes elsewhere.

use super::args::take_args;
use super::request_in;
use super::text::wrong_type;
use crate::sys::headers::{HeaderError, HeaderName};
use crate::sys::log::Level;
use crate::sys::phase::Phases;
use crate::sys::uri::Target;
use crate::vm::{LuaResult, Ret, State, Throw, sched};

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.set_function("redirect", redirect);
    state.set_function("exec", exec);
}

const FOUND: i32 = 302;

/// `ngx.redirect(uri, status?)`
fn redirect(state: &mut State) -> LuaResult {
    if !matches!(state.top(), 1 | 2) {
        return Err(Throw::error("expecting one or two arguments"));
    }
    let (context, request) = request_in(Phases::BEFORE_RESPONSE)?;
    let status = if state.is_none_or_nil(2) {
        FOUND
    } else {
        match state.number(2) {
            Some(status) => status as i32,
            None => return Err(wrong_type(state, 2, "number", 2)),
        }
    };
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Err(Throw::error(
            "only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, \
             ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and \
             ngx.HTTP_TEMPORARY_REDIRECT are allowed",
        ));
    }
    let Some(uri) = state.bytes(1) else {
        return Err(wrong_type(state, 1, "string", 1));
    };
    if let Some(byte) = unsafe_byte(uri) {
        return Err(Throw::error(format!(
            "unsafe byte \"0x{byte:02x}\" in redirect uri \"{}\"",
            printable(uri)
        )));
    }
    if context.header_is_final(request) {
        return Err(Throw::error(
            "attempt to call ngx.redirect after sending out the headers",
        ));
    }
    check_yieldable(state)?;
    let name = HeaderName::new(b"Location", false);
    match request.response_headers().set(&name, uri) {
        Ok(()) => {}
        Err(HeaderError::Memory | HeaderError::NotALength) => {
            return Err(Throw::error("no memory"));
        }
    }
    sched::request_exit(status);
    Ok(Ret::Yield(0))
}

/// `ngx.exec(uri, args?)`
fn exec(state: &mut State) -> LuaResult {
    let n = state.top();
    if !matches!(n, 1 | 2) {
        return Err(Throw::error(format!(
            "expecting one or two arguments, but got {n}"
        )));
    }
    let (context, request) = request_in(Phases::BEFORE_RESPONSE)?;
    let Some(uri) = state.bytes(1) else {
        return Err(wrong_type(state, 1, "string", 1));
    };
    if uri.is_empty() {
        return Err(Throw::error("The uri argument is empty"));
    }
    let target = if uri.starts_with(b"@") {
        let uri = uri.to_vec();
        let mut args = Vec::new();
        if !state.is_none_or_nil(2) {
            take_args(state, 2, &mut args)?;
        }
        if !args.is_empty() {
            context.log(
                Level::Warn,
                format!(
                    "query strings {} ignored when exec'ing named location {}",
                    printable(&args),
                    printable(&uri)
                ),
            );
        }
        Target::Named(uri)
    } else {
        let Some((path, mut args)) = request.split_uri(uri) else {
            return Err(Throw::error(format!("unsafe uri: \"{}\"", printable(uri))));
        };
        if !state.is_none_or_nil(2) {
            let mut more = Vec::new();
            take_args(state, 2, &mut more)?;
            if !args.is_empty() && !more.is_empty() {
                args.push(b'&');
            }
            args.append(&mut more);
        }
        Target::Uri(path, args)
    };
    if context.header_is_final(request) {
        return Err(Throw::error(
            "attempt to call ngx.exec after sending out response headers",
        ));
    }
    check_yieldable(state)?;
    context.set_target(Some(Box::new(target)));
    sched::request_exit(0);
    Ok(Ret::Yield(0))
}

fn check_yieldable(state: &State) -> Result<(), Throw> {
    if state.is_yieldable() {
        Ok(())
    } else {
        Err(Throw::error("attempt to yield across C-call boundary"))
    }
}

/// A byte that must not be in a URI: it would end a line.
pub fn unsafe_byte(uri: &[u8]) -> Option<u8> {
    uri.iter().copied().find(u8::is_ascii_control)
}

/// The URI with such bytes made visible, as `\x0D`.
pub fn printable(uri: &[u8]) -> String {
    let mut text = String::with_capacity(uri.len());
    for c in String::from_utf8_lossy(uri).chars() {
        if c.is_ascii_control() {
            text.push_str(&format!("\\x{:02X}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}
