//! Names of keepalive pools.

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
    /// Whether `name` is the one meant. What connects over and over to the same peer need not
    /// put its name together.
    pub fn is(self, name: &[u8]) -> bool {
        match self {
            PoolName::Text(text) => name == text,
            PoolName::Peer(host, port) => match name.strip_prefix(host) {
                Some([b':', digits @ ..]) => digits == decimal(port.into(), &mut [0; 10]),
                _ => false,
            },
        }
    }

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

#[cfg(test)]
mod tests {
    use super::PoolName;
    use proptest::prelude::*;

    #[test]
    fn a_peer_has_one_name_only() {
        let peer = PoolName::Peer(b"a", 80);
        assert_eq!(&*peer.text(), b"a:80");
        for other in [
            "a:8", "a:800", "a:080", "a:", "a", "aa:80", "b:80", "a:80:80", "a:8x", "a:8010",
        ] {
            assert!(!peer.is(other.as_bytes()), "{other}");
            assert!(PoolName::Text(other.as_bytes()).is(other.as_bytes()));
        }
        assert!(PoolName::Peer(b"a:80", 80).is(b"a:80:80"));
        assert!(PoolName::Peer(b"", 0).is(b":0") && !PoolName::Peer(b"", 0).is(b":00"));
        assert!(!PoolName::Peer(b"a", 1).is(b"a:65537"));
    }

    proptest! {
        #[test]
        fn a_peer_is_what_its_name_says(host in "[a-c:0-9]{0,4}", port: u16, other: u16) {
            let peer = PoolName::Peer(host.as_bytes(), port);
            prop_assert!(peer.is(&peer.text()));
            let text = format!("{host}:{other}");
            prop_assert_eq!(peer.is(text.as_bytes()), port == other);
        }
    }
}
