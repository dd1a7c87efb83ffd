//! Where to connect to: parsing the host a script passes, without resolving it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::rt::decimal;

/// Room for a path in a `sockaddr_un`, its final NUL included.
const UNIX_PATH_MAX: usize = 108;

/// An address that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Ip(SocketAddr),
    /// Path of a unix socket, without the `unix:` prefix; never empty, short enough for a
    /// `sockaddr_un`.
    Unix(Box<[u8]>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", String::from_utf8_lossy(path)),
        }
    }
}

impl Address {
    /// The address that an IPv4 literal is. What most code connects to, hence apart from
    /// [`Target::parse`]: nothing is copied for it.
    pub fn literal(host: &[u8], port: u16) -> Option<Self> {
        let ip = parse_ipv4(host)?;
        Some(Self::Ip(SocketAddr::new(IpAddr::V4(ip), port)))
    }

    /// Its text, as `Display` writes it. Made with nearly every connection, hence without `fmt`
    /// for what is most frequent.
    pub fn text(&self) -> Vec<u8> {
        let Self::Ip(SocketAddr::V4(address)) = self else {
            return self.to_string().into_bytes();
        };
        let mut text = Vec::with_capacity("255.255.255.255:65535".len());
        for (octet, end) in address.ip().octets().into_iter().zip(*b"...:") {
            text.extend_from_slice(decimal(octet.into(), &mut [0; 10]));
            text.push(end);
        }
        text.extend_from_slice(decimal(address.port().into(), &mut [0; 10]));
        text
    }
}

/// The address that four decimal numbers with dots between them are.
fn parse_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    if text.len() > "255.255.255.255".len() {
        return None;
    }
    // No zero may be in front of other digits: it could stand for an octal number.
    let is_octet =
        |value, digits| matches!((value, digits), (0..=9, 1) | (10..=99, 2) | (100..=255, 3));
    let (mut address, mut dots) = (0, 0);
    let (mut value, mut digits) = (0_u64, 0);
    for &byte in text {
        match byte {
            b'0'..=b'9' => (value, digits) = (value * 10 + u64::from(byte - b'0'), digits + 1),
            b'.' if is_octet(value, digits) => {
                (address, dots) = (address << 8 | value as u32, dots + 1);
                (value, digits) = (0, 0);
            }
            _ => return None,
        }
    }
    let is_whole = dots == 3 && is_octet(value, digits);
    is_whole.then(|| Ipv4Addr::from_bits(address << 8 | value as u32))
}

/// What a script asked to connect to, before parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host as given: a name, an IPv4 literal, or an IPv6 literal in brackets.
    Host { host: Box<[u8]>, port: u16 },
    /// The whole `unix:/path` string.
    Unix(Box<[u8]>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } => write!(f, "{}:{port}", String::from_utf8_lossy(host)),
            Self::Unix(url) => f.write_str(&String::from_utf8_lossy(url)),
        }
    }
}

/// A parsed target: an address, or a name that must be resolved first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPort {
    Address(Address),
    Name { name: Box<str>, port: u16 },
}

impl Target {
    /// The text the script passed, for messages.
    pub fn name(&self) -> Box<str> {
        let (Self::Host { host: bytes, .. } | Self::Unix(bytes)) = self;
        String::from_utf8_lossy(bytes).into()
    }

    /// Reads the target as nginx reads a URL: a port inside the host replaces the one given.
    ///
    /// # Errors
    /// The reason, in the words of nginx's `ngx_parse_url`.
    pub fn parse(&self) -> Result<HostPort, &'static str> {
        match self {
            Self::Unix(url) => parse_unix(url),
            Self::Host { host, port } => match host.first() {
                Some(b'[') => parse_ipv6(host, *port),
                _ => parse_name(host, *port),
            },
        }
    }
}

fn parse_unix(url: &[u8]) -> Result<HostPort, &'static str> {
    let path = url.strip_prefix(b"unix:").unwrap_or(url);
    if path.is_empty() {
        return Err("no path in the unix domain socket");
    }
    if path.len() >= UNIX_PATH_MAX {
        return Err("too long path in the unix domain socket");
    }
    if path.contains(&0) {
        return Err("invalid path in the unix domain socket");
    }
    Ok(HostPort::Address(Address::Unix(path.into())))
}

fn parse_ipv6(host: &[u8], port: u16) -> Result<HostPort, &'static str> {
    if host.contains(&b'/') {
        return Err("invalid host");
    }
    let text = std::str::from_utf8(host).map_err(|_| "invalid host")?;
    let (literal, rest) = text
        .get(1..)
        .and_then(|text| text.split_once(']'))
        .ok_or("invalid host")?;
    let port = match rest.strip_prefix(':') {
        Some(digits) => parse_port(digits)?,
        None if rest.is_empty() => port,
        None => return Err("invalid host"),
    };
    if literal.is_empty() {
        return Err("no host");
    }
    let ip: Ipv6Addr = literal.parse().map_err(|_| "invalid IPv6 address")?;
    Ok(HostPort::Address(Address::Ip(SocketAddr::new(
        IpAddr::V6(ip),
        port,
    ))))
}

fn parse_name(host: &[u8], port: u16) -> Result<HostPort, &'static str> {
    if host.iter().any(|byte| matches!(byte, b'/' | b'?' | 0)) {
        return Err("invalid host");
    }
    let text = std::str::from_utf8(host).map_err(|_| "invalid host")?;
    let (name, port) = match text.split_once(':') {
        Some((name, digits)) => (name, parse_port(digits)?),
        None => (text, port),
    };
    if name.is_empty() {
        return Err("no host");
    }
    Ok(match Address::literal(name.as_bytes(), port) {
        Some(address) => HostPort::Address(address),
        None => HostPort::Name {
            name: name.into(),
            port,
        },
    })
}

fn parse_port(digits: &str) -> Result<u16, &'static str> {
    // `u16::from_str` would take a plus sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("invalid port");
    }
    digits
        .parse()
        .ok()
        .filter(|&port| port != 0)
        .ok_or("invalid port")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(text: &str) -> Result<HostPort, &'static str> {
        Target::Host {
            host: text.as_bytes().into(),
            port: 80,
        }
        .parse()
    }

    fn ip(text: &str) -> Result<HostPort, &'static str> {
        Ok(HostPort::Address(Address::Ip(text.parse().unwrap())))
    }

    #[test]
    fn literals_need_no_resolver() {
        assert_eq!(host("127.0.0.1"), ip("127.0.0.1:80"));
        assert_eq!(host("127.0.0.1:8080"), ip("127.0.0.1:8080"));
        assert_eq!(host("[::1]"), ip("[::1]:80"));
        assert_eq!(host("[::1]:8080"), ip("[::1]:8080"));
    }

    #[test]
    fn names_do() {
        assert_eq!(
            host("a.test"),
            Ok(HostPort::Name {
                name: "a.test".into(),
                port: 80
            })
        );
        assert_eq!(
            host("127.0.0.1.test"),
            Ok(HostPort::Name {
                name: "127.0.0.1.test".into(),
                port: 80
            })
        );
    }

    #[test]
    fn reasons() {
        for (text, reason) in [
            ("", "no host"),
            (":80", "no host"),
            ("a.test:", "invalid port"),
            ("a.test:x", "invalid port"),
            ("a.test:+1", "invalid port"),
            ("a.test:0", "invalid port"),
            ("a.test:65536", "invalid port"),
            ("::1", "invalid port"),
            ("a/b", "invalid host"),
            ("a?b", "invalid host"),
            ("[::1", "invalid host"),
            ("[::1]x", "invalid host"),
            ("[]", "no host"),
            ("[::g]", "invalid IPv6 address"),
            ("[::1]:", "invalid port"),
        ] {
            assert_eq!(host(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn unix_paths() {
        let unix = |url: &str| Target::Unix(url.as_bytes().into()).parse();
        assert_eq!(
            unix("unix:/a"),
            Ok(HostPort::Address(Address::Unix((*b"/a").into())))
        );
        assert_eq!(unix("unix:"), Err("no path in the unix domain socket"));
        let long = format!("unix:/{}", "x".repeat(107));
        assert_eq!(unix(&long), Err("too long path in the unix domain socket"));
        assert!(unix(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn display_is_for_the_log() {
        assert_eq!(
            Address::Ip("[::1]:80".parse().unwrap()).to_string(),
            "[::1]:80"
        );
        assert_eq!(Address::Unix((*b"/a").into()).to_string(), "unix:/a");
        assert_eq!(
            Target::Host {
                host: (*b"h").into(),
                port: 1
            }
            .to_string(),
            "h:1"
        );
    }

    #[test]
    fn ipv4_literals_are_those_of_the_standard_library() {
        let all = [
            "0.0.0.0",
            "127.0.0.1",
            "255.255.255.255",
            "256.1.1.1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            ".1.2.3",
            "1..2.3",
            "01.2.3.4",
            "00.2.3.4",
            "1.2.3.04",
            "1.2.3.4 ",
            "",
            "1",
            "a.b.c.d",
            "1.2.3.0",
            "1.2.3.1000",
        ];
        for text in all {
            assert_eq!(parse_ipv4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn ipv4_literals_of_all_kinds(text in "[0-9]{0,3}(\\.[0-9]{0,3}){2,4}") {
            prop_assert_eq!(parse_ipv4(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn text_is_what_display_writes(ip in any::<[u8; 4]>(), port in any::<u16>()) {
            let address = Address::Ip(SocketAddr::from((ip, port)));
            prop_assert_eq!(address.text(), address.to_string().into_bytes());
        }

        #[test]
        fn any_bytes_parse_or_fail_cleanly(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Target::Host { host: bytes.clone().into(), port: 1 }.parse();
            let _ = Target::Unix(bytes.into()).parse();
        }
    }
}
