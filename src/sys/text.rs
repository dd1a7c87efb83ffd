//! Short strings that are needed for the length of a call.

use std::ops::Deref;

/// Longer strings go to the heap.
const INLINE: usize = 64;

/// A string of bytes that lives on the stack where it is short.
pub enum ShortText<'a> {
    /// As it was given.
    Given(&'a [u8]),
    /// The bytes, and how many of them count.
    Inline([u8; INLINE], usize),
    /// A longer one.
    Heap(Box<[u8]>),
}

impl<'a> ShortText<'a> {
    /// `text` with every byte replaced by what `map` makes of it.
    pub fn mapped(text: &[u8], map: impl Fn(u8) -> u8) -> ShortText<'a> {
        if text.len() > INLINE {
            return ShortText::Heap(text.iter().map(|&b| map(b)).collect());
        }
        let mut inline = [0; INLINE];
        for (to, &from) in inline.iter_mut().zip(text) {
            *to = map(from);
        }
        ShortText::Inline(inline, text.len())
    }
}

impl Deref for ShortText<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            ShortText::Given(bytes) => bytes,
            ShortText::Inline(bytes, len) => &bytes[..*len],
            ShortText::Heap(bytes) => bytes,
        }
    }
}

/// nginx's `ngx_hash_key`.
pub fn hash_key(text: &[u8]) -> usize {
    text.iter().fold(0, |hash: usize, &b| {
        hash.wrapping_mul(31).wrapping_add(usize::from(b))
    })
}

#[cfg(test)]
mod tests {
    use super::ShortText;

    #[test]
    fn maps_strings_of_any_length() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let text = ShortText::mapped(&vec![b'A'; len], |b| b.to_ascii_lowercase());
            assert_eq!(*text, *vec![b'a'; len]);
        }
    }
}
