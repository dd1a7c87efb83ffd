//! What was found out about the texts that came last.

/// Power of two; two places for each of [`SETS`].
const SETS: usize = 128;

/// Longer texts are not remembered.
const LONGEST: usize = 64;

/// Keeps what was found out about texts that come again and again, such as
/// the names in Lua code. A later text may take an earlier one's place.
///
/// Where to look, the address of the text says: Lua's strings stay where they
/// are. What counts is the text itself.
pub struct Recent<T>([Option<Entry<T>>; 2 * SETS]);

struct Entry<T> {
    text: Box<[u8]>,
    value: T,
}

impl<T> Recent<T> {
    /// Knows nothing.
    pub const EMPTY: Recent<T> = Recent([const { None }; 2 * SETS]);

    fn place(text: &[u8]) -> usize {
        2 * ((text.as_ptr().addr() >> 4) % SETS)
    }

    /// What is known about `text`.
    #[inline]
    pub fn get(&self, text: &[u8]) -> Option<&T> {
        let place = Self::place(text);
        self.0[place..place + 2]
            .iter()
            .flatten()
            .find(|entry| *entry.text == *text)
            .map(|entry| &entry.value)
    }

    /// Remembers `value` for `text`, unless that is long.
    #[cold]
    pub fn put(&mut self, text: &[u8], value: T) {
        if text.len() > LONGEST {
            return;
        }
        let place = Self::place(text);
        let text = text.into();
        self.0.swap(place, place + 1);
        self.0[place] = Some(Entry { text, value });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.fill_with(|| None);
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Recent};

    #[test]
    fn finds_what_was_put_last_at_the_same_address() {
        let mut recent = Recent::EMPTY;
        let mut text = *b"one";
        assert_eq!(recent.get(&text), None);
        recent.put(&text, 1);
        text = *b"two";
        assert_eq!(recent.get(&text), None);
        recent.put(&text, 2);
        assert_eq!(recent.get(&text), Some(&2));
        text = *b"one";
        assert_eq!(recent.get(&text), Some(&1));
        text = *b"six";
        recent.put(&text, 6);
        assert_eq!(recent.get(&text), Some(&6));
        assert_eq!(recent.get(b"other".as_slice()), None);
        recent.clear();
        assert_eq!(recent.get(&text), None);
    }

    #[test]
    fn long_texts_are_not_kept() {
        let mut recent = Recent::EMPTY;
        for len in [0, 1, LONGEST, LONGEST + 1] {
            let text = vec![b'a'; len];
            recent.put(&text, len);
            assert_eq!(recent.get(&text), (len <= LONGEST).then_some(&len));
        }
    }
}
