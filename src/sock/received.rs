//! What has been received already, without a look at the connection.

use std::rc::Rc;

use crate::sock::framing::Piece;
use crate::sock::stream::{Slots, TcpSocket};
use crate::sock::transport::Transport;

impl<T: Transport> TcpSocket<T> {
    /// [`read`](Self::read) of a line that has been received already, which is the life of a
    /// pipeline of short replies: `f` sees it as in [`take`](Self::take). `None`: call `read`.
    #[inline(always)]
    pub fn take_line<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.take_received(|data| Piece::line(data)?.of(data), f)
    }

    /// The same for `n` bytes.
    #[inline(always)]
    pub fn take_exact<R>(&self, n: usize, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.take_received(|data| Piece::whole(n).of(data).filter(|_| n > 0), f)
    }

    /// `cut`: what to hand out, and how much to drop then.
    #[inline(always)]
    fn take_received<R>(
        &self,
        cut: impl FnOnce(&[u8]) -> Option<(&[u8], usize)>,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let mut rx = self.0.rx.try_borrow_mut().ok()?;
        let (piece, used) = cut(rx.data())?;
        if !self.0.socket.borrow().may_read() {
            return None;
        }
        let result = f(piece);
        rx.consume(used);
        Some(result)
    }

    /// Shows `f` the lines that a reader would get next without waiting, up to `most` of them, if
    /// nobody else uses the socket. They stay in the buffer. Returns how many they are, and how
    /// much there is to [`skip`](Self::skip) when they have been handed out after all.
    pub fn look_at_lines(&self, most: usize, mut f: impl FnMut(&[u8])) -> (usize, usize) {
        let (mut lines, mut bytes) = (0, 0);
        let socket = self.0.socket.borrow();
        let usable = socket.slots.idle(&Slots::ANY).is_ok() && socket.may_read();
        drop(socket);
        if let Ok(rx) = self.0.rx.try_borrow()
            && usable
        {
            let data = rx.head(usize::MAX);
            while lines < most
                && let Some(rest) = data.get(bytes..)
                && let Some(piece) = Piece::longer_line(rest)
                && let Some((line, used)) = piece.of(rest)
            {
                f(line);
                lines += 1;
                bytes += used;
            }
        }
        (lines, bytes)
    }

    /// Drops the first `n` bytes of what was received.
    pub fn skip(&self, n: usize) {
        if let Ok(mut rx) = self.rx() {
            rx.consume(n);
        }
    }

    /// Where the socket is in memory: the same for all its clones.
    #[inline]
    pub fn address(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }
}
