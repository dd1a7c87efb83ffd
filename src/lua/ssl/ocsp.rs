//! `require "ngx.ocsp"`.

use std::os::raw::c_int;

use super::handshake::client_in;
use super::text;
use crate::lua::preload;
use crate::lua::text::wrong_type;
use crate::sys::phase::{Phase, Phases};
use crate::sys::ssl::ocsp;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// Bytes that a result may have, unless the caller says so.
const MAX_LEN: usize = 4096;

/// The extension by which a client asks for an answer (RFC 6066, section 8).
const STATUS_REQUEST: u16 = 5;
/// Its first byte: the answer is to be OCSP's.
const OCSP: u8 = 1;

/// Makes the module available to `require`.
pub fn open(state: &mut State) {
    preload(state, "ngx.ocsp", load);
}

fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 6);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "_VERSION");
    state.set_function("get_ocsp_responder_from_der_chain", responder);
    state.set_function("create_ocsp_request", request);
    state.set_function("validate_ocsp_response", validate);
    state.set_function("set_ocsp_status_resp", staple);
    Ok(Ret::Values(1))
}

/// `url, err = ocsp.get_ocsp_responder_from_der_chain(der_chain, max_len?)`;
/// nothing but nil where the certificate names no responder.
fn responder(state: &mut State) -> LuaResult {
    let max = max_len(state, 2)?;
    Ok(Ret::Values(match ocsp::responder(text(state, 1)?) {
        Ok(Some(url)) if url.len() > max => {
            state.push_bytes(&url[..max]);
            state.push_bytes("truncated");
            2
        }
        Ok(Some(url)) => {
            state.push_bytes(url);
            1
        }
        Ok(None) => {
            state.push_nil();
            1
        }
        Err(message) => state.push_nil_err(message),
    }))
}

/// `request, err = ocsp.create_ocsp_request(der_chain, max_len?)`
fn request(state: &mut State) -> LuaResult {
    let max = max_len(state, 2)?;
    Ok(Ret::Values(match ocsp::request(text(state, 1)?) {
        Ok(request) if request.len() > max => state.push_nil_err(format!(
            "output buffer too small: {} > {max}",
            request.len()
        )),
        Ok(request) => {
            state.push_bytes(request);
            1
        }
        Err(message) => state.push_nil_err(message),
    }))
}

/// `ok, next_update = ocsp.validate_ocsp_response(response, der_chain, max_err_len?)`,
/// or nil and the error.
fn validate(state: &mut State) -> LuaResult {
    let max = max_len(state, 3)?;
    match ocsp::validate(text(state, 1)?, text(state, 2)?) {
        Ok(next_update) => {
            state.push_bool(true);
            match next_update {
                Some(seconds) => state.push_int(seconds),
                None => state.push_nil(),
            }
            Ok(Ret::Values(2))
        }
        Err(message) => {
            let shown = &message.as_bytes()[..message.len().min(max)];
            Ok(Ret::Values(state.push_nil_err(shown)))
        }
    }
}

/// `ok, warning = ocsp.set_ocsp_status_resp(response, length?)`, or nil and the
/// error.
fn staple(state: &mut State) -> LuaResult {
    let answer = text(state, 1)?;
    let length = if state.is_none_or_nil(2) {
        answer.len()
    } else {
        max_len(state, 2)?.min(answer.len())
    };
    let answer = answer[..length].to_vec();
    let client = client_in(Phases::of(&[Phase::SslCertificate]))?;
    let Some(arrival) = client.arrival() else {
        return Ok(Ret::Values(state.push_nil_err("the handshake is over")));
    };
    if answer.is_empty() {
        return Ok(Ret::Values(state.push_nil_err("empty OCSP response")));
    }
    state.push_bool(true);
    let asked = arrival
        .hello()
        .and_then(|hello| hello.extension(STATUS_REQUEST));
    if asked.and_then(|asked| asked.first()) != Some(&OCSP) {
        state.push_bytes("no status req");
        return Ok(Ret::Values(2));
    }
    arrival.credentials.borrow_mut().staple(answer);
    Ok(Ret::Values(1))
}

/// The length at `idx`, or the usual one.
fn max_len(state: &State, idx: c_int) -> Result<usize, Throw> {
    if state.is_none_or_nil(idx) {
        return Ok(MAX_LEN);
    }
    match state
        .number(idx)
        .filter(|_| state.type_of(idx) == Type::Number)
    {
        // The cast saturates.
        Some(len) => Ok(len as usize),
        None => Err(wrong_type(state, idx, "number", idx)),
    }
}
