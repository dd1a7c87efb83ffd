use super::*;
use crate::sock::framing::Mode;
use crate::sock::mock::{MockNet, MockTransport, Plan, Task};
use crate::sock::pool::Pools;
use crate::sock::rxbuf::Buffers;
use crate::sock::stream::{Begun, ReadOutcome, Status, Timeouts};

const REFUSED: Plan = Plan::Fail(libc::ECONNREFUSED);

const LITERAL: PoolName<'_> = PoolName::Peer(b"127.0.0.1", 80);

type Sock = TcpSocket<MockTransport>;

fn socket() -> Sock {
    let timeouts = Timeouts {
        connect: 100,
        send: 20,
        read: 30,
    };
    TcpSocket::new(&Buffers::new(), 4096, timeouts)
}

struct World {
    net: MockNet,
    pools: TcpPools<MockTransport>,
}

impl World {
    fn new() -> Self {
        Self {
            net: MockNet::default(),
            pools: Pools::new(),
        }
    }

    fn request(host: &str) -> ConnectRequest {
        ConnectRequest {
            target: Target::Host {
                host: host.as_bytes().into(),
                port: 80,
            },
            pool: format!("{host}:80").as_bytes().into(),
            pool_size: None,
            backlog: None,
        }
    }

    fn limited(host: &str, size: usize, backlog: usize) -> ConnectRequest {
        ConnectRequest {
            pool_size: Some(size),
            backlog: Some(backlog),
            ..Self::request(host)
        }
    }

    fn start(
        &self,
        socket: &Sock,
        request: ConnectRequest,
    ) -> Task<impl Future<Output = Result<(), ConnectError>> + use<>> {
        Task::new(connect(
            socket.clone(),
            self.net.clone(),
            self.pools.clone(),
            request,
        ))
    }

    fn connect(&self, socket: &Sock, host: &str) -> Result<(), ConnectError> {
        self.start(socket, Self::request(host)).finish()
    }

    fn connect_now(&self, socket: &Sock, host: &str) -> Option<Result<(), ConnectError>> {
        let pool = PoolName::Peer(host.as_bytes(), 80);
        match connect_idle(socket, &self.net, &self.pools, pool) {
            Ok(None) => Some(Ok(())),
            Ok(Some(_)) => None,
            Err(busy) => Some(Err(busy.into())),
        }
    }

    /// A connect that creates no pool; `None`: it is not a direct one.
    fn connect_directly(
        &self,
        socket: &Sock,
        pool: PoolName<'_>,
    ) -> Option<Task<impl Future<Output = Result<(), ConnectError>> + use<>>> {
        let connecting = connect_idle(socket, &self.net, &self.pools, pool).unwrap();
        let begun = connect_directly(connecting?, &self.net, &self.pools, pool)?;
        Some(Task::new(async {
            match begun {
                Begun::Ready(result) => result,
                Begun::Pending(mut op) => poll_fn(|cx| op.poll(cx)).await,
            }
        }))
    }

    fn keep(&self, socket: &Sock) {
        socket.keepalive(&self.pools, None, 3, false).unwrap();
    }
}

#[test]
fn a_literal_is_connected_to_at_once() {
    let (world, socket) = (World::new(), socket());
    assert_eq!(world.connect(&socket, "127.0.0.1"), Ok(()));
    assert_eq!(world.net.attempts(), ["127.0.0.1:80"]);
    assert_eq!(socket.reused_times(), Ok(0));
    assert_eq!(world.net.peer().arms(Direction::Write), 0);
}

#[test]
fn a_direct_connect_waits_under_its_timeout() {
    let (world, socket) = (World::new(), socket());
    world.net.plan("127.0.0.1:80", Plan::Hang);
    let mut op = world.connect_directly(&socket, LITERAL).unwrap();
    assert!(op.is_pending());
    assert!(op.is_pending());
    let busy = world.connect(&socket, "127.0.0.1").unwrap_err();
    assert_eq!(busy.to_string(), "socket busy connecting");
    let peer = world.net.peer();
    let armed = (peer.armed(Direction::Write), peer.arms(Direction::Write));
    assert_eq!(armed, (Some(100), 1));
    peer.finish_connect(Ok(()));
    assert_eq!(op.wakes(), 1);
    assert_eq!(op.finish(), Ok(()));
    assert_eq!(peer.armed(Direction::Write), None);
    assert_eq!(socket.reused_times(), Ok(0));
    world.keep(&socket);
    assert_eq!(world.connect_now(&socket, "127.0.0.1"), Some(Ok(())));
    assert_eq!(socket.reused_times(), Ok(1));
}

#[test]
fn a_direct_connect_that_fails_names_the_address() {
    let (world, socket) = (World::new(), socket());
    world.net.plan("127.0.0.1:80", Plan::Hang);
    let mut op = world.connect_directly(&socket, LITERAL).unwrap();
    assert!(op.is_pending());
    let peer = world.net.peer();
    peer.fire_timer(Direction::Write);
    let error = op.finish().unwrap_err();
    assert_eq!(error.to_string(), "timeout");
    assert_eq!(error.peer.as_deref(), Some("127.0.0.1:80"));
    assert!(peer.is_closed());
    world.net.plan("127.0.0.1:80", REFUSED);
    let mut op = world.connect_directly(&socket, LITERAL).unwrap();
    assert_eq!(op.finish().unwrap_err().to_string(), "connection refused");
    world
        .net
        .plan("127.0.0.1:80", Plan::Fail(libc::ENETUNREACH));
    let mut op = world.connect_directly(&socket, LITERAL).unwrap();
    assert_eq!(
        op.finish().unwrap_err().peer.as_deref(),
        Some("127.0.0.1:80")
    );
    assert_eq!(world.connect(&socket, "127.0.0.2"), Ok(()));
}

#[test]
fn a_killed_direct_connect_gives_everything_back() {
    let (world, socket) = (World::new(), socket());
    world.net.plan("127.0.0.1:80", Plan::Hang);
    let mut op = world.connect_directly(&socket, LITERAL).unwrap();
    assert!(op.is_pending());
    drop(op);
    assert!(world.net.peer().is_closed());
    assert_eq!(world.connect(&socket, "127.0.0.2"), Ok(()));
}

#[test]
fn names_and_pools_are_not_for_a_direct_connect() {
    let (world, socket) = (World::new(), socket());
    let directly = |pool| world.connect_directly(&socket, pool).is_some();
    assert!(!directly(PoolName::Peer(b"a.test", 80)));
    assert!(!directly(PoolName::Peer(b"127.0.0.1:81", 80)));
    assert!(!directly(PoolName::Text(b"127.0.0.1:80")));
    assert!(world.net.attempts().is_empty());
    let request = World::limited("127.0.0.1", 1, 0);
    assert_eq!(world.start(&socket, request).finish(), Ok(()));
    let other = self::socket();
    assert!(world.connect_directly(&other, LITERAL).is_none());
    let refused = world.connect(&other, "127.0.0.1").unwrap_err();
    assert_eq!(refused.to_string(), "too many waiting connect operations");
}

#[test]
fn a_unix_socket_needs_no_port() {
    let (world, socket) = (World::new(), socket());
    let request = ConnectRequest {
        target: Target::Unix((*b"unix:/run/x").into()),
        ..World::request("unix")
    };
    assert_eq!(world.start(&socket, request).finish(), Ok(()));
    assert_eq!(world.net.attempts(), ["unix:/run/x"]);
}

#[test]
fn a_connect_in_progress_waits_under_its_timeout() {
    let (world, socket) = (World::new(), socket());
    world.net.plan("127.0.0.1:80", Plan::Hang);
    let mut task = world.start(&socket, World::request("127.0.0.1"));
    assert!(task.is_pending());
    assert!(task.is_pending());
    let peer = world.net.peer();
    assert_eq!(
        (peer.armed(Direction::Write), peer.arms(Direction::Write)),
        (Some(100), 1)
    );
    peer.finish_connect(Ok(()));
    assert_eq!(task.wakes(), 1);
    assert_eq!(task.finish(), Ok(()));
    assert_eq!(peer.armed(Direction::Write), None);
    assert_eq!(socket.status(), Status::Open);
}

#[test]
fn a_connect_that_times_out_names_the_address() {
    let (world, socket) = (World::new(), socket());
    world.net.plan("127.0.0.1:80", Plan::Hang);
    let mut task = world.start(&socket, World::request("127.0.0.1"));
    assert!(task.is_pending());
    let peer = world.net.peer();
    peer.fire_timer(Direction::Write);
    let error = task.finish().unwrap_err();
    assert_eq!(error.to_string(), "timeout");
    assert_eq!(
        error.log_line().unwrap(),
        "lua tcp socket connect timed out, when connecting to 127.0.0.1:80"
    );
    assert!(peer.is_closed());
    assert_eq!(socket.status(), Status::Closed);
}

#[test]
fn refused_is_the_systems_message() {
    let (world, socket) = (World::new(), socket());
    world.net.plan("127.0.0.1:80", REFUSED);
    let error = world.connect(&socket, "127.0.0.1").unwrap_err();
    assert_eq!(error.to_string(), "connection refused");
    assert!(socket.close().unwrap_err().is_closed());
}

#[test]
fn names_are_resolved() {
    let (world, socket) = (World::new(), socket());
    world.net.host("a.test", Ok(&["10.0.0.1"]));
    assert_eq!(world.connect(&socket, "a.test"), Ok(()));
    assert_eq!(world.net.attempts(), ["10.0.0.1:80"]);
}

#[test]
fn what_cannot_be_resolved() {
    let (world, socket) = (World::new(), socket());
    let text = |host| world.connect(&socket, host).unwrap_err().to_string();
    assert_eq!(text("x.test"), "no resolver defined to resolve \"x.test\"");
    world
        .net
        .host("gone.test", Err(ResolveError::host_not_found()));
    assert_eq!(
        text("gone.test"),
        "gone.test could not be resolved (3: Host not found)"
    );
    world.net.host("empty.test", Ok(&[]));
    assert_eq!(
        text("empty.test"),
        "empty.test could not be resolved (3: Host not found)"
    );
    assert_eq!(
        text("[::1"),
        "failed to parse host name \"[::1\": invalid host"
    );
    assert_eq!(text(""), "failed to parse host name \"\": no host");
}

#[test]
fn several_addresses_are_tried_from_anywhere() {
    let (world, socket) = (World::new(), socket());
    world
        .net
        .host("a.test", Ok(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    world.net.set_random(5);
    world.net.plan("10.0.0.3:80", REFUSED);
    world.net.plan("10.0.0.1:80", Plan::Fail(libc::ENETUNREACH));
    assert_eq!(world.connect(&socket, "a.test"), Ok(()));
    // The first one failed before there was a connection.
    assert_eq!(world.net.attempts(), ["10.0.0.3:80", "10.0.0.2:80"]);
}

#[test]
fn the_last_failure_is_reported() {
    let (world, socket) = (World::new(), socket());
    world.net.host("a.test", Ok(&["10.0.0.1", "10.0.0.2"]));
    world.net.plan("10.0.0.1:80", REFUSED);
    world
        .net
        .plan("10.0.0.2:80", Plan::Fail(libc::EHOSTUNREACH));
    let error = world.connect(&socket, "a.test").unwrap_err();
    assert_eq!(error.to_string(), "no route to host");
    assert_eq!(error.peer.as_deref(), Some("10.0.0.2:80"));
}

#[test]
fn all_addresses_share_the_timeout() {
    let (world, socket) = (World::new(), socket());
    world
        .net
        .host("a.test", Ok(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    for ip in ["10.0.0.1:80", "10.0.0.2:80"] {
        world.net.plan(ip, Plan::Hang);
    }
    let mut task = world.start(&socket, World::request("a.test"));
    assert!(task.is_pending());
    world.net.advance(70);
    world.net.peer().finish_connect(Err(libc::ECONNREFUSED));
    assert!(task.is_pending());
    assert_eq!(world.net.peer().armed(Direction::Write), Some(30));
    world.net.advance(30);
    world.net.peer().finish_connect(Err(libc::ECONNREFUSED));
    assert_eq!(task.finish().unwrap_err().to_string(), "timeout");
    assert_eq!(world.net.attempts().len(), 2);
}

#[test]
fn the_local_address_is_passed_on() {
    let (world, socket) = (World::new(), socket());
    let local = Local {
        bind: Some("127.0.0.2:0".parse().unwrap()),
        transparent: true,
    };
    socket.set_local(local);
    assert_eq!(world.connect(&socket, "127.0.0.1"), Ok(()));
    assert_eq!(world.net.last_local(), local);
}

#[test]
fn a_pooled_connection_is_there_at_once() {
    let (world, socket) = (World::new(), socket());
    assert_eq!(world.connect_now(&socket, "127.0.0.1"), None);
    assert_eq!(world.connect(&socket, "127.0.0.1"), Ok(()));
    for times in 1..4 {
        world.keep(&socket);
        assert!(world.net.peer().parked().is_some());
        assert_eq!(world.connect_now(&socket, "127.0.0.1"), Some(Ok(())));
        assert!(world.net.peer().parked().is_none());
        assert_eq!(socket.reused_times(), Ok(times));
    }
    assert_eq!(world.net.attempts().len(), 1);
}

#[test]
fn a_dead_pooled_connection_is_passed_over() {
    let (world, socket) = (World::new(), socket());
    world.connect(&socket, "127.0.0.1").unwrap();
    let dead = world.net.peer();
    world.keep(&socket);
    dead.eof();
    assert_eq!(world.connect(&socket, "127.0.0.1"), Ok(()));
    assert!(dead.is_closed());
    assert_eq!(world.net.attempts().len(), 2);
    assert_eq!(socket.reused_times(), Ok(0));
    world.keep(&socket);
    world.net.peer().eof();
    assert_eq!(world.connect_now(&socket, "127.0.0.1"), None);
    assert!(world.pools.is_empty());
}

#[test]
fn connecting_again_closes_the_old_connection() {
    let (world, socket) = (World::new(), socket());
    world.connect(&socket, "127.0.0.1").unwrap();
    let old = world.net.peer();
    old.feed("old data\n");
    let Begun::Ready(ReadOutcome::Data(piece)) = socket.read(Mode::Exact(3)) else {
        panic!()
    };
    socket.take(piece, |_| ());
    assert_eq!(world.connect(&socket, "127.0.0.1"), Ok(()));
    assert!(old.is_closed());
    world.net.peer().feed("new\n");
    let Begun::Ready(ReadOutcome::Data(piece)) = socket.read(Mode::Line) else {
        panic!()
    };
    assert_eq!(socket.take(piece, <[u8]>::to_vec), b"new");
}

#[test]
fn a_busy_socket_is_not_closed() {
    let (world, socket) = (World::new(), socket());
    world.connect(&socket, "127.0.0.1").unwrap();
    let Begun::Pending(_op) = socket.read(Mode::Line) else {
        panic!()
    };
    let busy = world
        .connect_now(&socket, "127.0.0.1")
        .unwrap()
        .unwrap_err();
    assert_eq!(busy.to_string(), "socket busy reading");
    let busy = world.connect(&socket, "127.0.0.1").unwrap_err();
    assert_eq!(busy.to_string(), "socket busy reading");
    assert!(!world.net.peer().is_closed());
}

#[test]
fn a_killed_connect_gives_everything_back() {
    let (world, socket) = (World::new(), socket());
    world.net.hang_resolver();
    world.net.host("a.test", Ok(&["10.0.0.1"]));
    world.net.plan("10.0.0.1:80", Plan::Hang);
    let mut task = world.start(&socket, World::limited("a.test", 1, 0));
    assert!(task.is_pending());
    assert_eq!(world.net.queries(), 1);
    drop(task);
    assert_eq!(world.net.queries(), 0);
    assert!(world.pools.is_empty());
    let mut task = world.start(&socket, World::limited("a.test", 1, 0));
    assert!(task.is_pending());
    world.net.answer();
    assert!(task.is_pending());
    drop(task);
    assert!(world.net.peer().is_closed());
    assert!(world.pools.is_empty());
    assert!(socket.close().unwrap_err().is_closed());
}

#[test]
fn the_backlog_queues_then_refuses() {
    let world = World::new();
    let [first, second, third] = [socket(), socket(), socket()];
    let request = || World::limited("127.0.0.1", 1, 1);
    assert_eq!(world.start(&first, request()).finish(), Ok(()));
    let mut waiting = world.start(&second, request());
    assert!(waiting.is_pending());
    let error = world.start(&third, request()).finish().unwrap_err();
    assert_eq!(error.to_string(), "too many waiting connect operations");
    first.close().unwrap();
    assert_eq!(waiting.wakes(), 1);
    assert_eq!(waiting.finish(), Ok(()));
    assert_eq!(second.reused_times(), Ok(0));
}

#[test]
fn a_queued_connect_gets_the_connection_put_back() {
    let world = World::new();
    let [first, second] = [socket(), socket()];
    let request = || World::limited("127.0.0.1", 1, 1);
    assert_eq!(world.start(&first, request()).finish(), Ok(()));
    let mut waiting = world.start(&second, request());
    assert!(waiting.is_pending());
    world.keep(&first);
    assert_eq!(waiting.finish(), Ok(()));
    assert_eq!(second.reused_times(), Ok(1));
    assert_eq!(world.net.attempts().len(), 1);
}

#[test]
fn a_queued_connect_times_out() {
    let world = World::new();
    let [first, second] = [socket(), socket()];
    let request = || World::limited("127.0.0.1", 1, 1);
    assert_eq!(world.start(&first, request()).finish(), Ok(()));
    let mut waiting = world.start(&second, request());
    assert!(waiting.is_pending());
    world.net.fire_sleeps();
    let error = waiting.finish().unwrap_err();
    assert_eq!(error.to_string(), "timeout");
    assert_eq!(
        error.log_line().unwrap(),
        "lua tcp socket queued connect timed out, when trying to connect to 127.0.0.1:80"
    );
    first.close().unwrap();
    assert!(world.pools.is_empty());
}

#[test]
fn a_failed_connect_frees_its_slot() {
    let world = World::new();
    let [first, second] = [socket(), socket()];
    world.net.plan("127.0.0.1:80", Plan::Hang);
    let request = || World::limited("127.0.0.1", 1, 1);
    let mut failing = world.start(&first, request());
    assert!(failing.is_pending());
    let mut waiting = world.start(&second, request());
    assert!(waiting.is_pending());
    world.net.peer().finish_connect(Err(libc::ECONNREFUSED));
    assert!(failing.finish().is_err());
    assert!(waiting.is_pending());
    assert_eq!(world.net.peer().armed(Direction::Write), Some(100));
    world.net.peer().finish_connect(Ok(()));
    assert_eq!(waiting.finish(), Ok(()));
}

/// A waker that resumes Lua at once: whatever it wakes runs before the caller goes on.
mod inline {
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    type Script = Pin<Box<dyn Future<Output = ()>>>;

    thread_local!(static PARKED: RefCell<Option<Script>> = const { RefCell::new(None) });

    struct Resume;

    impl Wake for Resume {
        fn wake(self: Arc<Self>) {
            resume();
        }
    }

    fn resume() {
        let Some(mut script) = PARKED.take() else {
            return;
        };
        let waker = Waker::from(Arc::new(Resume));
        if script
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            PARKED.set(Some(script));
        }
    }

    pub fn run(script: impl Future<Output = ()> + 'static) {
        PARKED.set(Some(Box::pin(script)));
        resume();
    }

    pub fn is_done() -> bool {
        PARKED.with_borrow(Option::is_none)
    }
}

/// Whatever frees a slot may run another light thread on the spot, which may use this socket.
#[test]
fn a_wake_up_may_come_back_to_the_same_socket() {
    let frees: [fn(&Sock, &World); 4] = [
        |socket, _| socket.close().unwrap(),
        |socket, _| socket.abandon(),
        |socket, world| world.keep(socket),
        |socket, world| {
            world.net.plan("127.0.0.2:80", REFUSED);
            assert!(world.connect(socket, "127.0.0.2").is_err());
        },
    ];
    for free in frees {
        let world = World::new();
        let [first, second] = [socket(), socket()];
        let request = || World::limited("127.0.0.1", 1, 1);
        assert_eq!(world.start(&first, request()).finish(), Ok(()));
        let connecting = connect(
            second.clone(),
            world.net.clone(),
            world.pools.clone(),
            request(),
        );
        let other = first.clone();
        inline::run(async move {
            connecting.await.unwrap();
            // None of these may find anything borrowed.
            let _ = other.close();
            let _ = other.read(Mode::Line);
            let _ = other.send(b"x");
            let _ = other.status();
        });
        assert!(!inline::is_done());
        free(&first, &world);
        assert!(inline::is_done());
        assert_eq!(second.status(), Status::Open);
    }
}

#[test]
fn a_collected_socket_frees_its_slot() {
    let world = World::new();
    let [first, second] = [socket(), socket()];
    let request = || World::limited("127.0.0.1", 1, 1);
    assert_eq!(world.start(&first, request()).finish(), Ok(()));
    let mut waiting = world.start(&second, request());
    assert!(waiting.is_pending());
    drop(first);
    assert_eq!(waiting.finish(), Ok(()));
}
