//! The functions of `ngx.ssl` that are about the client's connection.

use std::os::raw::c_int;

use super::{certificates_at, private_key_at, push_pointer_wrapper, text};
use crate::lua::text::wrong_type;
use crate::lua::{context, disabled};
use crate::sys::phase::{Phase, Phases};
use crate::sys::ssl::server::{Client, Credentials, RawAddress};
use crate::sys::ssl::{Certificates, PrivateKey};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// Names of the versions of TLS, by their numbers on the wire.
pub(super) const VERSIONS: [(u16, &str); 5] = [
    (0x0300, "SSLv3"),
    (0x0301, "TLSv1"),
    (0x0302, "TLSv1.1"),
    (0x0303, "TLSv1.2"),
    (0x0304, "TLSv1.3"),
];

/// More key material than anything is good for.
const MOST_MATERIAL: f64 = 16384.0;

/// Adds to the module on the top.
pub(super) fn add(state: &mut State) {
    state.set_function("clear_certs", |state| {
        change(state, |credentials| {
            credentials.clear();
            Ok(())
        })
    });
    state.set_function("set_cert", |state| {
        let certificates = certificates_at(state, 1)?;
        change(state, |credentials| {
            credentials.add_certificates(certificates);
            Ok(())
        })
    });
    state.set_function("set_priv_key", |state| {
        let key = private_key_at(state, 1)?;
        change(state, |credentials| credentials.add_key(key))
    });
    state.set_function("set_der_cert", |state| {
        let certificates = Certificates::from_der(text(state, 1)?);
        change(state, |credentials| {
            credentials.add_certificates(certificates?);
            Ok(())
        })
    });
    state.set_function("set_der_priv_key", |state| {
        let key = PrivateKey::from_der(text(state, 1)?);
        change(state, |credentials| credentials.add_key(key?))
    });
    state.set_function("verify_client", verify_client);
    state.set_function("server_name", |state| {
        with_client(state, |state, client| match client.server_name() {
            Some(name) => push(state, name),
            None => push_nil(state),
        })
    });
    state.set_function("server_port", |state| {
        with_client(state, |state, client| match client.server_address() {
            Some(RawAddress::Inet(_, port) | RawAddress::Inet6(_, port)) => {
                state.push_int(port.into());
                1
            }
            Some(RawAddress::Unix(_)) => push_nil(state),
            None => state.push_nil_err("no server address"),
        })
    });
    state.set_function("raw_server_addr", |state| {
        with_client(state, |state, client| {
            push_address(state, client.server_address())
        })
    });
    state.set_function("raw_client_addr", |state| {
        with_client(state, |state, client| {
            push_address(state, client.client_address())
        })
    });
    state.set_function("get_tls1_version", |state| {
        with_client(state, |state, client| {
            state.push_int(client.version().into());
            1
        })
    });
    state.set_function("get_tls1_version_str", |state| {
        with_client(state, |state, client| {
            let version = client.version();
            match VERSIONS.iter().find(|(number, _)| *number == version) {
                Some((_, name)) => push(state, name),
                None => state.push_nil_err("unknown version"),
            }
        })
    });
    state.set_function("get_client_random", client_random);
    state.set_function("export_keying_material", export);
    state.push_function(|state| {
        with_client(state, |state, client| {
            state.push_light(client.pointer());
            1
        })
    });
    push_pointer_wrapper(state);
    state.raw_set_field(-2, "get_req_ssl_pointer");
}

/// TLS of the client's connection, where the running code has one to speak of.
fn with_client(state: &mut State, f: impl FnOnce(&mut State, &Client) -> c_int) -> LuaResult {
    let context = context()?;
    let results = match context.client() {
        Some(client) => f(state, &client),
        None if context.request().is_some() => state.push_nil_err("no TLS on this connection"),
        None => return Err(disabled(&context)),
    };
    Ok(Ret::Values(results))
}

/// TLS of the client's connection, in one of `phases` only.
pub(super) fn client_in(phases: Phases) -> Result<Client, Throw> {
    let context = context()?;
    match context.client() {
        Some(client) if phases.contains(context.phase()) => Ok(client),
        _ => Err(disabled(&context)),
    }
}

/// Changes what is presented to the client. Results: true, or nil and why not.
fn change(
    state: &mut State,
    f: impl FnOnce(&mut Credentials) -> Result<(), &'static str>,
) -> LuaResult {
    let client = client_in(Phases::of(&[Phase::SslCertificate]))?;
    let changed = match client.arrival() {
        Some(arrival) => f(&mut arrival.credentials.borrow_mut()),
        None => Err("the handshake is over"),
    };
    Ok(Ret::Values(match changed {
        Ok(()) => {
            state.push_bool(true);
            1
        }
        Err(message) => state.push_nil_err(message),
    }))
}

/// `ssl.verify_client(ca_certs?, depth?, trusted_certs?)`
fn verify_client(state: &mut State) -> LuaResult {
    let certificates = |idx| match state.is_none_or_nil(idx) {
        true => Ok(None),
        false => certificates_at(state, idx).map(Some),
    };
    let (authorities, trusted) = (certificates(1)?, certificates(3)?);
    let depth = if state.is_none_or_nil(2) {
        None
    } else {
        Some(number(state, 2)? as c_int)
    };
    change(state, |credentials| {
        credentials.ask_client(authorities, trusted, depth)
    })
}

/// `ssl.get_client_random(length?)`
fn client_random(state: &mut State) -> LuaResult {
    let length = if state.is_none_or_nil(1) {
        None
    } else {
        Some(number(state, 1)?)
    };
    with_client(state, |state, client| {
        let random = client.random();
        match length {
            // How much there is.
            Some(0.0) => state.push_int(random.len() as i64),
            Some(length) => state.push_bytes(&random[..random.len().min(length as usize)]),
            None => state.push_bytes(random),
        }
        1
    })
}

/// `ssl.export_keying_material(length, label, context?)`
fn export(state: &mut State) -> LuaResult {
    let length = number(state, 1)?;
    if !(0.0..=MOST_MATERIAL).contains(&length) {
        return Err(Throw::argument(1, "bad length"));
    }
    let label = text(state, 2)?.to_vec();
    let context = if state.is_none_or_nil(3) {
        None
    } else {
        Some(text(state, 3)?.to_vec())
    };
    with_client(state, |state, client| {
        match client.export(length as usize, &label, context.as_deref()) {
            Some(material) => push(state, material),
            None => state.push_nil_err("SSL_export_keying_material() failed"),
        }
    })
}

pub(super) fn number(state: &State, idx: c_int) -> Result<f64, Throw> {
    state
        .number(idx)
        .ok_or_else(|| wrong_type(state, idx, "number", idx))
}

fn push(state: &State, text: impl AsRef<[u8]>) -> c_int {
    state.push_bytes(text);
    1
}

fn push_nil(state: &State) -> c_int {
    state.push_nil();
    1
}

/// Results: address and type, or nil, nil and why not.
fn push_address(state: &State, address: Option<RawAddress>) -> c_int {
    let (bytes, kind) = match &address {
        Some(RawAddress::Unix(path)) => (&path[..], "unix"),
        Some(RawAddress::Inet(ip, _)) => (&ip[..], "inet"),
        Some(RawAddress::Inet6(ip, _)) => (&ip[..], "inet6"),
        None => {
            state.push_nil();
            return 1 + state.push_nil_err("no address");
        }
    };
    state.push_bytes(bytes);
    state.push_bytes(kind);
    2
}

/// Whether there is a table at `idx`.
pub(super) fn check_table(state: &State, idx: c_int) -> Result<(), Throw> {
    if state.type_of(idx) == Type::Table {
        return Ok(());
    }
    Err(wrong_type(state, idx, "table", idx))
}
