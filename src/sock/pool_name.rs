//! Names of keepalive pools.

use std::rc::Rc;

use memchr::memrchr;

use crate::rt::decimal;

/// What a pool is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolName<'a> {
    /// The name.
    Text(&'a [u8]),
    /// A host and a port: the name is `host:port`.
    Peer(&'a [u8], u16),
}

impl PoolName<'_> {
    /// The name.
    pub fn text(self) -> Box<[u8]> {
        match self {
            PoolName::Text(text) => text.into(),
            PoolName::Peer(host, port) => [host, b":", decimal(port.into(), &mut [0; 10])]
                .concat()
                .into(),
        }
    }
}

/// The name that a pool has. What connects over and over to the same peer need not put its name
/// together.
#[derive(Debug)]
pub(super) struct OwnName {
    text: Rc<[u8]>,
    /// Length of the host and the port, if the name is `host:port`.
    peer: Option<(usize, u16)>,
}

impl OwnName {
    pub(super) fn new(text: &[u8]) -> Self {
        Self {
            text: text.into(),
            peer: host_and_port(text),
        }
    }

    pub(super) fn text(&self) -> &Rc<[u8]> {
        &self.text
    }

    /// Whether `name` is this one.
    #[inline]
    pub(super) fn is(&self, name: PoolName<'_>) -> bool {
        match (name, self.peer) {
            (PoolName::Text(text), _) => *self.text == *text,
            (PoolName::Peer(host, port), Some((len, own))) => {
                port == own && len == host.len() && self.text.starts_with(host)
            }
            (PoolName::Peer(..), None) => false,
        }
    }
}

/// Takes a name apart that a [`PoolName::Peer`] may have.
fn host_and_port(name: &[u8]) -> Option<(usize, u16)> {
    let len = memrchr(b':', name)?;
    let digits = std::str::from_utf8(name.get(len + 1..)?).ok()?;
    let port: u16 = digits.parse().ok()?;
    let is_plain = digits.as_bytes() == decimal(port.into(), &mut [0; 10]);
    is_plain.then_some((len, port))
}

#[cfg(test)]
mod tests {
    use super::{OwnName, PoolName};
    use proptest::prelude::*;

    fn is(name: PoolName<'_>, own: &[u8]) -> bool {
        OwnName::new(own).is(name)
    }

    #[test]
    fn a_peer_has_one_name_only() {
        let peer = PoolName::Peer(b"a", 80);
        assert_eq!(&*peer.text(), b"a:80");
        for other in [
            "a:8", "a:800", "a:080", "a:", "a", "aa:80", "b:80", "a:80:80", "a:8x", "a:8010",
            "a:+80", "",
        ] {
            assert!(!is(peer, other.as_bytes()), "{other}");
            assert!(is(PoolName::Text(other.as_bytes()), other.as_bytes()));
        }
        assert!(is(PoolName::Peer(b"a:80", 80), b"a:80:80"));
        assert!(is(PoolName::Peer(b"", 0), b":0") && !is(PoolName::Peer(b"", 0), b":00"));
        assert!(!is(PoolName::Peer(b"a", 1), b"a:65537"));
    }

    proptest! {
        #[test]
        fn a_peer_is_what_its_name_says(host in "[a-c:0-9]{0,4}", port: u16, other: u16) {
            let peer = PoolName::Peer(host.as_bytes(), port);
            prop_assert!(is(peer, &peer.text()));
            let text = format!("{host}:{other}");
            prop_assert_eq!(is(peer, text.as_bytes()), port == other);
        }
    }
}
