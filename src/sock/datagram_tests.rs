use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;

use super::*;
use crate::sock::error::ResolveError;
use crate::sock::mock::{MockNet, MockTransport, Task};
use crate::sock::net::Net;

#[derive(Default)]
struct State {
    arrivals: VecDeque<Result<Vec<u8>, i32>>,
    sent: Vec<Vec<u8>>,
    send_error: Option<i32>,
    ready: bool,
    waker: Option<Waker>,
    armed: Option<Millis>,
    timed_out: bool,
    arms: usize,
    recvs: usize,
    closed: bool,
}

/// The test's end of a datagram socket.
#[derive(Clone, Default)]
struct Peer(Rc<RefCell<State>>);

impl Peer {
    fn arrive(&self, arrival: Result<&[u8], i32>) {
        let waker = {
            let mut state = self.0.borrow_mut();
            state.arrivals.push_back(arrival.map(<[u8]>::to_vec));
            state.ready = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn feed(&self, data: &[u8]) {
        self.arrive(Ok(data));
    }

    fn fire_timer(&self) {
        let waker = {
            let mut state = self.0.borrow_mut();
            assert!(state.armed.take().is_some(), "no timer armed");
            state.timed_out = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }
}

struct MockDatagram(Peer);

impl DatagramTransport for MockDatagram {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.0.borrow_mut();
        state.recvs += 1;
        match state.arrivals.pop_front() {
            None => {
                state.ready = false;
                Err(io::ErrorKind::WouldBlock.into())
            }
            Some(Ok(data)) => {
                let n = data.len().min(buf.len());
                buf[..n].copy_from_slice(&data[..n]);
                Ok(n)
            }
            Some(Err(errno)) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.0.borrow_mut();
        if let Some(errno) = state.send_error.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        state.sent.push(data.to_vec());
        Ok(())
    }

    fn ready(&self) -> bool {
        self.0.0.borrow().ready
    }

    fn wait(&mut self, waker: &Waker, timer: Timer) {
        let mut state = self.0.0.borrow_mut();
        state.waker = Some(waker.clone());
        if let Timer::Arm(timeout) = timer {
            state.armed = Some(timeout);
            state.timed_out = false;
            state.arms += 1;
        }
    }

    fn timed_out(&self) -> bool {
        self.0.0.borrow().timed_out
    }

    fn cancel_wait(&mut self) {
        let mut state = self.0.0.borrow_mut();
        (state.waker, state.armed, state.timed_out) = (None, None, false);
    }
}

impl Drop for MockDatagram {
    fn drop(&mut self) {
        self.0.0.borrow_mut().closed = true;
    }
}

/// [`MockNet`] with datagram sockets; addresses that begin with 192.0.2 are unreachable.
#[derive(Clone, Default)]
struct World {
    net: MockNet,
    opened: Rc<RefCell<Vec<(String, Local, Peer)>>>,
}

impl Net for World {
    type Transport = MockTransport;

    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = Result<Vec<SocketAddr>, ResolveError>> {
        self.net.resolve(host, port)
    }

    fn connect(
        &self,
        address: &Address,
        name: &[u8],
        local: &Local,
    ) -> Result<MockTransport, Error> {
        self.net.connect(address, name, local)
    }

    fn adopt(&self, transport: &mut MockTransport) {
        self.net.adopt(transport);
    }

    fn sleep(&self, timeout: Millis) -> impl Future<Output = ()> {
        self.net.sleep(timeout)
    }

    fn now(&self) -> Millis {
        self.net.now()
    }

    fn random(&self) -> u32 {
        self.net.random()
    }
}

impl DatagramNet for World {
    type Datagram = MockDatagram;

    fn open(&self, address: &Address, local: &Local) -> Result<MockDatagram, Error> {
        let name = address.to_string();
        let peer = Peer::default();
        self.opened
            .borrow_mut()
            .push((name.clone(), *local, peer.clone()));
        if name.starts_with("192.0.2") {
            return Err(Error::System {
                errno: libc::ENETUNREACH,
                stage: Stage::Connect,
            });
        }
        Ok(MockDatagram(peer))
    }
}

type Sock = DatagramSocket<MockDatagram>;

impl World {
    fn start(
        &self,
        socket: &Sock,
        host: &str,
    ) -> Begun<Result<(), ConnectError>, impl Future<Output = Result<(), ConnectError>> + use<>>
    {
        let host = host.as_bytes().into();
        socket.set_peer(self.clone(), &Target::Host { host, port: 53 })
    }

    fn set_peer(&self, socket: &Sock, host: &str) -> Result<(), ConnectError> {
        match self.start(socket, host) {
            Begun::Ready(result) => result,
            Begun::Pending(future) => Task::new(future).finish(),
        }
    }

    fn attempts(&self) -> Vec<String> {
        let opened = self.opened.borrow();
        opened.iter().map(|opened| opened.0.clone()).collect()
    }

    fn peer(&self) -> Peer {
        self.opened
            .borrow()
            .last()
            .expect("nothing opened")
            .2
            .clone()
    }
}

/// A socket with a peer.
fn connected() -> (World, Sock, Peer) {
    let (world, socket) = (World::default(), socket());
    assert_eq!(world.set_peer(&socket, "127.0.0.1"), Ok(()));
    let peer = world.peer();
    (world, socket, peer)
}

fn socket() -> Sock {
    DatagramSocket::new(&Buffers::new(), 30)
}

fn text(result: Result<Received, Error>) -> Result<String, String> {
    result
        .map(|received| String::from_utf8_lossy(&received).into_owned())
        .map_err(|error| error.to_string())
}

fn receive_now(socket: &Sock, size: usize) -> Result<String, String> {
    match socket.receive(size) {
        Begun::Ready(result) => text(result),
        Begun::Pending(_) => panic!("it waits"),
    }
}

fn receiving(socket: &Sock) -> Task<ReceiveOp<MockDatagram>> {
    let Begun::Pending(op) = socket.receive(LARGEST) else {
        panic!("it does not wait");
    };
    let mut task = Task::new(op);
    assert!(task.is_pending());
    task
}

#[test]
fn literals_and_unix_paths_are_opened_at_once() {
    let (world, socket) = (World::default(), socket());
    for host in ["127.0.0.1", "[::1]"] {
        assert!(matches!(world.start(&socket, host), Begun::Ready(Ok(()))));
    }
    let unix = socket.set_peer(world.clone(), &Target::Unix((*b"unix:/dev/log").into()));
    assert!(matches!(unix, Begun::Ready(Ok(()))));
    assert_eq!(
        world.attempts(),
        ["127.0.0.1:53", "[::1]:53", "unix:/dev/log"]
    );
}

#[test]
fn names_are_resolved() {
    let (world, socket) = (World::default(), socket());
    world.net.host("a.test", Ok(&["127.0.0.2"]));
    world.net.hang_resolver();
    let Begun::Pending(future) = world.start(&socket, "a.test") else {
        panic!("it did not ask the resolver");
    };
    let mut task = Task::new(future);
    assert!(task.is_pending());
    assert_eq!(socket.send(b"x"), Err(Error::InUse));
    assert_eq!(receive_now(&socket, 1), Err("socket busy".into()));
    assert_eq!(socket.close(), Err(Error::InUse));
    assert_eq!(
        world.set_peer(&socket, "127.0.0.1"),
        Err(Error::InUse.into())
    );
    world.net.answer();
    assert_eq!(task.finish(), Ok(()));
    assert_eq!(world.attempts(), ["127.0.0.2:53"]);
    assert_eq!(socket.send(b"x"), Ok(()));
}

#[test]
fn dropping_the_operation_cancels_the_query_and_frees_the_socket() {
    let (world, socket) = (World::default(), socket());
    world.net.hang_resolver();
    let Begun::Pending(future) = world.start(&socket, "a.test") else {
        panic!("it did not ask the resolver");
    };
    let mut task = Task::new(future);
    assert!(task.is_pending());
    drop(task);
    assert_eq!(world.net.queries(), 0);
    assert_eq!(world.set_peer(&socket, "127.0.0.1"), Ok(()));
}

#[test]
fn failures_say_what_was_wrong() {
    let (world, socket) = (World::default(), socket());
    world.net.host("empty.test", Ok(&[]));
    world.net.host("far.test", Ok(&["192.0.2.1"]));
    for (host, message) in [
        ("a/b", "failed to parse host name \"a/b\": invalid host"),
        ("b.test", "no resolver defined to resolve \"b.test\""),
        (
            "empty.test",
            "empty.test could not be resolved (3: Host not found)",
        ),
        ("far.test", "network is unreachable"),
        ("192.0.2.7", "network is unreachable"),
    ] {
        let error = world.set_peer(&socket, host).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(socket.close(), Err(Error::NotConnected(Stage::Other)));
    }
}

#[test]
fn the_next_address_is_tried_when_one_cannot_be_had() {
    let (world, socket) = (World::default(), socket());
    world
        .net
        .host("a.test", Ok(&["127.0.0.1", "192.0.2.1", "192.0.2.2"]));
    world.net.set_random(1);
    assert_eq!(world.set_peer(&socket, "a.test"), Ok(()));
    assert_eq!(
        world.attempts(),
        ["192.0.2.1:53", "192.0.2.2:53", "127.0.0.1:53"]
    );
}

#[test]
fn a_second_peer_replaces_the_first() {
    let (world, socket, first) = connected();
    assert_eq!(world.set_peer(&socket, "127.0.0.2"), Ok(()));
    assert!(first.is_closed());
    assert!(!world.peer().is_closed());
    assert!(world.set_peer(&socket, "a/b").is_err());
    assert!(world.peer().is_closed());
}

#[test]
fn bind_is_for_later_peers() {
    let (world, socket, _) = connected();
    let local = Local {
        bind: "127.0.0.9:0".parse().ok(),
        transparent: false,
    };
    socket.set_local(local);
    assert_eq!(world.set_peer(&socket, "127.0.0.1"), Ok(()));
    let locals: Vec<_> = world.opened.borrow().iter().map(|o| o.1).collect();
    assert_eq!(locals, [Local::default(), local]);
}

#[test]
fn without_a_peer_everything_is_closed() {
    let socket = socket();
    assert_eq!(socket.send(b"x"), Err(Error::NotConnected(Stage::Write)));
    assert_eq!(receive_now(&socket, 1), Err("closed".into()));
    assert_eq!(socket.close(), Err(Error::NotConnected(Stage::Other)));
    let (_, socket, peer) = connected();
    assert_eq!(socket.close(), Ok(()));
    assert!(peer.is_closed());
    assert_eq!(socket.close(), Err(Error::NotConnected(Stage::Other)));
}

#[test]
fn datagrams_keep_their_bounds() {
    let (_, socket, peer) = connected();
    for data in [&b"one"[..], b"", b"three"] {
        assert_eq!(socket.send(data), Ok(()));
        peer.feed(data);
    }
    assert_eq!(peer.0.borrow().sent, [&b"one"[..], b"", b"three"]);
    assert_eq!(receive_now(&socket, LARGEST), Ok("one".into()));
    assert_eq!(receive_now(&socket, usize::MAX), Ok(String::new()));
    assert_eq!(receive_now(&socket, 2), Ok("th".into()));
    assert_eq!(receiving(&socket).wakes(), 0);
}

#[test]
fn the_first_receive_waits_before_it_asks_the_kernel() {
    let (_, socket, peer) = connected();
    let mut task = receiving(&socket);
    assert_eq!(peer.0.borrow().recvs, 0);
    assert_eq!(peer.0.borrow().armed, Some(30));
    peer.feed(b"answer");
    assert_eq!(task.wakes(), 1);
    assert_eq!(text(task.finish()), Ok("answer".into()));
    assert_eq!((peer.0.borrow().recvs, peer.0.borrow().armed), (1, None));
}

#[test]
fn spurious_wakes_do_not_prolong_the_wait_and_a_timeout_leaves_it_open() {
    let (_, socket, peer) = connected();
    socket.set_timeout(Some(7));
    let mut task = receiving(&socket);
    assert!(task.is_pending());
    assert_eq!((peer.0.borrow().armed, peer.0.borrow().arms), (Some(7), 1));
    peer.fire_timer();
    assert_eq!(text(task.finish()), Err("timeout".into()));
    drop(task);
    assert!(!peer.is_closed());
    socket.set_timeout(Some(0));
    let mut task = receiving(&socket);
    assert_eq!(peer.0.borrow().armed, Some(30));
    peer.feed(b"late");
    assert_eq!(text(task.finish()), Ok("late".into()));
}

#[test]
fn a_datagram_that_came_with_the_timeout_wins() {
    let (_, socket, peer) = connected();
    let mut task = receiving(&socket);
    peer.fire_timer();
    peer.feed(b"just in time");
    assert_eq!(text(task.finish()), Ok("just in time".into()));
}

#[test]
fn errors_leave_it_open() {
    let (_, socket, peer) = connected();
    peer.0.borrow_mut().send_error = Some(libc::EMSGSIZE);
    assert_eq!(
        socket.send(b"x").map_err(|error| error.to_string()),
        Err("message too long".into())
    );
    let mut task = receiving(&socket);
    peer.arrive(Err(libc::ECONNREFUSED));
    assert_eq!(text(task.finish()), Err("connection refused".into()));
    assert_eq!(socket.send(b"again"), Ok(()));
    peer.feed(b"here");
    assert_eq!(receive_now(&socket, 4), Ok("here".into()));
}

#[test]
fn others_may_send_while_one_waits_and_nothing_else() {
    let (world, socket, peer) = connected();
    let mut task = receiving(&socket);
    assert_eq!(receive_now(&socket, 1), Err("socket busy".into()));
    assert_eq!(socket.close(), Err(Error::InUse));
    let busy = world.set_peer(&socket, "127.0.0.1").unwrap_err();
    assert_eq!(busy.to_string(), "socket busy");
    assert_eq!(socket.send(b"ping"), Ok(()));
    peer.feed(b"pong");
    assert_eq!(text(task.finish()), Ok("pong".into()));
    assert_eq!(socket.close(), Ok(()));
}

#[test]
fn a_killed_receive_closes_the_socket() {
    let (world, socket, peer) = connected();
    drop(receiving(&socket));
    assert!(peer.is_closed());
    assert_eq!(receive_now(&socket, 1), Err("closed".into()));
    assert_eq!(world.set_peer(&socket, "127.0.0.1"), Ok(()));
}

#[test]
fn an_abandoned_socket_is_closed_even_while_it_waits() {
    let (_, socket, peer) = connected();
    let mut task = receiving(&socket);
    socket.abandon();
    assert!(peer.is_closed());
    assert_eq!(text(task.finish()), Err("closed".into()));
    drop(task);
    assert_eq!(socket.close(), Err(Error::NotConnected(Stage::Other)));
}

#[test]
fn received_bytes_share_one_buffer_unless_two_are_held() {
    let buffers = Buffers::new();
    let (first, second) = (Received::new(&buffers), Received::new(&buffers));
    let place = |received: &Result<Received, Error>| received.as_ref().unwrap().buf.as_ptr();
    assert_ne!(place(&first), place(&second));
    let kept = place(&first);
    drop(first);
    assert_eq!(place(&Received::new(&buffers)), kept);
}

#[test]
fn log_lines() {
    let line = |error: Error| error.log_line(None);
    assert_eq!(
        line(Error::Timeout(Stage::Datagram)).as_deref(),
        Some("lua udp socket read timed out")
    );
    assert_eq!(
        line(Error::System {
            errno: libc::ECONNREFUSED,
            stage: Stage::Datagram
        })
        .as_deref(),
        Some("recv() failed (111: Connection refused)")
    );
    assert_eq!(
        line(Error::NotConnected(Stage::Datagram)).as_deref(),
        Some("attempt to receive data on a closed socket")
    );
    assert_eq!(line(Error::InUse), None);
}
