//! TLS of the clients' connections: waiting inside of a handshake, and what
//! Lua may see and set meanwhile.

mod arrival;
mod bio;
mod client;
mod credentials;
mod drive;
mod hello;
mod hooks;
mod install;
mod intake;
mod kept;
mod names;
mod session;

pub use arrival::Arrival;
pub use client::{Client, RawAddress};
pub use credentials::Credentials;
pub use hello::ClientHello;
pub use hooks::{Handlers, set_handlers};
pub use install::{Wishes, install};
pub use names::Server;
