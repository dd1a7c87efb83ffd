//! TLS for outgoing connections, on nginx's and OpenSSL's functions;
//! certificates, keys and OCSP.

mod context;
mod handshake;
mod io;
pub mod ocsp;
pub mod server;
mod session;
pub mod upstream;
mod verify;
mod x509;

pub use context::{Protocol, Settings, SslContext};
pub use handshake::{Handshake, HandshakeError, HandshakeOptions};
pub use session::SslSession;
pub use x509::{Certificates, PrivateKey, TrustedStore, cert_pem_to_der, key_pem_to_der};

pub(super) use handshake::{Waiting, session_of};
pub(super) use io::{allow_partial_writes, close, has_pending, is_quiet, uncross};
pub(super) use session::Origin;
