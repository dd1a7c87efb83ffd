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

#[cfg(test)]
mod tests {
    use crate::sock::mock::{MockTransport, Peer};
    use crate::sock::{Begun, Buffers, Mode, ReadOutcome, TcpSocket, Timeouts};
    use proptest::prelude::*;

    /// A socket that has received `data`, all but the line that it begins with.
    fn received(data: &str) -> (TcpSocket<MockTransport>, Peer) {
        let (transport, peer) = Peer::connected();
        let timeouts = Timeouts {
            connect: 10,
            send: 10,
            read: 10,
        };
        let socket = TcpSocket::over(transport, &Buffers::new(), 4096, timeouts);
        peer.feed(format!("first\n{data}"));
        let Begun::Ready(ReadOutcome::Data(first)) = socket.read(Mode::Line) else {
            panic!("no line");
        };
        assert_eq!(socket.take(first, <[u8]>::to_vec), b"first");
        (socket, peer)
    }

    /// What `take` hands out until it refuses.
    fn all<'a>(take: impl Fn() -> Option<Vec<u8>> + 'a) -> Vec<String> {
        std::iter::from_fn(take)
            .map(|piece| String::from_utf8(piece).unwrap())
            .collect()
    }

    #[test]
    fn lines_are_looked_at_and_stay_until_they_are_skipped() {
        let (socket, _peer) = received("a\nbc\r\n\nrest");
        let mut seen = Vec::new();
        let looked = socket.look_at_lines(2, |line| seen.push(line.to_vec()));
        assert_eq!(
            (looked, &seen[..]),
            ((2, 6), &[b"a".to_vec(), b"bc".to_vec()][..])
        );
        socket.skip(2);
        assert_eq!(socket.look_at_lines(9, |_| ()), (2, 5));
        assert_eq!(all(|| socket.take_line(<[u8]>::to_vec)), ["bc", ""]);
        assert_eq!(all(|| socket.take_exact(2, <[u8]>::to_vec)), ["re", "st"]);
        assert_eq!(socket.take_exact(0, |_| ()), None);
    }

    #[test]
    fn a_socket_in_use_shows_no_lines() {
        let (socket, peer) = received("a\n");
        peer.set_window(0);
        let Begun::Pending(send) = socket.send(b"x") else {
            panic!("sent");
        };
        assert_eq!(socket.look_at_lines(1, |_| ()), (0, 0));
        drop(send);
        assert_eq!(socket.look_at_lines(1, |_| ()), (0, 0));
        assert_eq!(socket.take_line(|_| ()), None);
    }

    proptest! {
        /// Up to the first line that is not plain to see.
        #[test]
        fn lines_are_those_that_a_read_finds(data in "[ab\t\u{e9}\r\n]{0,60}") {
            let expected: Vec<_> = data
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'))
                .map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned())
                .take_while(|line| !line.contains('\r'))
                .collect();
            let (socket, _peer) = received(&data);
            let mut seen = Vec::new();
            socket.look_at_lines(99, |line| seen.push(String::from_utf8(line.to_vec()).unwrap()));
            prop_assert_eq!(&seen, &expected);
            prop_assert_eq!(&all(|| socket.take_line(<[u8]>::to_vec)), &expected);
        }
    }
}
