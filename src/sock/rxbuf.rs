//! Received bytes that were not handed out yet.
//!
//! Thousands of sockets wait at a time, most of them with nothing received: those hold no
//! memory. A buffer is taken from the worker's free list when bytes are about to arrive and goes
//! back when the last one was consumed.

use std::cell::RefCell;
use std::rc::Rc;

use crate::sock::error::Error;

/// No result is larger: just under 2 GiB, what a Lua string can hold.
pub const MAX_FRAME: usize = 0x7fff_0000;

/// The smallest buffer.
const MIN_LEN: usize = 64;
/// Buffers of 64 bytes to 128 KiB are kept for reuse, larger ones are not.
const CLASSES: usize = 12;
/// At most this much is kept of each class.
const KEEP_BYTES: usize = 512 * 1024;
/// What may be taken on the peer's word: room for an announced frame is made at once up to this,
/// and beyond it only in proportion to what really arrived.
const TRUST: usize = 32 * 1024;

/// The worker's free list of receive buffers. Cheap to clone; all clones are the same list.
#[derive(Clone, Default)]
pub struct Buffers(Rc<RefCell<[Vec<Vec<u8>>; CLASSES]>>);

impl Buffers {
    /// An empty free list.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` bytes, a power of two and at least [`MIN_LEN`].
    pub(super) fn get(&self, len: usize) -> Result<Vec<u8>, Error> {
        let reused = self
            .0
            .borrow_mut()
            .get_mut(class_of(len))
            .and_then(Vec::pop);
        match reused {
            Some(buf) => Ok(buf),
            None => {
                let mut buf = Vec::new();
                extend(&mut buf, len)?;
                Ok(buf)
            }
        }
    }

    /// Takes back what [`get`](Self::get) made.
    #[inline]
    pub(super) fn put(&self, buf: Vec<u8>) {
        let class = class_of(buf.len());
        if let Some(kept) = self.0.borrow_mut().get_mut(class)
            && kept.len() < (KEEP_BYTES / MIN_LEN) >> class
        {
            kept.push(buf);
        }
    }
}

/// The place in the free list of buffers of `len` bytes; beyond its end for large ones.
fn class_of(len: usize) -> usize {
    (len / MIN_LEN).trailing_zeros() as usize
}

/// Makes `buf` `len` bytes long, or fails where `resize` would abort the process.
fn extend(buf: &mut Vec<u8>, len: usize) -> Result<(), Error> {
    buf.try_reserve_exact(len.saturating_sub(buf.len()))
        .map_err(|_| Error::NoMemory)?;
    buf.resize(len, 0);
    Ok(())
}

// Not `ok_or`, which would make an error to drop where there is none.
fn no_memory() -> Error {
    Error::NoMemory
}

/// The receive buffer of one socket.
///
/// Invariant: `start <= end <= buf.len()`; `buf` is empty (no memory held) or a buffer of the
/// free list's making, every byte of it initialised.
pub struct RxBuf {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// `lua_socket_buffer_size`: what the first `recv` asks for unless more is known to come.
    size: usize,
    /// What the next one asks for: twice as much as one that was given all it asked for.
    ask: usize,
    /// What the last one asked for.
    offered: usize,
    buffers: Buffers,
}

impl RxBuf {
    /// An empty buffer that holds no memory.
    pub fn new(buffers: Buffers, size: usize) -> Self {
        Self {
            buf: Vec::new(),
            start: 0,
            end: 0,
            size: size.clamp(1, TRUST),
            ask: size.clamp(1, TRUST),
            offered: 0,
            buffers,
        }
    }

    /// The bytes received and not consumed. Mutable: a frame may be tidied in place.
    pub fn data(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// The first `len` of them, fewer if there are fewer.
    pub fn head(&self, len: usize) -> &[u8] {
        let end = self.start.saturating_add(len).min(self.end);
        self.buf.get(self.start..end).unwrap_or_default()
    }

    /// The number of bytes received and not consumed.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether everything was consumed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room, at least one byte, for a `recv` by a reader that still needs `want` bytes (1 where
    /// it cannot tell). Report what arrived to [`filled`](Self::filled).
    ///
    /// # Errors
    /// [`Error::NoMemory`], also when there are [`MAX_FRAME`] bytes already.
    #[inline]
    pub fn spare(&mut self, want: usize) -> Result<&mut [u8], Error> {
        // Who knows what is needed would have to move what comes with it.
        let least = if want == 1 { self.ask } else { self.size };
        if self.buf.is_empty() && want <= least {
            // Nearly every wait ends here.
            self.buf = self.buffers.get(least.next_power_of_two().max(MIN_LEN))?;
            self.offered = least;
            return self.buf.get_mut(..least).ok_or_else(no_memory);
        }
        self.spare_for(want, least)
    }

    fn spare_for(&mut self, want: usize, least: usize) -> Result<&mut [u8], Error> {
        let have = self.len();
        let limit = MAX_FRAME
            .checked_sub(have)
            .filter(|&room| room > 0)
            .ok_or_else(no_memory)?;
        let room = want.min(have.max(TRUST)).max(least).min(limit);
        if self.buf.len() - self.end < room {
            self.make_room(have, room)?;
        }
        let end = self
            .buf
            .len()
            .min(self.end.saturating_add(room.max(have).min(limit)));
        self.offered = end - self.end;
        self.buf
            .get_mut(self.end..end)
            .filter(|spare| !spare.is_empty())
            .ok_or_else(no_memory)
    }

    /// Called when the buffer ends before `room`: moves the data to the front, makes do with what
    /// is left, or takes a larger buffer.
    fn make_room(&mut self, have: usize, room: usize) -> Result<(), Error> {
        let len = self.buf.len();
        // Unless much is expected, any room will do before the buffer is grown.
        if room <= self.size || have + room <= len {
            // Moving at most half a buffer, once, wins at least half a buffer: every byte is
            // moved a bounded number of times however small the pieces are that arrive.
            if self.start > 0 && have <= len / 2 {
                self.move_to_front();
                return Ok(());
            }
            if self.end < len {
                return Ok(());
            }
        }
        self.grow((have + room).next_power_of_two().max(MIN_LEN))
    }

    fn move_to_front(&mut self) {
        let (start, end) = (self.start, self.end);
        self.buf.copy_within(start..end, 0);
        (self.start, self.end) = (0, end - start);
    }

    fn grow(&mut self, len: usize) -> Result<(), Error> {
        if class_of(len) >= CLASSES {
            // Large: let the allocator move pages.
            self.move_to_front();
            return extend(&mut self.buf, len);
        }
        let mut buf = self.buffers.get(len)?;
        let have = self.len();
        if let (Some(to), Some(from)) = (buf.get_mut(..have), self.buf.get(self.start..self.end)) {
            to.copy_from_slice(from);
        }
        self.buffers.put(std::mem::replace(&mut self.buf, buf));
        (self.start, self.end) = (0, have);
        Ok(())
    }

    /// `n` bytes were received into [`spare`](Self::spare).
    pub fn filled(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.buf.len());
        // The more there is to receive, the fewer system calls it takes.
        self.ask = if n < self.offered {
            self.size
        } else {
            self.offered.saturating_mul(2).clamp(self.size, TRUST)
        };
    }

    /// Drops the first `n` bytes; the memory too once none is left.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        if n < self.len() {
            self.start += n;
        } else {
            self.start = self.end;
            self.release_if_empty();
        }
    }

    /// Gives the memory back if nothing is in it: before waiting.
    #[inline(never)]
    pub fn release_if_empty(&mut self) {
        if self.start == self.end && !self.buf.is_empty() {
            self.buffers.put(std::mem::take(&mut self.buf));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.consume(usize::MAX);
    }
}

impl Drop for RxBuf {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn receive(rx: &mut RxBuf, bytes: &[u8], want: usize) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let spare = rx.spare(want).unwrap();
            let n = spare.len().min(rest.len());
            spare[..n].copy_from_slice(&rest[..n]);
            rx.filled(n);
            rest = &rest[n..];
        }
    }

    #[test]
    fn holds_no_memory_when_empty_and_reuses_it() {
        let buffers = Buffers::new();
        let mut rx = RxBuf::new(buffers.clone(), 4096);
        assert_eq!(rx.buf.capacity(), 0);
        receive(&mut rx, b"hello", 1);
        let address = rx.buf.as_ptr();
        rx.consume(5);
        assert_eq!(rx.buf.capacity(), 0);
        let mut other = RxBuf::new(buffers, 4096);
        other.spare(1).unwrap();
        assert_eq!(other.buf.as_ptr(), address);
        other.release_if_empty();
        assert_eq!(other.buf.capacity(), 0);
    }

    #[test]
    fn an_announced_size_is_not_taken_on_trust() {
        let mut rx = RxBuf::new(Buffers::new(), 4096);
        assert_eq!(rx.spare(usize::MAX).unwrap().len(), TRUST);
        receive(&mut rx, &[0; 1000], usize::MAX);
        rx.spare(1 << 30).unwrap();
        assert!(rx.buf.len() <= 4 * TRUST);
    }

    #[test]
    fn a_frame_of_sixteen_kilobytes_takes_one_recv() {
        let mut rx = RxBuf::new(Buffers::new(), 4096);
        assert!(rx.spare(16384).unwrap().len() >= 16384);
    }

    #[test]
    fn small_pieces_in_a_long_stream_do_not_grow_the_buffer() {
        let mut rx = RxBuf::new(Buffers::new(), 4096);
        for _ in 0..10_000 {
            receive(&mut rx, &[7; 19], 1);
            if rx.len() > 100 {
                rx.consume(19);
            }
            assert!(rx.buf.len() <= 4096);
        }
    }

    #[test]
    fn asks_for_more_while_it_gets_all_it_asks_for() {
        let mut rx = RxBuf::new(Buffers::new(), 4096);
        let mut asked = Vec::new();
        for _ in 0..5 {
            let n = rx.spare(1).unwrap().len();
            asked.push(n);
            rx.filled(n);
            // As a reader of lines does, it leaves the beginning of one.
            rx.consume(rx.len() - 10);
        }
        assert!(
            asked
                .windows(2)
                .all(|pair| pair[1] > pair[0] || pair[0] >= TRUST)
        );
        assert!(rx.buf.len() <= 2 * TRUST);
        rx.spare(1).unwrap();
        rx.filled(1);
        rx.clear();
        assert_eq!(rx.spare(1).unwrap().len(), 4096);
    }

    #[test]
    fn a_tiny_buffer_size_makes_tiny_reads() {
        let mut rx = RxBuf::new(Buffers::new(), 1);
        assert_eq!(rx.spare(1).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn keeps_the_bytes_in_order(
            size in 1..200usize,
            ops in prop::collection::vec((any::<bool>(), 0..400usize, 1..600usize), 0..60),
        ) {
            let mut rx = RxBuf::new(Buffers::new(), size);
            let mut model = Vec::new();
            let mut next = 0u8;
            for (put, n, want) in ops {
                if put {
                    let bytes: Vec<u8> = (0..n).map(|i| next.wrapping_add(i as u8)).collect();
                    next = next.wrapping_add(n as u8);
                    receive(&mut rx, &bytes, want);
                    model.extend(bytes);
                } else {
                    rx.consume(n);
                    model.drain(..n.min(model.len()));
                }
                prop_assert_eq!(rx.data(), &model[..]);
                prop_assert_eq!(rx.len(), model.len());
                prop_assert!(!rx.is_empty() || rx.buf.is_empty());
            }
        }
    }
}
