//! `sock:sslhandshake` and what belongs to it.

use std::cell::RefCell;
use std::future::Future;
use std::os::raw::c_int;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use super::log_line;
use super::object::{TcpSocket, is_request_socket};
use super::owned::{TLS_OPTIONS, any_socket, own_socket};
use crate::conf;
use crate::lua::ssl::{certificates_at, private_key_at};
use crate::lua::text::wrong_type;
use crate::sock::Status;
use crate::sys::ssl::{
    Certificates, Handshake, HandshakeError, HandshakeOptions, PrivateKey, SslContext, SslSession,
    TrustedStore,
};
use crate::vm::{LuaResult, Parked, Ret, State, Throw, Type, run_op};

/// What a socket's next handshake presents and trusts.
#[derive(Default)]
struct TlsOptions {
    client_cert: RefCell<Option<(Certificates, PrivateKey)>>,
    trusted_store: RefCell<Option<TrustedStore>>,
}

/// Adds to the table of methods on the top.
pub fn open(state: &mut State) {
    state.set_function("sslhandshake", sslhandshake);
    state.set_function("setclientcert", setclientcert);
    state.set_function("settrustedstore", settrustedstore);
    state.set_function("getsslsession", getsslsession);
    state.push_function(getsslpointer);
    crate::lua::ssl::push_pointer_wrapper(state);
    state.raw_set_field(-2, "getsslpointer");
    state.push_function(getsslctx);
    crate::lua::ssl::push_pointer_wrapper(state);
    state.raw_set_field(-2, "getsslctx");
}

fn never_connected() -> Throw {
    Throw::error("socket is never created nor connected")
}

/// The options of the object at index 1, made on the first call.
fn with_options<R>(state: &mut State, f: impl FnOnce(&TlsOptions) -> R) -> Result<R, Throw> {
    state.raw_geti(1, TLS_OPTIONS);
    if state.userdata::<TlsOptions>(-1).is_none() {
        state.pop(1);
        state.push_userdata(TlsOptions::default());
        state.push_value(-1);
        state.raw_seti(1, TLS_OPTIONS);
    }
    let result = state.userdata::<TlsOptions>(-1).map(f);
    state.pop(1);
    result.ok_or_else(|| Throw::error("bad request"))
}

/// `sock:sslhandshake([session[, server_name[, ssl_verify[, send_status_req]]]])`
fn sslhandshake(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(1..=5).contains(&n) {
        return Err(Throw::error(format!(
            "ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen {n}"
        )));
    }
    // Argument 2: false means that no session is wanted back.
    let session = state.userdata::<SslSession>(2).cloned();
    let keep_session = match state.type_of(2) {
        Type::Boolean => state.to_bool(2),
        Type::None | Type::Nil => true,
        _ if session.is_some() => true,
        _ => {
            return Err(wrong_type(state, 2, "session", 2));
        }
    };
    let server_name = match state.type_of(3) {
        Type::None | Type::Nil => None,
        Type::String | Type::Number => state.bytes(3).map(Into::into),
        _ => {
            return Err(wrong_type(state, 3, "string", 3));
        }
    };
    let (verify, ocsp) = (state.to_bool(4), state.to_bool(5));
    state.set_top(5);
    let any: TcpSocket = any_socket(state, 1)?;
    if any.status() == Status::New {
        return Err(never_connected());
    }
    let socket = match own_socket::<TcpSocket>(state, 1) {
        Ok(own) => own,
        // Unlike other methods, this one returns it.
        Err(_) => return Ok(Ret::Values(state.push_nil_err("bad request"))),
    };
    if is_request_socket(&socket) {
        let message = HandshakeError::Downstream.to_string();
        return Ok(Ret::Values(state.push_nil_err(message)));
    }
    let exclusive = match socket.exclusive() {
        Ok(exclusive) => exclusive,
        Err(error) => return Ok(Ret::Values(state.push_nil_err(error.to_string()))),
    };
    let tls = conf::current().map_or_else(SslContext::default_of_worker, |conf| {
        conf.ssl.for_handshake()
    });
    let Some(tls) = tls else {
        return Ok(Ret::Values(
            state.push_nil_err("failed to create ssl context"),
        ));
    };
    state.raw_geti(1, TLS_OPTIONS);
    let (client_cert, trusted_store) = state
        .userdata::<TlsOptions>(-1)
        .map(|options| {
            let client_cert = options.client_cert.borrow().clone();
            (client_cert, options.trusted_store.take())
        })
        .unwrap_or_default();
    state.pop(1);
    let handshake = Handshake::new(
        exclusive,
        HandshakeOptions {
            context: tls,
            session,
            server_name,
            verify,
            ocsp,
            client_cert,
            trusted_store,
        },
    );
    run_op(
        state,
        Shaking {
            handshake,
            keep_session,
        },
    )
}

/// A handshake that waits.
struct Shaking {
    handshake: Handshake,
    keep_session: bool,
}

impl Shaking {
    fn log(&self, error: &HandshakeError) {
        let line = match error {
            HandshakeError::Verify { code, reason } => {
                format!("lua ssl certificate verify error: ({code}: {reason})")
            }
            HandshakeError::HostMismatch => format!(
                "lua ssl certificate does not match host \"{}\"",
                String::from_utf8_lossy(self.handshake.server_name().unwrap_or_default())
            ),
            HandshakeError::Timeout => "lua ssl handshake timed out".into(),
            // nginx has logged what OpenSSL said.
            HandshakeError::Failed
            | HandshakeError::Refused(_)
            | HandshakeError::UnreadData
            | HandshakeError::Closed
            | HandshakeError::Downstream => return,
        };
        log_line(Some(line));
    }
}

impl Parked for Shaking {
    fn poll(&mut self, cx: &mut TaskContext<'_>, state: &mut State) -> Poll<c_int> {
        Pin::new(&mut self.handshake)
            .poll(cx)
            .map(|result| match result {
                Ok(session) if self.keep_session => {
                    state.push_userdata(session);
                    state.count_heavy();
                    1
                }
                Ok(_) => {
                    state.push_bool(true);
                    1
                }
                Err(error) => {
                    self.log(&error);
                    state.push_nil_err(error.to_string())
                }
            })
    }
}

/// `sock:setclientcert(cert, pkey)`
fn setclientcert(state: &mut State) -> LuaResult {
    any_socket::<TcpSocket>(state, 1)?;
    state.set_top(3);
    let client_cert = match (state.to_bool(2), state.to_bool(3)) {
        (false, false) => None,
        (true, true) => {
            for (idx, name) in [(2, "cert"), (3, "pkey")] {
                if state.type_of(idx) != Type::Cdata {
                    return Ok(Ret::Values(state.push_nil_err(format!(
                        "bad {name} arg: cdata expected, got {}",
                        state.type_name(idx)
                    ))));
                }
            }
            Some((certificates_at(state, 2)?, private_key_at(state, 3)?))
        }
        _ => {
            return Ok(Ret::Values(state.push_nil_err(
                "client certificate must be supplied with corresponding private key",
            )));
        }
    };
    with_options(state, |options| {
        *options.client_cert.borrow_mut() = client_cert
    })?;
    state.push_bool(true);
    Ok(Ret::Values(1))
}

/// `sock:settrustedstore(store)`
fn settrustedstore(state: &mut State) -> LuaResult {
    let socket: TcpSocket = any_socket(state, 1)?;
    state.set_top(2);
    if socket.status() == Status::New {
        return Err(never_connected());
    }
    if own_socket::<TcpSocket>(state, 1).is_err() {
        return Ok(Ret::Values(state.push_nil_err("bad request")));
    }
    state.set_top(2);
    if state.type_of(2) != Type::Cdata {
        return Err(wrong_type(state, 2, "cdata", 2));
    }
    let store = state.pointer(2).and_then(TrustedStore::from_lua);
    let Some(store) = store else {
        return Err(Throw::argument(2, "a store of certificates expected"));
    };
    let result = match socket.status() {
        Status::Open => {
            with_options(state, |options| {
                *options.trusted_store.borrow_mut() = Some(store)
            })?;
            Ok(())
        }
        _ => Err("closed"),
    };
    Ok(Ret::Values(match result {
        Ok(()) => {
            state.push_bool(true);
            1
        }
        Err(closed) => state.push_nil_err(closed),
    }))
}

/// Asks the socket's connection for something of its TLS.
fn query<R>(
    state: &mut State,
    f: impl FnOnce(&crate::sys::connection::Connection) -> R,
) -> Result<Result<R, &'static str>, Throw> {
    let socket: TcpSocket = any_socket(state, 1)?;
    if socket.status() == Status::New {
        return Err(never_connected());
    }
    Ok(socket
        .with_transport(|link| match link.outgoing() {
            Some(connection) if connection.has_tls() => Ok(f(connection)),
            _ => Err("no ssl connection"),
        })
        .unwrap_or(Err("closed")))
}

fn push_pointer(state: &State, pointer: Result<usize, &'static str>, none: &str) -> c_int {
    match pointer {
        Ok(0) => state.push_nil_err(none),
        Ok(pointer) => {
            state.push_light(pointer);
            1
        }
        Err(message) => state.push_nil_err(message),
    }
}

/// `sock:getsslpointer()`, before it becomes a cdata.
fn getsslpointer(state: &mut State) -> LuaResult {
    let pointer = query(state, |connection| connection.ssl_ptr().addr())?;
    Ok(Ret::Values(push_pointer(
        state,
        pointer,
        "no ssl connection",
    )))
}

/// `sock:getsslctx()`, before it becomes a cdata.
fn getsslctx(state: &mut State) -> LuaResult {
    let pointer = query(state, |connection| connection.ssl_ctx_ptr().addr())?;
    Ok(Ret::Values(push_pointer(state, pointer, "no ssl context")))
}

/// `sock:getsslsession()`
fn getsslsession(state: &mut State) -> LuaResult {
    let session = query(state, |connection| connection.ssl_session())?;
    let result = session.and_then(|session| {
        if session.is_empty() {
            Err("no session")
        } else if session.is_resumable() {
            Ok(session)
        } else {
            Err("not resumable")
        }
    });
    Ok(Ret::Values(match result {
        Ok(session) => {
            state.push_userdata(session);
            state.count_heavy();
            1
        }
        Err(message) => state.push_nil_err(message),
    }))
}
