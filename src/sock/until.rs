//! The state of one `receiveuntil` iterator, and its search.
//!
//! The whole pattern is looked for with `memmem`, which costs far less than one instruction a
//! byte. The table of borders (Knuth, Morris, Pratt) only decides about the last few bytes: how
//! many of them may be the beginning of the pattern and must be held back.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use memchr::memmem::Finder;

use crate::sock::framing::{Piece, Step};

/// One `receiveuntil` iterator: the pattern and where it stands. Cheap to clone; all clones are
/// the same iterator.
#[derive(Clone)]
pub struct Until(Rc<State>);

struct State {
    finder: Finder<'static>,
    /// `borders[i]`: length of the longest proper prefix of `pattern[..=i]` that also ends it.
    borders: Box<[usize]>,
    inclusive: bool,
    /// The last piece was handed out: the next call says so.
    ended: Cell<bool>,
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Until")
            .field(&String::from_utf8_lossy(self.pattern()))
            .finish()
    }
}

impl Until {
    /// `None` if `pattern` is empty (Lua: `pattern is empty`). With `inclusive`, the last piece
    /// ends with the pattern.
    pub fn new(pattern: &[u8], inclusive: bool) -> Option<Self> {
        (!pattern.is_empty()).then(|| {
            Self(Rc::new(State {
                finder: Finder::new(pattern).into_owned(),
                borders: borders(pattern),
                inclusive,
                ended: Cell::new(false),
            }))
        })
    }

    fn pattern(&self) -> &[u8] {
        self.0.finder.needle()
    }

    /// Whether this is the call after the last piece, which yields nothing and starts afresh.
    pub(crate) fn take_end(&self) -> bool {
        self.0.ended.replace(false)
    }

    /// Looks for the next piece in `data`. No match begins before `scanned`, which is advanced.
    pub(crate) fn step(&self, data: &[u8], size: Option<usize>, scanned: &mut usize) -> Step {
        let len = self.pattern().len();
        // With a size, a match that begins beyond it is none of this call's business.
        let window = match size {
            None => data,
            Some(0) => return Step::Done(Piece::default()),
            Some(size) => data
                .get(..size.saturating_add(len - 1).min(data.len()))
                .unwrap_or_default(),
        };
        let from = (*scanned).min(window.len());
        if let Some(at) = self.0.finder.find(window.get(from..).unwrap_or_default()) {
            let at = from + at;
            self.0.ended.set(size.is_some());
            let end = if self.0.inclusive { at + len } else { at };
            return Step::Done(Piece {
                len: end,
                used: at + len,
            });
        }
        *scanned = from.max((window.len() + 1).saturating_sub(len));
        match size.and_then(|size| self.cut(data, size)) {
            Some(at) => Step::Done(Piece { len: at, used: at }),
            None => Step::Want(1),
        }
    }

    /// Where to end a piece of about `size` bytes, given that no match begins before `size`: the
    /// first place from there on at which nothing is held back. `None`: needs more data.
    fn cut(&self, data: &[u8], size: usize) -> Option<usize> {
        if data.len() < size {
            return None;
        }
        // What is held back at `size` begins less than a pattern before it.
        let from = (size + 1).saturating_sub(self.pattern().len());
        let mut held = 0;
        for (at, &byte) in data.iter().enumerate().skip(from) {
            if at >= held + size {
                return Some(at - held);
            }
            while self.pattern().get(held) != Some(&byte) {
                match self.shorten(held) {
                    Some(shorter) => held = shorter,
                    None => break,
                }
                if at >= held + size {
                    return Some(at - held);
                }
            }
            held = self.advance(held, byte);
        }
        (data.len() >= held + size).then(|| data.len() - held)
    }

    /// How many bytes at the end of `data` may be the beginning of the pattern.
    pub(crate) fn held_back(&self, data: &[u8]) -> usize {
        let from = (data.len() + 1).saturating_sub(self.pattern().len());
        let tail = data.get(from..).unwrap_or_default();
        tail.iter().fold(0, |held, &byte| self.advance(held, byte))
    }

    /// The next shorter beginning of the pattern that ends the first `held` bytes of it.
    fn shorten(&self, held: usize) -> Option<usize> {
        self.0.borders.get(held.checked_sub(1)?).copied()
    }

    /// One step of the automaton: `held` bytes of the pattern were matched before `byte`.
    fn advance(&self, held: usize, byte: u8) -> usize {
        advance(self.pattern(), &self.0.borders, held, byte)
    }
}

fn advance(pattern: &[u8], borders: &[usize], mut held: usize, byte: u8) -> usize {
    while pattern.get(held) != Some(&byte) {
        match held.checked_sub(1).and_then(|last| borders.get(last)) {
            Some(&shorter) => held = shorter,
            None => return 0,
        }
    }
    held + 1
}

fn borders(pattern: &[u8]) -> Box<[usize]> {
    let mut borders = Vec::with_capacity(pattern.len());
    let mut held = 0;
    for (at, &byte) in pattern.iter().enumerate() {
        if at > 0 {
            held = advance(pattern, &borders, held, byte);
        }
        borders.push(held);
    }
    borders.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_pattern_is_none() {
        assert!(Until::new(b"", false).is_none());
    }

    #[test]
    fn holds_back_the_longest_beginning() {
        let until = Until::new(b"--abcdabcd", false).unwrap();
        for (data, held) in [
            ("x", 0),
            ("x-", 1),
            ("x--", 2),
            ("---", 2),
            ("--abcd", 6),
            ("--abcd-", 1),
            ("", 0),
        ] {
            assert_eq!(until.held_back(data.as_bytes()), held, "{data}");
        }
    }

    /// What is left to find is found without looking twice at what was seen.
    #[test]
    fn scanning_goes_on_where_it_stopped() {
        let until = Until::new(b"END", false).unwrap();
        let mut scanned = 0;
        assert!(matches!(
            until.step(b"xxxxE", None, &mut scanned),
            Step::Want(_)
        ));
        assert_eq!(scanned, 3);
        let step = until.step(b"xxxxEND", None, &mut scanned);
        assert!(matches!(step, Step::Done(Piece { len: 4, used: 7 })));
    }

    proptest! {
        #[test]
        fn holds_back_what_a_naive_search_does(
            pattern in prop::collection::vec(0..2u8, 1..8),
            data in prop::collection::vec(0..2u8, 0..20),
        ) {
            let until = Until::new(&pattern, false).unwrap();
            let naive = (0..pattern.len()).rev().find(|&n| data.ends_with(&pattern[..n])).unwrap();
            prop_assert_eq!(until.held_back(&data), naive);
        }
    }
}
