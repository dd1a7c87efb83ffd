//! Where to connect to: parsing the host a script passes, without resolving it.

use std::net::{IpAddr, SocketAddr};

/// An address that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Ip(SocketAddr),
    /// Path of a unix socket, without the `unix:` prefix.
    Unix(Box<[u8]>),
}

/// What a script asked to connect to, before parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host as given: a name, an IPv4 literal, or an IPv6 literal in brackets.
    Host { host: Box<[u8]>, port: u16 },
    /// The whole `unix:/path` string.
    Unix(Box<[u8]>),
}

/// A parsed host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPort {
    Ip(SocketAddr),
    Name { name: Box<str>, port: u16 },
}
