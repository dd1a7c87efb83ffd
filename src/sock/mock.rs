//! A scripted peer, network and clock for the tests of the engine.
//!
//! A test holds the [`Peer`] of each connection: what it feeds arrives in the same pieces, and it
//! looks at what was sent, at armed timers and at system calls made.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::rt::Millis;
use crate::sock::address::Address;
use crate::sock::error::{Error, ResolveError, Stage};
use crate::sock::net::{Local, Net};
use crate::sock::pool::IdleKey;
use crate::sock::transport::{Direction, Timer, Transport};

/// What the peer does next.
enum Arrival {
    Data(Vec<u8>),
    Eof,
    Error(i32),
}

/// One direction of a scripted connection.
#[derive(Default)]
struct Half {
    ready: bool,
    waker: Option<Waker>,
    armed: Option<Millis>,
    timed_out: bool,
    arms: usize,
    calls: usize,
}

#[derive(Default)]
struct State {
    arrivals: VecDeque<Arrival>,
    sent: Vec<u8>,
    /// How many more bytes may be sent; `None` is no limit.
    window: Option<usize>,
    send_error: Option<i32>,
    read: Half,
    write: Half,
    connected: Option<Result<(), i32>>,
    disowned: bool,
    parked: Option<(IdleKey, Option<Millis>)>,
    closed: bool,
}

impl State {
    fn half(&mut self, dir: Direction) -> &mut Half {
        match dir {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

/// The test's end of a connection.
#[derive(Clone)]
pub struct Peer(Rc<RefCell<State>>);

impl Peer {
    /// A connected transport and its peer.
    pub fn connected() -> (MockTransport, Peer) {
        let peer = Peer::connecting(Some(Ok(())));
        (MockTransport(peer.clone()), peer)
    }

    fn connecting(connected: Option<Result<(), i32>>) -> Peer {
        let peer = Peer(Rc::default());
        peer.0.borrow_mut().connected = connected;
        peer.0.borrow_mut().write.ready = true;
        peer
    }

    /// Delivers the readiness of `dir`, as the event loop would.
    pub fn wake(&self, dir: Direction) {
        let waker = {
            let mut state = self.0.borrow_mut();
            state.half(dir).ready = true;
            state.half(dir).waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    pub fn feed(&self, data: impl AsRef<[u8]>) {
        self.0
            .borrow_mut()
            .arrivals
            .push_back(Arrival::Data(data.as_ref().to_vec()));
        self.wake(Direction::Read);
    }

    pub fn eof(&self) {
        self.0.borrow_mut().arrivals.push_back(Arrival::Eof);
        self.wake(Direction::Read);
    }

    pub fn fail_read(&self, errno: i32) {
        self.0
            .borrow_mut()
            .arrivals
            .push_back(Arrival::Error(errno));
        self.wake(Direction::Read);
    }

    /// From now on the kernel takes `window` bytes and then blocks.
    pub fn set_window(&self, window: usize) {
        self.0.borrow_mut().window = Some(window);
        self.wake(Direction::Write);
    }

    pub fn fail_send(&self, errno: i32) {
        self.0.borrow_mut().send_error = Some(errno);
        self.wake(Direction::Write);
    }

    pub fn finish_connect(&self, result: Result<(), i32>) {
        self.0.borrow_mut().connected = Some(result);
        self.wake(Direction::Write);
    }

    /// Lets the timer of `dir` fire; it must be armed.
    pub fn fire_timer(&self, dir: Direction) {
        let waker = {
            let mut state = self.0.borrow_mut();
            let half = state.half(dir);
            assert!(half.armed.take().is_some(), "no timer armed");
            half.timed_out = true;
            half.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    pub fn sent(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().sent)
    }

    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    pub fn armed(&self, dir: Direction) -> Option<Millis> {
        self.0.borrow_mut().half(dir).armed
    }

    /// How often the timer of `dir` was armed.
    pub fn arms(&self, dir: Direction) -> usize {
        self.0.borrow_mut().half(dir).arms
    }

    /// How many `recv` or `send` calls were made.
    pub fn calls(&self, dir: Direction) -> usize {
        self.0.borrow_mut().half(dir).calls
    }

    pub fn parked(&self) -> Option<(IdleKey, Option<Millis>)> {
        self.0.borrow().parked
    }

    pub fn is_waited_for(&self, dir: Direction) -> bool {
        self.0.borrow_mut().half(dir).waker.is_some()
    }
}

/// The engine's end of a connection.
pub struct MockTransport(Peer);

fn would_block<T>() -> io::Result<T> {
    Err(io::ErrorKind::WouldBlock.into())
}

impl Transport for MockTransport {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.0.borrow_mut();
        assert!(!buf.is_empty());
        state.read.calls += 1;
        match state.arrivals.pop_front() {
            None => {
                state.read.ready = false;
                would_block()
            }
            Some(Arrival::Eof) => Ok(0),
            Some(Arrival::Error(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Arrival::Data(mut data)) => {
                let n = data.len().min(buf.len());
                buf[..n].copy_from_slice(&data[..n]);
                if n < data.len() {
                    state.arrivals.push_front(Arrival::Data(data.split_off(n)));
                }
                state.read.ready = !state.arrivals.is_empty();
                Ok(n)
            }
        }
    }

    fn send(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.borrow_mut();
        assert!(!data.is_empty());
        state.write.calls += 1;
        if let Some(errno) = state.send_error {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let n = data.len().min(state.window.unwrap_or(usize::MAX));
        if n == 0 {
            state.write.ready = false;
            return would_block();
        }
        state.window = state.window.map(|window| window - n);
        state.sent.extend(&data[..n]);
        Ok(n)
    }

    fn ready(&self, dir: Direction) -> bool {
        self.0.0.borrow_mut().half(dir).ready
    }

    fn wait(&mut self, dir: Direction, waker: &Waker, timer: Timer) {
        let mut state = self.0.0.borrow_mut();
        let half = state.half(dir);
        half.waker = Some(waker.clone());
        if let Timer::Arm(timeout) = timer {
            half.armed = Some(timeout);
            half.timed_out = false;
            half.arms += 1;
        }
    }

    fn timed_out(&self, dir: Direction) -> bool {
        self.0.0.borrow_mut().half(dir).timed_out
    }

    fn cancel_wait(&mut self, dir: Direction) {
        let mut state = self.0.0.borrow_mut();
        let half = state.half(dir);
        (half.waker, half.armed, half.timed_out) = (None, None, false);
    }

    fn connect_result(&mut self) -> Poll<io::Result<()>> {
        match self.0.0.borrow().connected {
            None => Poll::Pending,
            Some(result) => Poll::Ready(result.map_err(io::Error::from_raw_os_error)),
        }
    }

    fn disown(&mut self) {
        self.0.0.borrow_mut().disowned = true;
    }

    fn park(&mut self, key: IdleKey, timeout: Option<Millis>) {
        let mut state = self.0.0.borrow_mut();
        assert!(state.disowned, "a handler owns it");
        state.parked = Some((key, timeout));
    }

    fn is_quiet(&mut self) -> bool {
        let mut state = self.0.0.borrow_mut();
        state.read.ready = !state.arrivals.is_empty();
        !state.read.ready
    }

    fn fd(&self) -> RawFd {
        3
    }
}

impl Drop for MockTransport {
    fn drop(&mut self) {
        let mut state = self.0.0.borrow_mut();
        state.closed = true;
        (state.read, state.write) = Default::default();
    }
}

/// What becomes of a connect.
#[derive(Clone, Copy)]
pub enum Plan {
    Accept,
    Fail(i32),
    /// Stays in progress until the peer's `finish_connect`.
    Hang,
}

#[derive(Default)]
struct Sleep {
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Network {
    hosts: HashMap<String, Result<Vec<IpAddr>, ResolveError>>,
    plans: HashMap<String, Plan>,
    opened: Vec<(String, Local, Peer)>,
    sleeps: Vec<Rc<Sleep>>,
    resolving: Vec<Rc<Sleep>>,
    resolver_hangs: bool,
    now: Millis,
    random: u32,
}

/// A scripted network. Addresses without a plan accept.
#[derive(Clone, Default)]
pub struct MockNet(Rc<RefCell<Network>>);

impl MockNet {
    pub fn host(&self, name: &str, answer: Result<&[&str], ResolveError>) {
        let answer = answer.map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect());
        self.0.borrow_mut().hosts.insert(name.to_owned(), answer);
    }

    pub fn plan(&self, address: &str, plan: Plan) {
        self.0.borrow_mut().plans.insert(address.to_owned(), plan);
    }

    pub fn set_random(&self, random: u32) {
        self.0.borrow_mut().random = random;
    }

    pub fn advance(&self, time: Millis) {
        self.0.borrow_mut().now += time;
    }

    /// Queries stay unanswered until [`answer`](Self::answer).
    pub fn hang_resolver(&self) {
        self.0.borrow_mut().resolver_hangs = true;
    }

    pub fn answer(&self) {
        let queries = self.0.borrow().resolving.clone();
        queries.iter().for_each(fire);
    }

    /// Lets every `sleep` end.
    pub fn fire_sleeps(&self) {
        let sleeps = self.0.borrow().sleeps.clone();
        sleeps.iter().for_each(fire);
    }

    /// How many queries are under way.
    pub fn queries(&self) -> usize {
        self.0
            .borrow()
            .resolving
            .iter()
            .filter(|query| Rc::strong_count(query) > 1)
            .count()
    }

    /// The addresses connected to so far, in order.
    pub fn attempts(&self) -> Vec<String> {
        self.0
            .borrow()
            .opened
            .iter()
            .map(|opened| opened.0.clone())
            .collect()
    }

    pub fn last_local(&self) -> Local {
        self.0.borrow().opened.last().expect("nothing was opened").1
    }

    /// The peer of the last connection opened.
    pub fn peer(&self) -> Peer {
        self.0
            .borrow()
            .opened
            .last()
            .expect("nothing was opened")
            .2
            .clone()
    }
}

fn fire(sleep: &Rc<Sleep>) {
    sleep.fired.set(true);
    let waker = sleep.waker.take();
    waker.into_iter().for_each(Waker::wake);
}

fn fired(sleep: Rc<Sleep>) -> impl Future<Output = ()> {
    poll_fn(move |cx| match sleep.fired.get() {
        true => Poll::Ready(()),
        false => {
            sleep.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        }
    })
}

impl Net for MockNet {
    type Transport = MockTransport;

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        if self.0.borrow().resolver_hangs {
            let query = Rc::<Sleep>::default();
            self.0.borrow_mut().resolving.push(Rc::clone(&query));
            fired(query).await;
        }
        let answer = self.0.borrow().hosts.get(host).cloned();
        let ips = answer.unwrap_or(Err(ResolveError::NoResolver))?;
        Ok(ips
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }

    fn connect(
        &self,
        address: &Address,
        name: &[u8],
        local: &Local,
    ) -> Result<MockTransport, Error> {
        assert_eq!(name, address.text());
        let mut network = self.0.borrow_mut();
        let name = address.to_string();
        let connected = match network.plans.get(&name).copied().unwrap_or(Plan::Accept) {
            Plan::Accept => Some(Ok(())),
            Plan::Fail(libc::ENETUNREACH) => {
                return Err(Error::System {
                    errno: libc::ENETUNREACH,
                    stage: Stage::Connect,
                });
            }
            Plan::Fail(errno) => Some(Err(errno)),
            Plan::Hang => None,
        };
        let peer = Peer::connecting(connected);
        network.opened.push((name, *local, peer.clone()));
        Ok(MockTransport(peer))
    }

    fn adopt(&self, transport: &mut MockTransport) {
        let mut state = transport.0.0.borrow_mut();
        assert!(state.disowned, "two handlers own it");
        (state.disowned, state.parked) = (false, None);
    }

    fn sleep(&self, _timeout: Millis) -> impl Future<Output = ()> {
        let sleep = Rc::<Sleep>::default();
        self.0.borrow_mut().sleeps.push(Rc::clone(&sleep));
        fired(sleep)
    }

    fn now(&self) -> Millis {
        self.0.borrow().now
    }

    fn random(&self) -> u32 {
        self.0.borrow().random
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A future polled by hand, and a count of its wake-ups.
pub struct Task<F: Future> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

impl<F: Future> Task<F> {
    pub fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            wakes: Arc::default(),
        }
    }

    pub fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls; panics unless it is complete.
    pub fn finish(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("still pending"),
        }
    }

    pub fn is_pending(&mut self) -> bool {
        self.poll().is_pending()
    }

    pub fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}
