//! `require "ngx.ssl"`: certificates and keys.
//!
//! Lua code expects cdata, so a little Lua wraps the pointers. Each pointer
//! that was handed out is remembered here until Lua's collector frees it; only
//! such pointers are accepted back.

mod clienthello;
mod handshake;
mod ocsp;
mod session;
mod upstream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::raw::c_int;

use super::preload;
use super::text::wrong_type;
use crate::sys::log::{self, Level};
use crate::sys::ssl::{Certificates, PrivateKey, cert_pem_to_der, key_pem_to_der};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// What a handed-out pointer stands for.
#[derive(Clone)]
enum Handed {
    Certificates(Certificates),
    PrivateKey(PrivateKey),
}

thread_local! {
    static HANDED: RefCell<HashMap<usize, Handed>> = RefCell::default();
}

/// Argument: the functions below. Result: the module.
const SOURCE: &str = r#"
local core = ...
local ffi = require "ffi"
local cast, gc, error, pcall = ffi.cast, ffi.gc, error, pcall
local release = core.release

local function owned(parse)
    return function(...)
        local ok, pointer, err = pcall(parse, ...)
        if not ok then
            error(pointer, 2)
        end
        if not pointer then
            return nil, err
        end
        return gc(cast("void *", pointer), release)
    end
end

return {
    _VERSION = "0.1.0",
    version = "0.1.0",
    SSL3_VERSION = 0x0300,
    TLS1_VERSION = 0x0301,
    TLS1_1_VERSION = 0x0302,
    TLS1_2_VERSION = 0x0303,
    TLS1_3_VERSION = 0x0304,
    parse_pem_cert = owned(core.parse_pem_cert),
    parse_der_cert = owned(core.parse_der_cert),
    parse_pem_priv_key = owned(core.parse_pem_priv_key),
    parse_der_priv_key = owned(core.parse_der_priv_key),
    cert_pem_to_der = core.cert_pem_to_der,
    priv_key_pem_to_der = core.priv_key_pem_to_der,
}
"#;

/// Argument: a function that returns a light userdata, or nil and a message.
const POINTER_WRAPPER: &str = r#"
local get = ...
local cast, error, pcall = require("ffi").cast, error, pcall
return function(...)
    local ok, pointer, err = pcall(get, ...)
    if not ok then
        error(pointer, 2)
    end
    if not pointer then
        return nil, err
    end
    return cast("void *", pointer)
end
"#;

/// Makes the modules available to `require`.
pub fn open(state: &mut State) {
    preload(state, "ngx.ssl", load);
    ocsp::open(state);
    upstream::open(state);
    clienthello::open(state);
    session::open(state);
}

/// Replaces the function on the top by one that returns its pointer as cdata.
pub fn push_pointer_wrapper(state: &mut State) {
    if let Err(message) = state.run_builtin(POINTER_WRAPPER, c"=ngx.ssl", 1, 1) {
        log::cycle(Level::Error, message);
        state.push_nil();
    }
}

fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 8);
    state.set_function("parse_pem_cert", |state| {
        let parsed = Certificates::from_pem(text(state, 1)?);
        Ok(push_handed(state, parsed.map(Handed::Certificates)))
    });
    state.set_function("parse_der_cert", |state| {
        let parsed = Certificates::from_der(text(state, 1)?);
        Ok(push_handed(state, parsed.map(Handed::Certificates)))
    });
    state.set_function("parse_pem_priv_key", |state| {
        let parsed = PrivateKey::from_pem(text(state, 1)?, b"");
        Ok(push_handed(state, parsed.map(Handed::PrivateKey)))
    });
    state.set_function("parse_der_priv_key", |state| {
        let parsed = PrivateKey::from_der(text(state, 1)?);
        Ok(push_handed(state, parsed.map(Handed::PrivateKey)))
    });
    state.set_function("cert_pem_to_der", |state| {
        let der = cert_pem_to_der(text(state, 1)?);
        Ok(push_text(state, der))
    });
    state.set_function("priv_key_pem_to_der", |state| {
        let password = if state.is_none_or_nil(2) {
            b""
        } else {
            text(state, 2)?
        };
        let der = key_pem_to_der(text(state, 1)?, password);
        Ok(push_text(state, der))
    });
    state.set_function("release", |state| {
        let released = state
            .pointer(1)
            .and_then(|pointer| HANDED.with_borrow_mut(|handed| handed.remove(&pointer)));
        drop(released);
        Ok(Ret::Values(0))
    });
    state
        .run_builtin(SOURCE, c"=ngx.ssl", 1, 1)
        .map_err(Throw::Error)?;
    state.push_function(upstream::upstream_pointer);
    push_pointer_wrapper(state);
    state.raw_set_field(-2, "get_upstream_ssl_pointer");
    handshake::add(state);
    Ok(Ret::Values(1))
}

fn text(state: &State, idx: c_int) -> Result<&[u8], Throw> {
    if state.type_of(idx) != Type::String {
        return Err(wrong_type(state, idx, "string", idx));
    }
    Ok(state.bytes(idx).unwrap_or_default())
}

fn push_text(state: &State, result: Result<Vec<u8>, &'static str>) -> Ret {
    Ret::Values(match result {
        Ok(text) => {
            state.push_bytes(text);
            1
        }
        Err(message) => state.push_nil_err(message),
    })
}

fn push_handed(state: &State, parsed: Result<Handed, &'static str>) -> Ret {
    Ret::Values(match parsed {
        Ok(handed) => {
            let pointer = match &handed {
                Handed::Certificates(certificates) => certificates.address(),
                Handed::PrivateKey(key) => key.address(),
            };
            HANDED.with_borrow_mut(|all| all.insert(pointer, handed));
            state.count_heavy();
            state.push_light(pointer);
            1
        }
        Err(message) => state.push_nil_err(message),
    })
}

fn handed_at(state: &State, idx: c_int) -> Result<Option<Handed>, Throw> {
    if state.type_of(idx) != Type::Cdata {
        return Err(wrong_type(state, idx, "cdata", idx));
    }
    Ok(state
        .pointer(idx)
        .and_then(|pointer| HANDED.with_borrow(|handed| handed.get(&pointer).cloned())))
}

/// The certificates that the cdata at `idx` stands for.
pub fn certificates_at(state: &State, idx: c_int) -> Result<Certificates, Throw> {
    match handed_at(state, idx)? {
        Some(Handed::Certificates(certificates)) => Ok(certificates),
        _ => Err(Throw::argument(
            idx,
            "a certificate of ngx.ssl.parse_pem_cert or parse_der_cert expected",
        )),
    }
}

/// The private key that the cdata at `idx` stands for.
pub fn private_key_at(state: &State, idx: c_int) -> Result<PrivateKey, Throw> {
    match handed_at(state, idx)? {
        Some(Handed::PrivateKey(key)) => Ok(key),
        _ => Err(Throw::argument(
            idx,
            "a key of ngx.ssl.parse_pem_priv_key or parse_der_priv_key expected",
        )),
    }
}
