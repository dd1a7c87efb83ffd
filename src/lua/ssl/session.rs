//! `require "ngx.ssl.session"`: sessions of clients, kept by Lua.

use std::fmt::Write;

use super::handshake::client_in;
use super::text;
use crate::lua::preload;
use crate::sys::phase::{Phase, Phases};
use crate::vm::{LuaResult, Ret, State};

const FETCH: Phases = Phases::of(&[Phase::SslSessionFetch]);
const STORE: Phases = Phases::of(&[Phase::SslSessionStore]);

/// Makes the module available to `require`.
pub(super) fn open(state: &mut State) {
    preload(state, "ngx.ssl.session", load);
}

fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 4);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "version");
    state.set_function("get_session_id", |state| {
        let client = client_in(FETCH.and(Phase::SslSessionStore))?;
        Ok(Ret::Values(match client.session_id() {
            Some(id) => {
                let mut hex = String::with_capacity(2 * id.len());
                for byte in id {
                    // Writing to a string does not fail.
                    let _ = write!(hex, "{byte:02x}");
                }
                state.push_bytes(hex);
                1
            }
            None => state.push_nil_err("no session id"),
        }))
    });
    state.set_function("get_serialized_session", |state| {
        let client = client_in(STORE)?;
        Ok(Ret::Values(match client.serialized_session() {
            Some(session) => {
                state.push_bytes(session);
                1
            }
            None => state.push_nil_err("i2d_SSL_SESSION() failed"),
        }))
    });
    state.set_function("set_serialized_session", |state| {
        let client = client_in(FETCH)?;
        let found = client.prefetch_session(text(state, 1)?);
        Ok(Ret::Values(if found {
            state.push_bool(true);
            1
        } else {
            state.push_nil_err("d2i_SSL_SESSION() failed")
        }))
    });
    Ok(Ret::Values(1))
}
