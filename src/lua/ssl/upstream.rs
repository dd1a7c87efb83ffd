//! `require "ngx.ssl.proxysslcert"`, `require "ngx.ssl.proxysslverify"` and
//! `require "ngx.proxyssl"`: handshakes with the servers of `proxy_pass`.

use std::rc::Rc;

use super::{certificates_at, private_key_at, push_pointer_wrapper, text};
use crate::lua::text::wrong_type;
use crate::lua::{context, disabled, only_request, preload};
use crate::sys::phase::Phase;
use crate::sys::ssl::upstream::{Pause, Tls};
use crate::sys::ssl::{Certificates, PrivateKey};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// Makes the modules available to `require`.
pub fn open(state: &mut State) {
    preload(state, "ngx.ssl.proxysslcert", load_certificate);
    preload(state, "ngx.ssl.proxysslverify", load_verify);
    preload(state, "ngx.proxyssl", load_version);
}

fn load_certificate(state: &mut State) -> LuaResult {
    state.new_table(0, 6);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "_VERSION");
    state.set_function("clear_certs", |state| {
        let pause = pause(Phase::ProxySslCertificate)?;
        Ok(push_result(state, pause.clear_certificates()))
    });
    state.set_function("set_cert", |state| {
        let pause = pause(Phase::ProxySslCertificate)?;
        let set = pause.set_certificates(&certificates_at(state, 1)?);
        Ok(push_result(state, set))
    });
    state.set_function("set_der_cert", |state| {
        let pause = pause(Phase::ProxySslCertificate)?;
        let parsed = Certificates::from_der(text(state, 1)?);
        Ok(push_result(
            state,
            parsed.and_then(|certificates| pause.set_certificates(&certificates)),
        ))
    });
    state.set_function("set_priv_key", |state| {
        let pause = pause(Phase::ProxySslCertificate)?;
        let set = pause.set_key(&private_key_at(state, 1)?);
        Ok(push_result(state, set))
    });
    state.set_function("set_der_priv_key", |state| {
        let pause = pause(Phase::ProxySslCertificate)?;
        let parsed = PrivateKey::from_der(text(state, 1)?);
        Ok(push_result(
            state,
            parsed.and_then(|key| pause.set_key(&key)),
        ))
    });
    Ok(Ret::Values(1))
}

fn load_verify(state: &mut State) -> LuaResult {
    state.new_table(0, 4);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "_VERSION");
    state.set_function("set_verify_result", |state| {
        let pause = pause(Phase::ProxySslVerify)?;
        if state.type_of(1) != Type::Number {
            return Err(wrong_type(state, 1, "number", 1));
        }
        // The cast saturates.
        pause.set_verify_result(state.number(1).unwrap_or_default() as i64);
        state.push_bool(true);
        Ok(Ret::Values(1))
    });
    state.set_function("get_verify_result", |state| {
        match pause(Phase::ProxySslVerify)?.verify_result() {
            Some(code) => state.push_int(code),
            None => state.push_nil(),
        }
        Ok(Ret::Values(1))
    });
    state.push_function(|state| {
        match pause(Phase::ProxySslVerify)?.certificate() {
            Some(address) => state.push_light(address),
            None => state.push_nil(),
        }
        Ok(Ret::Values(1))
    });
    push_pointer_wrapper(state);
    state.raw_set_field(-2, "get_verify_cert");
    Ok(Ret::Values(1))
}

fn load_version(state: &mut State) -> LuaResult {
    state.new_table(0, 3);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "_VERSION");
    state.set_function("get_tls1_version", |state| {
        push_version(state, |state, number, _| state.push_int(number.into()))
    });
    state.set_function("get_tls1_version_str", |state| {
        push_version(state, |state, _, name| state.push_bytes(name))
    });
    Ok(Ret::Values(1))
}

fn push_version(state: &State, push: fn(&State, i32, &str)) -> LuaResult {
    let request = only_request()?;
    Ok(Ret::Values(match Tls::of(request) {
        None => state.push_nil_err("no upstream SSL connection"),
        Some(tls) => match tls.version() {
            None => state.push_nil_err("not known yet"),
            Some((number, name)) => {
                push(state, number, name);
                1
            }
        },
    }))
}

/// `ssl.get_upstream_ssl_pointer()`, without the wrapper that makes it cdata.
pub fn upstream_pointer(state: &mut State) -> LuaResult {
    let request = only_request()?;
    Ok(Ret::Values(match Tls::of(request) {
        Some(tls) => {
            state.push_light(tls.address());
            1
        }
        None => state.push_nil_err("no upstream SSL connection"),
    }))
}

/// The handshake whose code runs.
fn pause(phase: Phase) -> Result<Rc<Pause>, Throw> {
    let context = context()?;
    match context.subject::<Pause>() {
        Some(pause) if pause.phase() == phase => Ok(pause),
        _ => Err(disabled(&context)),
    }
}

fn push_result(state: &State, result: Result<(), &'static str>) -> Ret {
    Ret::Values(match result {
        Ok(()) => {
            state.push_bool(true);
            1
        }
        Err(message) => state.push_nil_err(message),
    })
}
