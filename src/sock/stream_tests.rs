use super::*;
use crate::sock::mock::{MockTransport, Peer, Task};
use crate::sock::ops::SendOp;
use crate::sock::until::Until;
use Direction::{Read, Write};
use proptest::prelude::*;
use std::task::Poll;

const TIMEOUTS: Timeouts = Timeouts {
    connect: 10,
    send: 20,
    read: 30,
};

type Sock = TcpSocket<MockTransport>;

fn socket() -> Sock {
    TcpSocket::new(&Buffers::new(), 4096, TIMEOUTS)
}

fn open_with(size: usize) -> (Sock, Peer) {
    let socket = TcpSocket::new(&Buffers::new(), size, TIMEOUTS);
    let (transport, peer) = Peer::connected();
    let connection = Connection::fresh(transport, Membership::Named((*b"pool").into()));
    socket.begin_connect().unwrap().install(connection);
    (socket, peer)
}

fn open() -> (Sock, Peer) {
    open_with(4096)
}

/// What Lua would get: data, or error and partial data.
type Got = Result<String, (String, Option<String>)>;

fn got(socket: &Sock, outcome: ReadOutcome) -> Got {
    let take = |piece| socket.take(piece, |data| String::from_utf8(data.to_vec()).unwrap());
    match outcome {
        ReadOutcome::Data(piece) => Ok(take(piece)),
        ReadOutcome::EndOfPieces => Ok("nil".to_owned()),
        ReadOutcome::Failed(error, part) => Err((error.to_string(), part.map(take))),
    }
}

fn read_now(socket: &Sock, mode: Mode) -> Got {
    match socket.read(mode) {
        Begun::Ready(outcome) => got(socket, outcome),
        Begun::Pending(_) => panic!("would wait"),
    }
}

fn read_later(socket: &Sock, mode: Mode) -> Task<ReadOp<MockTransport>> {
    match socket.read(mode) {
        Begun::Ready(outcome) => panic!("ready: {outcome:?}"),
        Begun::Pending(op) => Task::new(op),
    }
}

fn send_now(socket: &Sock, data: &str) -> Result<usize, String> {
    match socket.send(data.as_bytes()) {
        Begun::Ready(result) => result.map_err(|error| error.to_string()),
        Begun::Pending(_) => panic!("would wait"),
    }
}

fn send_later(socket: &Sock, data: &str) -> Task<SendOp<MockTransport>> {
    match socket.send(data.as_bytes()) {
        Begun::Ready(result) => panic!("ready: {result:?}"),
        Begun::Pending(op) => Task::new(op),
    }
}

fn ok(text: &str) -> Got {
    Ok(text.to_owned())
}

fn failed(error: &str, partial: &str) -> Got {
    Err((error.to_owned(), Some(partial.to_owned())))
}

fn failed_bare(error: &str) -> Got {
    Err((error.to_owned(), None))
}

#[test]
fn a_socket_without_a_connection_is_closed() {
    let socket = socket();
    assert_eq!(socket.status(), Status::New);
    assert_eq!(read_now(&socket, Mode::Line), failed_bare("closed"));
    assert_eq!(send_now(&socket, "").unwrap_err(), "closed");
    assert_eq!(socket.close().unwrap_err().to_string(), "closed");
    assert_eq!(socket.reused_times().unwrap_err().to_string(), "closed");
    let pools = Pools::new();
    assert_eq!(
        socket
            .keepalive(&pools, None, 1, false)
            .unwrap_err()
            .to_string(),
        "closed"
    );
    assert!(socket.with_transport(|transport| transport.fd()).is_none());
}

#[test]
fn closing_twice_is_closed() {
    let (socket, peer) = open();
    assert_eq!(socket.status(), Status::Open);
    assert_eq!(socket.close(), Ok(()));
    assert!(peer.is_closed());
    assert_eq!(socket.status(), Status::Closed);
    assert!(socket.close().unwrap_err().is_closed());
}

#[test]
fn dropping_the_last_handle_closes() {
    let (socket, peer) = open();
    let other = socket.clone();
    drop(socket);
    assert!(!peer.is_closed());
    drop(other);
    assert!(peer.is_closed());
}

#[test]
fn a_ready_read_takes_no_timer() {
    let (socket, peer) = open();
    peer.feed("hello\r\nworld\n");
    assert_eq!(read_now(&socket, Mode::Line), ok("hello"));
    assert_eq!(read_now(&socket, Mode::Line), ok("world"));
    assert_eq!(peer.calls(Read), 1);
    assert_eq!(peer.arms(Read), 0);
}

#[test]
fn a_read_that_must_wait_costs_no_call() {
    let (socket, peer) = open();
    let mut op = read_later(&socket, Mode::Line);
    assert!(op.is_pending());
    assert_eq!(peer.calls(Read), 0);
    assert_eq!(peer.armed(Read), Some(30));
    peer.feed("hello\n");
    assert_eq!(op.wakes(), 1);
    assert_eq!(got(&socket, op.finish()), ok("hello"));
    assert_eq!(peer.calls(Read), 1);
    assert_eq!(peer.armed(Read), None);
    assert!(!peer.is_waited_for(Read));
}

#[test]
fn the_timer_is_armed_again_only_by_progress() {
    let (socket, peer) = open();
    let mut op = read_later(&socket, Mode::Exact(4));
    assert!(op.is_pending());
    assert!(op.is_pending());
    assert_eq!(peer.arms(Read), 1);
    peer.feed("ab");
    assert!(op.is_pending());
    assert_eq!(peer.arms(Read), 2);
    peer.feed("cd");
    assert_eq!(got(&socket, op.finish()), ok("abcd"));
    assert_eq!(peer.arms(Read), 2);
}

#[test]
fn after_a_timeout_the_partial_data_are_gone_and_reading_goes_on() {
    let (socket, peer) = open();
    peer.feed("abc");
    let mut op = read_later(&socket, Mode::Exact(5));
    assert!(op.is_pending());
    peer.fire_timer(Read);
    assert_eq!(got(&socket, op.finish()), failed("timeout", "abc"));
    peer.feed("defgh");
    assert_eq!(read_now(&socket, Mode::Exact(5)), ok("defgh"));
    assert_eq!(socket.close(), Ok(()));
}

#[test]
fn data_that_came_with_the_timeout_win() {
    let (socket, peer) = open();
    let mut op = read_later(&socket, Mode::Exact(3));
    assert!(op.is_pending());
    peer.fire_timer(Read);
    peer.feed("abc");
    assert_eq!(got(&socket, op.finish()), ok("abc"));
    assert_eq!(peer.armed(Read), None);
}

#[test]
fn end_of_file_closes_the_read_half_only() {
    let (socket, peer) = open();
    peer.feed("abc");
    peer.eof();
    assert_eq!(read_now(&socket, Mode::Line), failed("closed", "abc"));
    assert_eq!(read_now(&socket, Mode::Line), failed_bare("closed"));
    assert_eq!(send_now(&socket, "x"), Ok(1));
    assert_eq!(socket.close(), Ok(()));
    assert!(peer.is_closed());
}

#[test]
fn end_of_file_ends_all_and_nothing_else() {
    let (socket, peer) = open();
    peer.feed("a\r\n");
    peer.feed("b");
    peer.eof();
    assert_eq!(read_now(&socket, Mode::All), ok("a\r\nb"));
    let (socket, peer) = open();
    peer.eof();
    assert_eq!(read_now(&socket, Mode::Any(5)), failed("closed", ""));
}

#[test]
fn a_read_error_hands_out_what_came_before() {
    let (socket, peer) = open();
    peer.feed("a\rb");
    peer.fail_read(libc::ECONNRESET);
    assert_eq!(
        read_now(&socket, Mode::Line),
        failed("connection reset by peer", "ab")
    );
    assert_eq!(read_now(&socket, Mode::Line), failed_bare("closed"));
    assert_eq!(socket.close(), Ok(()));
}

#[test]
fn a_send_error_closes_the_write_half_only() {
    let (socket, peer) = open();
    peer.feed("reply\n");
    peer.fail_send(libc::EPIPE);
    assert_eq!(send_now(&socket, "x").unwrap_err(), "broken pipe");
    assert_eq!(send_now(&socket, "x").unwrap_err(), "closed");
    assert_eq!(read_now(&socket, Mode::Line), ok("reply"));
    assert_eq!(socket.close(), Ok(()));
}

#[test]
fn with_both_halves_closed_the_connection_is_gone() {
    let (socket, peer) = open();
    peer.fail_send(libc::EPIPE);
    assert!(send_now(&socket, "x").is_err());
    assert!(!peer.is_closed());
    peer.feed("part");
    peer.eof();
    assert_eq!(read_now(&socket, Mode::Line), failed("closed", "part"));
    assert!(peer.is_closed());
    assert!(socket.close().unwrap_err().is_closed());
}

#[test]
fn sending_copies_only_what_the_kernel_did_not_take() {
    let (socket, peer) = open();
    assert_eq!(send_now(&socket, ""), Ok(0));
    assert_eq!(peer.calls(Write), 0);
    peer.set_window(4);
    let mut op = send_later(&socket, "hello, world");
    assert!(op.is_pending());
    assert_eq!(peer.armed(Write), Some(20));
    peer.set_window(3);
    assert!(op.is_pending());
    assert_eq!(peer.arms(Write), 2);
    assert!(op.is_pending());
    assert_eq!(peer.arms(Write), 2);
    peer.set_window(100);
    assert_eq!(op.finish(), Ok(12));
    assert_eq!(peer.sent(), b"hello, world");
    assert_eq!(peer.armed(Write), None);
}

#[test]
fn a_send_that_times_out_closes_the_write_half() {
    let (socket, peer) = open();
    peer.set_window(0);
    let mut op = send_later(&socket, "hello");
    assert!(op.is_pending());
    peer.fire_timer(Write);
    assert_eq!(op.finish(), Err(Error::Timeout(Stage::Write)));
    assert_eq!(send_now(&socket, "x").unwrap_err(), "closed");
    peer.feed("a\n");
    assert_eq!(read_now(&socket, Mode::Line), ok("a"));
}

#[test]
fn one_reads_while_another_sends() {
    let (socket, peer) = open();
    peer.set_window(0);
    let mut read = read_later(&socket, Mode::Line);
    assert!(read.is_pending());
    let mut send = send_later(&socket, "query");
    assert!(send.is_pending());
    assert_eq!(
        read_now(&socket, Mode::Line),
        failed_bare("socket busy reading")
    );
    assert_eq!(send_now(&socket, "x").unwrap_err(), "socket busy writing");
    assert_eq!(
        socket.close().unwrap_err().to_string(),
        "socket busy reading"
    );
    let busy = socket.keepalive(&Pools::new(), None, 1, false).unwrap_err();
    assert_eq!(busy.to_string(), "socket busy reading");
    assert!(socket.begin_connect().is_err());
    peer.set_window(100);
    assert_eq!(send.finish(), Ok(5));
    peer.feed("answer\n");
    assert_eq!(got(&socket, read.finish()), ok("answer"));
    assert_eq!(socket.close(), Ok(()));
}

#[test]
fn nothing_goes_on_while_connecting() {
    let (socket, peer) = open();
    let connecting = socket.begin_connect().unwrap();
    assert!(peer.is_closed());
    assert_eq!(
        read_now(&socket, Mode::Line),
        failed_bare("socket busy connecting")
    );
    assert_eq!(
        send_now(&socket, "x").unwrap_err(),
        "socket busy connecting"
    );
    assert_eq!(
        socket.close().unwrap_err().to_string(),
        "socket busy connecting"
    );
    drop(connecting);
    assert!(socket.close().unwrap_err().is_closed());
}

#[test]
fn a_killed_reader_closes_the_connection() {
    let (socket, peer) = open();
    let mut op = read_later(&socket, Mode::Line);
    assert!(op.is_pending());
    drop(op);
    assert!(peer.is_closed());
    assert_eq!(read_now(&socket, Mode::Line), failed_bare("closed"));
}

#[test]
fn a_killed_reader_leaves_the_sender_alone() {
    let (socket, peer) = open();
    peer.set_window(0);
    let mut send = send_later(&socket, "query");
    assert!(send.is_pending());
    let mut read = read_later(&socket, Mode::Line);
    assert!(read.is_pending());
    drop(read);
    assert!(!peer.is_closed() && !peer.is_waited_for(Read));
    assert_eq!(peer.armed(Read), None);
    peer.set_window(100);
    assert_eq!(send.finish(), Ok(5));
    assert_eq!(read_now(&socket, Mode::Line), failed_bare("closed"));
}

#[test]
fn a_finished_operation_is_dropped_without_harm() {
    let (socket, peer) = open();
    let mut op = read_later(&socket, Mode::Line);
    assert!(op.is_pending());
    peer.feed("a\nb\n");
    let outcome = op.finish();
    drop(op);
    assert_eq!(got(&socket, outcome), ok("a"));
    assert_eq!(read_now(&socket, Mode::Line), ok("b"));
}

#[test]
fn an_abandoned_socket_is_closed_under_its_operations() {
    let (socket, peer) = open();
    let mut op = read_later(&socket, Mode::Line);
    assert!(op.is_pending());
    socket.abandon();
    assert!(peer.is_closed());
    assert_eq!(got(&socket, op.finish()), failed_bare("closed"));
}

#[test]
fn taking_a_piece_leaves_the_socket_usable() {
    let (socket, peer) = open();
    peer.feed("first\nsecond\n");
    let Begun::Ready(ReadOutcome::Data(piece)) = socket.read(Mode::Line) else {
        panic!()
    };
    let inner = socket.take(piece, |data| {
        assert_eq!(data, b"first");
        (
            read_now(&socket, Mode::Line),
            send_now(&socket, "x"),
            socket.close(),
        )
    });
    assert_eq!(inner.0, failed_bare("socket busy reading"));
    assert_eq!(inner.1, Ok(1));
    assert!(inner.2.is_err());
    assert_eq!(read_now(&socket, Mode::Line), ok("second"));
}

#[test]
fn timeouts_fall_back_to_the_directives() {
    let (socket, peer) = open();
    socket.set_timeouts(Some(1), Some(2), Some(3));
    assert_eq!(
        socket.timeouts(),
        Timeouts {
            connect: 1,
            send: 2,
            read: 3
        }
    );
    let mut op = read_later(&socket, Mode::Line);
    assert!(op.is_pending());
    assert_eq!(peer.armed(Read), Some(3));
    socket.set_timeouts(Some(0), None, Some(0));
    assert_eq!(socket.timeouts(), TIMEOUTS);
}

#[test]
fn a_beginning_of_the_pattern_is_given_back_to_other_reads() {
    let (socket, peer) = open();
    let until = Until::new(b"--END", false).unwrap();
    peer.feed("abc--E");
    assert_eq!(
        read_now(&socket, Mode::Until(until.clone(), Some(3))),
        ok("abc")
    );
    assert_eq!(read_now(&socket, Mode::Exact(2)), ok("--"));
    peer.feed("x--END.");
    assert_eq!(
        read_now(&socket, Mode::Until(until.clone(), Some(9))),
        ok("Ex")
    );
    assert_eq!(read_now(&socket, Mode::Until(until, Some(9))), ok("nil"));
    assert_eq!(read_now(&socket, Mode::Any(9)), ok("."));
}

#[test]
fn a_pattern_may_arrive_around_a_timeout() {
    let (socket, peer) = open();
    let until = Mode::Until(Until::new(b"\r\n--b", false).unwrap(), None);
    peer.feed("abc\r\n-");
    let mut op = read_later(&socket, until.clone());
    assert!(op.is_pending());
    peer.fire_timer(Read);
    assert_eq!(got(&socket, op.finish()), failed("timeout", "abc"));
    peer.feed("-b.");
    assert_eq!(read_now(&socket, until), ok(""));
}

#[test]
fn a_kept_connection_is_parked_and_no_longer_the_sockets() {
    let pools = Pools::new();
    let (socket, peer) = open();
    assert_eq!(socket.reused_times(), Ok(0));
    assert_eq!(socket.keepalive(&pools, Some(500), 2, false), Ok(()));
    let (key, timeout) = peer.parked().unwrap();
    assert_eq!(timeout, Some(500));
    assert!(!peer.is_closed());
    assert!(socket.close().unwrap_err().is_closed());
    pools.on_idle_event(key);
    assert!(peer.is_closed());
    assert!(pools.is_empty());
}

#[test]
fn unread_data_prevent_keeping() {
    let pools = Pools::new();
    let (socket, peer) = open();
    peer.feed("a\nb");
    assert_eq!(read_now(&socket, Mode::Line), ok("a"));
    assert_eq!(
        socket.keepalive(&pools, None, 2, false),
        Err(Error::UnreadData)
    );
    assert_eq!(read_now(&socket, Mode::Exact(1)), ok("b"));
    assert_eq!(socket.keepalive(&pools, None, 2, false), Ok(()));
    assert_eq!(peer.parked().unwrap().1, None);
}

#[test]
fn a_connection_the_peer_wrote_to_or_closed_is_not_kept() {
    let (socket, peer) = open();
    peer.feed("x");
    let result = socket.keepalive(&Pools::new(), None, 2, false);
    assert_eq!(result, Err(Error::DubiousState));
    assert!(peer.is_closed());
    let (socket, peer) = open();
    peer.eof();
    let result = socket.keepalive(&Pools::new(), None, 2, false);
    assert_eq!(result, Err(Error::Closed));
    assert_eq!(socket.close(), Ok(()));
}

#[test]
fn all_of_a_connection_can_be_read_again() {
    let (socket, peer) = open();
    peer.feed("ab");
    peer.eof();
    assert_eq!(read_now(&socket, Mode::All), ok("ab"));
    assert_eq!(read_now(&socket, Mode::All), ok(""));
    let result = socket.keepalive(&Pools::new(), None, 2, false);
    assert_eq!(result, Err(Error::Closed));
    let closed = |part: Option<&str>| Err(("closed".to_owned(), part.map(str::to_owned)));
    assert_eq!(read_now(&socket, Mode::Line), closed(Some("")));
    assert_eq!(read_now(&socket, Mode::All), closed(None));
    assert_eq!(socket.close(), Ok(()));
}

#[test]
fn a_half_closed_connection_is_not_kept() {
    let (socket, peer) = open();
    peer.eof();
    assert!(read_now(&socket, Mode::Line).is_err());
    let result = socket.keepalive(&Pools::new(), None, 2, false);
    assert_eq!(result, Err(Error::Closed));
    assert_eq!(socket.close(), Ok(()));
}

#[test]
fn an_exiting_worker_keeps_nothing() {
    let pools = Pools::new();
    let (socket, peer) = open();
    assert_eq!(socket.keepalive(&pools, None, 2, true), Ok(()));
    assert!(peer.is_closed() && pools.is_empty());
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Line),
        Just(Mode::All),
        (1..20usize).prop_map(Mode::Exact),
        (1..20usize).prop_map(Mode::Any),
        prop::option::of(1..5usize)
            .prop_map(|size| Mode::Until(Until::new(b"aab", true).unwrap(), size)),
    ]
}

proptest! {
    /// However the input is cut and whatever is read, every byte comes out once and in order
    /// (line ends and carriage returns, which reads drop, left out of the comparison).
    #[test]
    fn no_byte_is_lost_or_doubled(
        input in "[ab\r\n]{0,200}",
        cuts in prop::collection::vec(1..30usize, 1..8),
        modes in prop::collection::vec(modes(), 1..8),
        size in 1..64usize,
    ) {
        let (socket, peer) = open_with(size);
        let mut rest = input.as_str();
        let mut cuts = cuts.iter().cycle();
        let mut out = String::new();
        for mode in modes.iter().cycle() {
            let mut begun = socket.read(mode.clone());
            let outcome = loop {
                match begun {
                    Begun::Ready(outcome) => break outcome,
                    Begun::Pending(op) => {
                        let mut task = Task::new(op);
                        let outcome = loop {
                            match task.poll() {
                                Poll::Ready(outcome) => break outcome,
                                Poll::Pending if rest.is_empty() => peer.eof(),
                                Poll::Pending => {
                                    let (now, later) = rest.split_at(cuts.next().unwrap().min(&rest.len()).to_owned());
                                    peer.feed(now);
                                    rest = later;
                                }
                            }
                        };
                        begun = Begun::Ready(outcome);
                    }
                }
            };
            let end = matches!(outcome, ReadOutcome::Failed(..)) || matches!(mode, Mode::All);
            match got(&socket, outcome) {
                Ok(text) if text == "nil" => {}
                Ok(text) | Err((_, Some(text))) => out.push_str(&text),
                Err((_, None)) => {}
            }
            if end {
                break;
            }
        }
        let bare = |text: &str| text.replace(['\r', '\n'], "");
        prop_assert_eq!(bare(&out), bare(&input));
    }
}
