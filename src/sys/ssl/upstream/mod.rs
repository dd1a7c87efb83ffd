//! Handshakes of nginx's own upstream connections that wait for Lua.
//!
//! nginx gives up a handshake that OpenSSL pauses; it only knows that OpenSSL
//! may have to wait for the socket. So OpenSSL gets, in place of the socket,
//! something that is never ready until Lua has decided. Before a certificate is
//! chosen there is nothing to read: the server's request for one has to wait.
//! While the server's certificate is judged nothing can be written: neither our
//! own certificate nor the end of the handshake goes out.

mod hooks;
mod pause;
mod tls;

pub use hooks::{Handlers, install};
pub use pause::Pause;
pub use tls::Tls;
