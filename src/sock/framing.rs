//! How the received bytes are cut into results.
//!
//! A [`Frame`] looks at everything received and not handed out, and says where the result ends
//! or that more is needed. It remembers how far it looked, so no byte is searched twice.

use memchr::{memchr, memchr2};

use crate::sock::until::Until;

/// What one read call asks for.
#[derive(Clone, Debug)]
pub enum Mode {
    /// `receive("*l")`: up to LF; LF and every CR dropped.
    Line,
    /// `receive("*a")`: up to end of file.
    All,
    /// `receive(n)`: exactly n bytes.
    Exact(usize),
    /// `receiveany(max)`: what is there, at most max (> 0) bytes.
    Any(usize),
    /// `iterator()` or `iterator(size)` of `receiveuntil`.
    Until(Until, Option<usize>),
}

/// A stretch of received bytes, valid until the next call on the socket; see
/// [`TcpSocket::take`](crate::sock::TcpSocket::take).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Piece {
    /// Bytes to hand out.
    pub(crate) len: usize,
    /// Bytes to drop from the buffer afterwards, at least `len` (line ends, patterns).
    pub(crate) used: usize,
}

impl Piece {
    pub(crate) fn whole(len: usize) -> Self {
        Self { len, used: len }
    }

    /// What it is of `data`, and how much is used of that.
    #[inline(always)]
    pub(crate) fn of(self, data: &[u8]) -> Option<(&[u8], usize)> {
        Some((data.get(..self.len)?, self.used))
    }

    /// The line at the beginning of `data`, if its end is plain to see.
    #[inline(always)]
    pub(crate) fn line(data: &[u8]) -> Option<Self> {
        Self::line_till(data, line_end(data)?)
    }

    /// The same where lines are not that short.
    pub(crate) fn longer_line(data: &[u8]) -> Option<Self> {
        Self::line_till(data, memchr2(b'\r', b'\n', data)?)
    }

    #[inline(always)]
    fn line_till(data: &[u8], len: usize) -> Option<Self> {
        let end = match data.get(len..)? {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => return None,
        };
        Some(Self {
            len,
            used: len + end,
        })
    }

    /// The number of bytes to hand out.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte to hand out (an empty line, for one).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Place of the first CR or LF. Those of short lines, such as the first of a reply of Redis', are
/// found in one word, without a call.
#[inline(always)]
fn line_end(data: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let Some((&word, rest)) = data.split_first_chunk() else {
        // Nothing is what most first lines of an answer find.
        return data.first().and_then(|_| memchr2(b'\r', b'\n', data));
    };
    let word = u64::from_le_bytes(word);
    // The lowest bit that is set stands in the first byte that is `byte`.
    let places = |byte: u8| {
        let differing = word ^ (ONES * u64::from(byte));
        differing.wrapping_sub(ONES) & !differing & (ONES << 7)
    };
    match places(b'\r') | places(b'\n') {
        0 => memchr2(b'\r', b'\n', rest).map(|at| at + size_of_val(&word)),
        found => Some((found.trailing_zeros() / u8::BITS) as usize),
    }
}

/// What a [`Frame`] makes of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The result.
    Done(Piece),
    /// More is needed: this many bytes, or 1 where that is not known.
    Want(usize),
}

/// One read call in progress.
#[derive(Debug)]
pub(crate) struct Frame {
    mode: Mode,
    /// The search resumes here.
    scanned: usize,
    /// The line has a CR before `scanned`.
    carriage_return: bool,
}

impl Frame {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            scanned: 0,
            carriage_return: false,
        }
    }

    /// Whether this is the call after the last piece of an iterator, which starts afresh.
    pub(crate) fn take_end(&self) -> bool {
        matches!(&self.mode, Mode::Until(until, _) if until.take_end())
    }

    /// Looks at `data`, which begins where the call began and has only grown since. A line is
    /// tidied in place.
    #[inline(always)]
    pub(crate) fn step(&mut self, data: &mut [u8]) -> Step {
        match &self.mode {
            // By far the most frequent: inlined into the caller.
            Mode::Line => self.line(data),
            _ => self.step_otherwise(data),
        }
    }

    fn step_otherwise(&mut self, data: &mut [u8]) -> Step {
        match &self.mode {
            Mode::Line | Mode::All => Step::Want(1),
            Mode::Exact(n) => match n.checked_sub(data.len()) {
                // One more than needed: a read that fills the whole buffer makes nginx ask the
                // kernel whether there is more.
                Some(missing) if missing > 0 => Step::Want(missing.saturating_add(1)),
                _ => Step::Done(Piece::whole(*n)),
            },
            Mode::Any(max) if data.is_empty() => Step::Want(*max),
            Mode::Any(max) => Step::Done(Piece::whole(data.len().min(*max))),
            Mode::Until(until, size) => until.step(data, *size, &mut self.scanned),
        }
    }

    #[inline(always)]
    fn line(&mut self, data: &mut [u8]) -> Step {
        // Nearly every line: no CR, or one right before the LF.
        let rest = data.get(self.scanned..).unwrap_or_default();
        if rest.is_empty() {
            return Step::Want(1);
        }
        if !self.carriage_return {
            let Some(found) = line_end(rest) else {
                self.scanned = data.len();
                return Step::Want(1);
            };
            let len = self.scanned + found;
            match rest.get(found..) {
                Some([b'\n', ..]) => return Step::Done(Piece { len, used: len + 1 }),
                Some([b'\r', b'\n', ..]) => return Step::Done(Piece { len, used: len + 2 }),
                _ => {}
            }
            self.scanned = len;
        }
        self.line_with_carriage_return(data)
    }

    /// There is a CR before `scanned` or right there, and it may not be the end of the line.
    #[cold]
    fn line_with_carriage_return(&mut self, data: &mut [u8]) -> Step {
        let rest = data.get(self.scanned..).unwrap_or_default();
        if rest.len() > 1 {
            self.carriage_return = true;
        }
        match memchr(b'\n', rest) {
            Some(found) => {
                let end = self.scanned + found;
                let len = drop_carriage_returns(data.get_mut(..end).unwrap_or_default());
                Step::Done(Piece { len, used: end + 1 })
            }
            None => {
                if self.carriage_return {
                    self.scanned = data.len();
                }
                Step::Want(1)
            }
        }
    }

    /// The connection ended with `data` left: is that the result, or part of one?
    pub(crate) fn at_eof(&mut self, data: &mut [u8]) -> Result<Piece, Piece> {
        match self.mode {
            Mode::All => Ok(Piece::whole(data.len())),
            _ => Err(self.partial(data)),
        }
    }

    /// All of `data` as the partial result of a failed call.
    pub(crate) fn partial(&mut self, data: &mut [u8]) -> Piece {
        match self.mode {
            Mode::Line => Piece {
                len: drop_carriage_returns(data),
                used: data.len(),
            },
            _ => Piece::whole(data.len()),
        }
    }

    /// The partial result of a call that timed out. What may be the beginning of a pattern stays,
    /// so that the next call can find it.
    pub(crate) fn partial_at_timeout(&mut self, data: &mut [u8]) -> Piece {
        match &self.mode {
            Mode::Until(until, _) => Piece::whole(data.len() - until.held_back(data)),
            _ => self.partial(data),
        }
    }
}

/// Moves the other bytes together; returns how many they are.
fn drop_carriage_returns(line: &mut [u8]) -> usize {
    let Some(mut len) = memchr(b'\r', line) else {
        return line.len();
    };
    for at in len + 1..line.len() {
        match line.get(at) {
            Some(&byte) if byte != b'\r' => {
                if let Some(to) = line.get_mut(len) {
                    *to = byte;
                }
                len += 1;
            }
            _ => {}
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `input` cut at `cuts` and reads with `mode` again and again, as a script would.
    fn read_all(mode: &Mode, input: &[u8], cuts: &[usize]) -> Vec<Option<Vec<u8>>> {
        let (mut out, mut buffer, mut rest) = (Vec::new(), Vec::new(), input);
        let mut cuts = cuts.iter().cycle();
        loop {
            let mut frame = Frame::new(mode.clone());
            if frame.take_end() {
                out.push(None);
                continue;
            }
            let step = loop {
                match frame.step(&mut buffer) {
                    Step::Want(_) if rest.is_empty() => {
                        let (Ok(piece) | Err(piece)) = frame.at_eof(&mut buffer);
                        assert_eq!(piece.used, buffer.len());
                        out.push(Some(buffer[..piece.len].to_vec()));
                        buffer.clear();
                        break Step::Want(0);
                    }
                    Step::Want(_) => {
                        let n = (*cuts.next().unwrap()).clamp(1, rest.len());
                        buffer.extend(&rest[..n]);
                        rest = &rest[n..];
                    }
                    step => break step,
                }
            };
            match step {
                Step::Done(piece) => {
                    out.push(Some(buffer[..piece.len].to_vec()));
                    buffer.drain(..piece.used);
                }
                Step::Want(_) => return out,
            }
        }
    }

    fn text(pieces: &[Option<Vec<u8>>]) -> Vec<&str> {
        pieces
            .iter()
            .map(|piece| {
                piece
                    .as_ref()
                    .map_or("nil", |piece| std::str::from_utf8(piece).unwrap())
            })
            .collect()
    }

    fn until(pattern: &str, inclusive: bool, size: Option<usize>) -> Mode {
        Mode::Until(Until::new(pattern.as_bytes(), inclusive).unwrap(), size)
    }

    #[test]
    fn lines_lose_every_carriage_return() {
        let input = b"plain\ncrlf\r\n\n\r\na\rb\r\r\nc\rrest\r";
        for cut in 1..input.len() {
            let lines = read_all(&Mode::Line, input, &[cut]);
            assert_eq!(
                text(&lines),
                ["plain", "crlf", "", "", "ab", "crest"],
                "cut {cut}"
            );
        }
    }

    #[test]
    fn exact_pieces() {
        for cut in 1..10 {
            let pieces = read_all(&Mode::Exact(3), b"abcdefgh", &[cut]);
            assert_eq!(text(&pieces), ["abc", "def", "gh"]);
        }
    }

    #[test]
    fn zero_bytes_are_there_at_once() {
        assert_eq!(
            Frame::new(Mode::Exact(0)).step(&mut []),
            Step::Done(Piece::default())
        );
    }

    #[test]
    fn any_takes_what_is_there() {
        assert_eq!(
            text(&read_all(&Mode::Any(4), b"abcdef", &[6])),
            ["abcd", "ef", ""]
        );
        assert_eq!(
            text(&read_all(&Mode::Any(4), b"abcdef", &[3])),
            ["abc", "def", ""]
        );
    }

    #[test]
    fn all_goes_to_the_end() {
        let mut frame = Frame::new(Mode::All);
        let mut data = *b"a\r\nb";
        assert_eq!(frame.step(&mut data), Step::Want(1));
        assert_eq!(frame.at_eof(&mut data), Ok(Piece { len: 4, used: 4 }));
    }

    #[test]
    fn until_finds_overlapping_beginnings() {
        let input = b"hello--abcdabc--abcdabcdrest";
        for cut in 1..input.len() {
            let pieces = read_all(&until("--abcdabcd", false, None), input, &[cut]);
            assert_eq!(text(&pieces), ["hello--abcdabc", "rest"], "cut {cut}");
            let pieces = read_all(&until("--abcdabcd", true, None), input, &[cut]);
            assert_eq!(
                text(&pieces),
                ["hello--abcdabc--abcdabcd", "rest"],
                "cut {cut}"
            );
        }
    }

    #[test]
    fn until_with_a_size_ends_with_nil_and_starts_afresh() {
        let input = b"hello, world! -agentzh\r\n--abcedhb blah\r\n--abcedhb";
        for cut in 1..input.len() {
            let pieces = read_all(&until("\r\n--abcedhb", false, Some(4)), input, &[cut]);
            let expected = [
                "hell", "o, w", "orld", "! -a", "gent", "zh", "nil", " bla", "h", "nil", "",
            ];
            assert_eq!(text(&pieces), expected, "cut {cut}");
        }
    }

    #[test]
    fn a_piece_grows_by_a_beginning_that_was_none() {
        for cut in 1..8 {
            let pieces = read_all(&until("--END", false, Some(3)), b"ab--ENxyz--END", &[cut]);
            assert_eq!(text(&pieces), ["ab--EN", "xyz", "", "nil", ""], "cut {cut}");
        }
    }

    #[test]
    fn inclusive_pieces_end_with_the_pattern() {
        let pieces = read_all(&until("--", true, Some(2)), b"abc--d--", &[3]);
        assert_eq!(text(&pieces), ["ab", "c--", "nil", "d--", "nil", ""]);
    }

    #[test]
    fn a_timeout_keeps_what_may_be_the_pattern() {
        let mut frame = Frame::new(until("\r\n--b", false, None));
        assert_eq!(frame.partial_at_timeout(&mut b"abc\r\n-".to_vec()).used, 3);
        let mut frame = Frame::new(Mode::Exact(9));
        assert_eq!(frame.partial_at_timeout(&mut b"abc\r\n-".to_vec()).used, 6);
    }

    /// The iterator as its documentation reads, one byte at a time.
    fn naive_until(
        pattern: &[u8],
        inclusive: bool,
        size: Option<usize>,
        input: &[u8],
    ) -> Vec<Option<Vec<u8>>> {
        let (mut out, mut start) = (Vec::new(), 0);
        'calls: loop {
            let mut at = start;
            loop {
                let seen = &input[start..at];
                if seen.ends_with(pattern) {
                    let end = if inclusive { at } else { at - pattern.len() };
                    out.push(Some(input[start..end].to_vec()));
                    if size.is_some() {
                        out.push(None);
                    }
                    start = at;
                    continue 'calls;
                }
                // Places before which nothing is held back, if what begins there fails.
                let alive: Vec<usize> = (0..=seen.len())
                    .filter(|&h| pattern.starts_with(&seen[h..]))
                    .collect();
                let fails = |h: usize| input.get(at).is_some_and(|b| pattern[seen.len() - h] != *b);
                if let Some(size) = size {
                    let next = alive.iter().find(|&&h| h >= size);
                    if let Some(&end) = next
                        && alive.iter().all(|&h| h >= size || fails(h))
                    {
                        out.push(Some(seen[..end].to_vec()));
                        start += end;
                        continue 'calls;
                    }
                }
                if at == input.len() {
                    out.push(Some(seen.to_vec()));
                    return out;
                }
                at += 1;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn until_is_the_naive_search(
            pattern in prop::collection::vec(0..2u8, 1..7),
            input in prop::collection::vec(0..3u8, 0..60),
            size in prop::option::of(1..9usize),
            inclusive in any::<bool>(),
            cuts in prop::collection::vec(1..12usize, 1..6),
        ) {
            let mode = Mode::Until(Until::new(&pattern, inclusive).unwrap(), size);
            let expected = naive_until(&pattern, inclusive, size, &input);
            prop_assert_eq!(read_all(&mode, &input, &cuts), expected);
        }

        #[test]
        fn lines_are_a_split_without_carriage_returns(
            input in "[ab\r\n]{0,60}",
            cuts in prop::collection::vec(1..12usize, 1..6),
        ) {
            let lines = read_all(&Mode::Line, input.as_bytes(), &cuts);
            let expected: Vec<String> = input.split('\n').map(|line| line.replace('\r', "")).collect();
            prop_assert_eq!(text(&lines), expected);
        }

        #[test]
        fn exact_pieces_are_chunks(
            input in prop::collection::vec(any::<u8>(), 0..60),
            n in 1..20usize,
            cuts in prop::collection::vec(1..30usize, 1..6),
        ) {
            let mut pieces = read_all(&Mode::Exact(n), &input, &cuts);
            let last = pieces.pop().flatten().unwrap();
            prop_assert_eq!(last.len(), input.len() % n);
            prop_assert!(pieces.iter().all(|piece| piece.as_ref().unwrap().len() == n));
            let whole: Vec<u8> = pieces.into_iter().flatten().flatten().chain(last).collect();
            prop_assert_eq!(whole, input);
        }
    }
}
