//! TLS of the clients' connections: waiting inside of a handshake, and what
//! Lua may see and set meanwhile.

mod arrival;
mod bio;
mod client;
mod credentials;
mod hello;
mod hooks;
mod names;
mod rehearsal;
mod session;

pub use arrival::Arrival;
pub use client::{Client, RawAddress};
pub use credentials::Credentials;
pub use hello::ClientHello;
pub use hooks::{Handlers, Wishes, install, set_handlers};
pub use names::Server;
