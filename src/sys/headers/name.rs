//! Names and values of headers as they may go onto the wire.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

use crate::rt::{Recent, worker_local};
use crate::sys::text::hash_key;

worker_local! {
    /// Names as Lua gave them; those whose underscores are hyphens apart.
    static RECENT: [RefCell<Recent<Rc<HeaderName>>>; 2] =
        [const { RefCell::new(Recent::EMPTY) }; 2];
}

/// The name of a header, fit to be sent, and what is to be known about it.
pub struct HeaderName {
    name: Box<[u8]>,
    lowercase: Box<[u8]>,
    hash: usize,
    known: Option<Known>,
}

impl HeaderName {
    /// Takes a name as Lua code writes it. Underscores become hyphens where
    /// `dashed` says so. What no header name may hold is percent-encoded, a
    /// line break first of all.
    #[inline]
    pub fn new(given: &[u8], dashed: bool) -> Rc<HeaderName> {
        let known = RECENT.with(|recent| recent[usize::from(dashed)].borrow().get(given).cloned());
        known.unwrap_or_else(|| HeaderName::learn(given, dashed))
    }

    #[cold]
    fn learn(given: &[u8], dashed: bool) -> Rc<HeaderName> {
        let name = Rc::new(HeaderName::make(given, dashed));
        RECENT.with(|recent| {
            let recent = &recent[usize::from(dashed)];
            recent.borrow_mut().put(given, name.clone());
        });
        name
    }

    fn make(given: &[u8], dashed: bool) -> HeaderName {
        let mut name = match given.iter().copied().all(is_token) {
            true => given.to_vec(),
            false => escape(given, is_token),
        };
        if dashed {
            name.iter_mut().for_each(|b| *b = dash(*b));
        }
        let lowercase = name.to_ascii_lowercase();
        let known = KNOWN
            .iter()
            .find(|(known, _)| known.as_bytes() == lowercase);
        HeaderName {
            hash: hash_key(&lowercase),
            known: known.map(|&(_, known)| known),
            name: name.into(),
            lowercase: lowercase.into(),
        }
    }

    /// The name in lower case.
    pub(super) fn lowercase(&self) -> &[u8] {
        &self.lowercase
    }

    /// nginx's hash of the name in lower case.
    pub(super) fn hash(&self) -> usize {
        self.hash
    }

    /// Whether it is the header with this name, in any case.
    #[inline]
    pub fn is(&self, name: &[u8]) -> bool {
        // Mostly of another length, or the same to the letter.
        name.len() == self.name.len()
            && (*name == *self.name || name.eq_ignore_ascii_case(&self.name))
    }

    /// The header that nginx treats in its own way, if it is one.
    pub fn known(&self) -> Option<Known> {
        self.known
    }
}

impl Deref for HeaderName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.name
    }
}

/// A value without control characters: they are percent-encoded, so that no
/// value can end its line.
#[inline]
pub fn safe_value(value: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(value) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(escape(value, is_text))
    }
}

/// Whether there is no control character in a value, not even a tab. Looks at
/// eight bytes at a time.
fn is_plain(value: &[u8]) -> bool {
    const EACH: u64 = u64::MAX / 255;
    // The highest bit of a byte tells, though only of the lowest byte for sure.
    let below = |word: u64, n: u64| word.wrapping_sub(EACH * n) & !word;
    let found = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        (below(word, 0x20) | below(word ^ (EACH * 0x7f), 1)) & (EACH * 0x80)
    };
    match value.last_chunk() {
        Some(last) => {
            let (words, _) = value.as_chunks();
            words
                .iter()
                .fold(found(last), |all, word| all | found(word))
                == 0
        }
        None => value.iter().all(|&b| b >= 0x20 && b != 0x7f),
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

fn dash(b: u8) -> u8 {
    if b == b'_' { b'-' } else { b }
}

/// What RFC 9110 allows in a header's name.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
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
        HeaderName::new(given.as_bytes(), true).to_vec()
    }

    #[test]
    fn underscores_become_hyphens_where_wanted() {
        assert_eq!(name("x_foo_bar"), b"x-foo-bar");
        assert_eq!(name("X-Foo"), b"X-Foo");
        assert_eq!(HeaderName::new(b"x_foo", false)[..], *b"x_foo");
        assert_eq!(HeaderName::new(b"x_foo\n", false)[..], *b"x_foo%0A");
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
        for len in 1..40 {
            for at in 0..len {
                for b in 0..=255 {
                    let mut value = vec![b'a'; len];
                    value[at] = b;
                    let plain = (b >= 0x20 && b != 0x7f) || b == b'\t';
                    assert_eq!(*safe_value(&value) == *value, plain);
                }
            }
        }
    }

    #[test]
    fn known_headers_are_found_in_any_case() {
        let known = |name: &str| HeaderName::new(name.as_bytes(), true).known();
        assert_eq!(known("CONTENT_TYPE"), Some(Known::ContentType));
        assert_eq!(known("eTag"), Some(Known::Etag));
        assert_eq!(known("content"), None);
    }
}
