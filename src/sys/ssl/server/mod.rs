//! TLS of the clients' connections: waiting inside of a handshake, and what
//! Lua may see and set meanwhile.

mod hello;

pub use hello::ClientHello;
