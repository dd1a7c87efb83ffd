//! Names and values of headers as they may go onto the wire.

use std::borrow::Cow;
use std::ops::Deref;

use crate::sys::text::ShortText;

/// The name of a header, fit to be sent.
pub struct HeaderName<'a>(Name<'a>);

enum Name<'a> {
    /// As Lua gave it, which is the usual case.
    Given(&'a [u8]),
    Dashed(ShortText<'a>),
}

impl<'a> HeaderName<'a> {
    /// Takes a name as Lua code writes it. Underscores become hyphens where
    /// `dashed` says so; it is asked only if there is one. What no header
    /// name may hold is percent-encoded, a line break first of all.
    pub fn new(name: &'a [u8], dashed: impl FnOnce() -> bool) -> HeaderName<'a> {
        let found = name
            .iter()
            .fold(0, |found, &b| found | KINDS[usize::from(b)]);
        if found == 0 {
            return HeaderName(Name::Given(name));
        }
        let underscore = found & UNDERSCORE != 0 && dashed();
        HeaderName(if found & FORBIDDEN != 0 {
            let escaped = escape(name, is_token);
            Name::Dashed(ShortText::mapped(&escaped, |b| {
                if underscore { dash(b) } else { b }
            }))
        } else if underscore {
            Name::Dashed(ShortText::mapped(name, dash))
        } else {
            Name::Given(name)
        })
    }

    /// The header that nginx treats in its own way, if it is one.
    pub fn known(&self) -> Option<Known> {
        let length = u32::try_from(self.len()).ok()?;
        if KNOWN_LENGTHS & 1_u32.checked_shl(length)? == 0 {
            return None;
        }
        KNOWN
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(self))
            .map(|&(_, known)| known)
    }
}

impl Deref for HeaderName<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Name::Given(name) => name,
            Name::Dashed(name) => name,
        }
    }
}

/// The key under which Lua finds a request header: lower case, and hyphens
/// for underscores.
pub fn lookup_key(name: &[u8]) -> ShortText<'_> {
    ShortText::mapped(name, |b| dash(b.to_ascii_lowercase()))
}

/// A value without control characters: they are percent-encoded, so that no
/// value can end its line.
pub fn safe_value(value: &[u8]) -> Cow<'_, [u8]> {
    // No early exit, so that the compiler can look at many bytes at once.
    let bad = value.iter().fold(false, |bad, &b| bad | !is_text(b));
    if bad {
        Cow::Owned(escape(value, is_text))
    } else {
        Cow::Borrowed(value)
    }
}

/// Headers of a response that have fields of their own in nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    AcceptRanges,
    CacheControl,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentRange,
    ContentType,
    Date,
    Etag,
    Expires,
    LastModified,
    Link,
    Location,
    Refresh,
    Server,
    WwwAuthenticate,
}

impl Known {
    /// Whether a response may have several lines of this header.
    pub fn is_multi(self) -> bool {
        matches!(
            self,
            Known::CacheControl | Known::Link | Known::WwwAuthenticate
        )
    }
}

const KNOWN: [(&str, Known); 16] = [
    ("content-type", Known::ContentType),
    ("content-length", Known::ContentLength),
    ("location", Known::Location),
    ("cache-control", Known::CacheControl),
    ("connection", Known::Connection),
    ("server", Known::Server),
    ("date", Known::Date),
    ("etag", Known::Etag),
    ("expires", Known::Expires),
    ("last-modified", Known::LastModified),
    ("content-encoding", Known::ContentEncoding),
    ("content-range", Known::ContentRange),
    ("accept-ranges", Known::AcceptRanges),
    ("link", Known::Link),
    ("refresh", Known::Refresh),
    ("www-authenticate", Known::WwwAuthenticate),
];

/// A bit for each length that there is among them: most names are none.
const KNOWN_LENGTHS: u32 = {
    let (mut lengths, mut i) = (0, 0);
    while i < KNOWN.len() {
        lengths |= 1 << KNOWN[i].0.len();
        i += 1;
    }
    lengths
};

fn dash(b: u8) -> u8 {
    if b == b'_' { b'-' } else { b }
}

/// What RFC 9110 does not allow in a header's name.
const FORBIDDEN: u8 = 1;
const UNDERSCORE: u8 = 2;

/// What is to be known of each byte of a name.
const KINDS: [u8; 256] = {
    let mut kinds = [FORBIDDEN; 256];
    let (allowed, mut i) = (b"!#$%&'*+-.^_`|~", 0);
    while i < allowed.len() {
        kinds[allowed[i] as usize] = 0;
        i += 1;
    }
    let mut b = 0;
    while b < 128 {
        if (b as u8).is_ascii_alphanumeric() {
            kinds[b] = 0;
        }
        b += 1;
    }
    kinds[b'_' as usize] = UNDERSCORE;
    kinds
};

fn is_token(b: u8) -> bool {
    KINDS[usize::from(b)] & FORBIDDEN == 0
}

/// What may stand in a value: no control character except the tab.
fn is_text(b: u8) -> bool {
    (b >= 0x20 && b != 0x7f) || b == b'\t'
}

fn escape(text: &[u8], plain: impl Fn(u8) -> bool) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = Vec::with_capacity(text.len() + 16);
    for &b in text {
        if plain(b) {
            escaped.push(b);
        } else {
            escaped.extend([b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(given: &str) -> Vec<u8> {
        HeaderName::new(given.as_bytes(), || true).to_vec()
    }

    #[test]
    fn underscores_become_hyphens_where_wanted() {
        assert_eq!(name("x_foo_bar"), b"x-foo-bar");
        assert_eq!(name("X-Foo"), b"X-Foo");
        assert_eq!(*HeaderName::new(b"x_foo", || false), *b"x_foo");
        assert_eq!(*HeaderName::new(b"x_foo\n", || false), *b"x_foo%0A");
    }

    #[test]
    fn names_cannot_end_their_line() {
        assert_eq!(name("a\r\nb: c"), b"a%0D%0Ab%3A%20c");
        assert_eq!(name("\u{e9}"), b"%C3%A9");
    }

    #[test]
    fn values_cannot_end_their_line() {
        assert_eq!(*safe_value(b"a\tb \xc3\xa9"), *b"a\tb \xc3\xa9");
        assert_eq!(*safe_value(b"a\r\nb: c\0\x7f"), *b"a%0D%0Ab: c%00%7F");
    }

    #[test]
    fn known_headers_are_found_in_any_case() {
        let known = |name: &str| HeaderName::new(name.as_bytes(), || true).known();
        assert_eq!(known("CONTENT_TYPE"), Some(Known::ContentType));
        assert_eq!(known("eTag"), Some(Known::Etag));
        assert_eq!(known("content"), None);
    }

    #[test]
    fn lookup_is_lower_case_with_hyphens() {
        assert_eq!(*lookup_key(b"X_Foo-Bar"), *b"x-foo-bar");
    }
}
