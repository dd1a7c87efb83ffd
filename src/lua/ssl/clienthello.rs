//! `require "ngx.ssl.clienthello"`: what a client says first.

use std::os::raw::c_int;

use super::handshake::{VERSIONS, check_table, client_in, number};
use crate::lua::preload;
use crate::sys::phase::{Phase, Phases};
use crate::sys::ssl::Protocol;
use crate::sys::ssl::server::{Client, ClientHello};
use crate::vm::{LuaResult, Ret, State, Throw};

const HERE: Phases = Phases::of(&[Phase::SslClientHello]);

/// Makes the module available to `require`.
pub(super) fn open(state: &mut State) {
    preload(state, "ngx.ssl.clienthello", load);
}

fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 7);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "version");
    state.set_function("get_client_hello_server_name", |state| {
        with_hello(state, |state, hello| push(state, hello.server_name()))
    });
    state.set_function("get_client_hello_ext", |state| {
        let kind = number(state, 1)?;
        with_hello(state, |state, hello| {
            let kind = (0.0..=65535.0).contains(&kind).then_some(kind as u16);
            push(state, kind.and_then(|kind| hello.extension(kind)))
        })
    });
    state.set_function("get_client_hello_ext_present", |state| {
        with_hello(state, |state, hello| {
            push_numbers(state, hello.extension_types())
        })
    });
    state.set_function("get_client_hello_ciphers", |state| {
        with_hello(state, |state, hello| {
            push_numbers(state, hello.ciphers().iter().copied())
        })
    });
    state.set_function("get_supported_versions", |state| {
        with_hello(state, supported_versions)
    });
    state.set_function("set_protocols", set_protocols);
    Ok(Ret::Values(1))
}

fn with_hello(state: &mut State, f: impl FnOnce(&mut State, &ClientHello) -> c_int) -> LuaResult {
    let client = client_in(HERE)?;
    let hello = client.arrival().and_then(|arrival| arrival.hello());
    Ok(Ret::Values(match hello {
        Some(hello) => f(state, hello),
        None => state.push_nil_err("no ClientHello"),
    }))
}

fn push(state: &State, text: Option<&[u8]>) -> c_int {
    match text {
        Some(text) => state.push_bytes(text),
        None => state.push_nil(),
    }
    1
}

fn push_numbers(state: &mut State, numbers: impl ExactSizeIterator<Item = u16>) -> c_int {
    state.new_table(numbers.len() as c_int, 0);
    for (i, number) in (1..).zip(numbers) {
        state.push_int(number.into());
        state.raw_seti(-2, i);
    }
    1
}

/// Names of the versions in the extension; those without a name are left out.
fn supported_versions(state: &mut State, hello: &ClientHello) -> c_int {
    let Some(versions) = hello.supported_versions() else {
        state.push_nil();
        return 1;
    };
    let names = versions
        .iter()
        .filter_map(|version| VERSIONS.iter().find(|(number, _)| number == version));
    state.new_table(versions.len() as c_int, 0);
    for (i, (_, name)) in (1..).zip(names) {
        state.push_bytes(name);
        state.raw_seti(-2, i);
    }
    1
}

/// `ssl_clt.set_protocols(protocols)`
fn set_protocols(state: &mut State) -> LuaResult {
    let client: Client = client_in(HERE)?;
    check_table(state, 1)?;
    let mut protocols = Vec::new();
    for i in 1..=c_int::try_from(state.len(1)).unwrap_or(c_int::MAX) {
        state.raw_geti(1, i);
        let Some(protocol) = state.bytes(-1).and_then(Protocol::from_name) else {
            return Err(Throw::argument(1, "unknown protocol in the list"));
        };
        protocols.push(protocol);
        state.pop(1);
    }
    client.set_protocols(&protocols);
    state.push_bool(true);
    Ok(Ret::Values(1))
}
