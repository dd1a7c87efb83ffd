//! What Lua code runs in: a request, or the worker itself.

use std::cell::{Cell, OnceCell, RefCell};
use std::ptr;
use std::rc::{Rc, Weak};

use ngx::ffi::ngx_log_t;

use super::datagram::Datagram;
use super::entry::cycle_log;
use super::link::Link;
use super::log::{self, HandshakeLog, Level};
use super::output::Output;
use super::phase::Phase;
use super::request::Request;
use super::resolver::Resolver;
use super::ssl::server::{Client, Server};
use super::uri::Target;
use crate::rt::{Arena, Key, List};
use crate::sock::{DatagramSocket, TcpSocket};

/// A socket of whatever kind, as a context owns it.
#[derive(Clone)]
pub enum Socket {
    Stream(TcpSocket<Link>),
    Datagram(DatagramSocket<Datagram>),
}

impl Socket {
    /// Its handler ended, or nobody can use it any more.
    fn abandon(&self) {
        match self {
            Socket::Stream(socket) => socket.abandon(),
            Socket::Datagram(socket) => socket.abandon(),
        }
    }
}

impl From<TcpSocket<Link>> for Socket {
    fn from(socket: TcpSocket<Link>) -> Socket {
        Socket::Stream(socket)
    }
}

impl From<DatagramSocket<Datagram>> for Socket {
    fn from(socket: DatagramSocket<Datagram>) -> Socket {
        Socket::Datagram(socket)
    }
}

#[derive(Default)]
struct Sockets {
    arena: Arena<Socket>,
    list: List,
}

impl Sockets {
    fn remove(&mut self, key: Key) -> Option<Socket> {
        self.arena.remove(&mut self.list, key)
    }
}

/// Settings of nginx's own that a handler without a request uses. They live as
/// long as the configuration that they come from.
#[derive(Clone, Copy)]
pub struct Origin {
    resolver: Option<Resolver>,
    log: *mut ngx_log_t,
}

impl Origin {
    /// The settings outside of any server.
    pub fn of_worker() -> Origin {
        Origin {
            resolver: Resolver::of_worker(),
            log: cycle_log(),
        }
    }
}

/// What a handler without a request has instead.
enum Apart {
    Timer {
        origin: Origin,
        log: Box<ngx_log_t>,
    },
    Handshake {
        origin: Origin,
        log: Box<HandshakeLog>,
        client: RefCell<Option<Client>>,
    },
}

impl Apart {
    fn origin(&self) -> Origin {
        match self {
            Apart::Timer { origin, .. } | Apart::Handshake { origin, .. } => *origin,
        }
    }

    fn log(&self) -> *mut ngx_log_t {
        match self {
            Apart::Timer { log, .. } => ptr::from_ref(&**log).cast_mut(),
            Apart::Handshake { log, .. } => log.raw(),
        }
    }
}

/// One execution context: it owns sockets and knows its request, if any.
///
/// It outlives its request where Lua or a waiting operation still holds it;
/// then [`Context::request`] is None.
pub struct Context {
    request: Cell<Option<Request>>,
    /// What a timer or a handshake has instead of a request.
    apart: Option<Apart>,
    /// The running phase.
    phase: Cell<Phase>,
    /// Where the request goes on when its handler ends.
    target: Cell<Option<Target>>,
    sockets: RefCell<Sockets>,
    request_socket: RefCell<Option<TcpSocket<Link>>>,
    /// Response output that Lua made.
    pub output: Output,
    /// The Lua table of `ngx.ctx`, anchored in the VM's registry.
    lua_table: Cell<Option<i32>>,
    /// The arguments of `set_by_lua*`.
    args: OnceCell<Vec<Vec<u8>>>,
    /// Whose `ngx.ctx` is used instead: that of the request.
    main: Option<Rc<Context>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
}

/// The context whose Lua code runs.
pub fn current() -> Option<Rc<Context>> {
    CURRENT.with(|c| c.borrow().clone())
}

/// Makes `context` the one whose Lua code runs.
pub fn set_current(context: Option<Rc<Context>>) {
    let previous = CURRENT.with(|c| c.replace(context));
    drop(previous);
}

impl Context {
    /// A context of `request`, or of the worker.
    pub fn new(request: Option<Request>, phase: Phase) -> Rc<Context> {
        Context::with(request, None, phase, None)
    }

    /// A context for a handler that runs beside the request's own, such as a
    /// filter: with sockets of its own, and the request's `ngx.ctx`.
    pub fn beside(main: &Rc<Context>, phase: Phase) -> Rc<Context> {
        Context::with(main.request(), None, phase, Some(main.clone()))
    }

    fn with(
        request: Option<Request>,
        apart: Option<Apart>,
        phase: Phase,
        main: Option<Rc<Context>>,
    ) -> Rc<Context> {
        Rc::new(Context {
            request: Cell::new(request),
            apart,
            phase: Cell::new(phase),
            target: Cell::new(None),
            sockets: RefCell::default(),
            request_socket: RefCell::new(None),
            output: Output::new(),
            lua_table: Cell::new(None),
            args: OnceCell::new(),
            main,
        })
    }

    /// A context of a timer that was created in another one.
    pub fn of_timer(origin: Origin) -> Rc<Context> {
        let log = Box::new(log::of_timer(origin.log));
        let apart = Apart::Timer { origin, log };
        Context::with(None, Some(apart), Phase::Timer, None)
    }

    /// A context of a client's handshake. It must end before the connection.
    pub fn of_handshake(client: Client, server: Server, phase: Phase) -> Rc<Context> {
        let origin = Origin {
            resolver: Some(server.resolver()),
            log: server.error_log(),
        };
        // SAFETY: the configuration outlives the connection, and the log of the
        // connection is forgotten when the context ends.
        let log = unsafe { HandshakeLog::new(origin.log, client.log(), phase.title()) };
        let apart = Apart::Handshake {
            origin,
            log,
            client: RefCell::new(Some(client)),
        };
        Context::with(None, Some(apart), phase, None)
    }

    /// TLS of the client's connection, if there is any.
    pub fn client(&self) -> Option<Client> {
        match (self.request(), &self.apart) {
            (Some(request), _) => request.client_tls(),
            (None, Some(Apart::Handshake { client, .. })) => client.borrow().clone(),
            _ => None,
        }
    }

    /// What a timer takes over that is created here.
    pub fn origin(&self) -> Origin {
        match (self.request(), &self.apart) {
            (Some(request), _) => Origin {
                resolver: Some(request.resolver()),
                log: request.error_log(),
            },
            (None, Some(apart)) => apart.origin(),
            (None, None) => Origin::of_worker(),
        }
    }

    /// The `resolver` directive that applies.
    pub fn resolver(&self) -> Option<Resolver> {
        match (self.request(), &self.apart) {
            (Some(request), _) => Some(request.resolver()),
            (None, Some(apart)) => apart.origin().resolver,
            (None, None) => Resolver::of_worker(),
        }
    }

    /// The request, while it lives.
    pub fn request(&self) -> Option<Request> {
        self.request.get()
    }

    /// The running phase.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Says where the request goes on when its handler has ended, or takes
    /// that away.
    pub fn set_target(&self, target: Option<Target>) -> Option<Target> {
        self.target.replace(target)
    }

    /// Says which phase runs.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
        if let Some(Apart::Handshake { log, .. }) = &self.apart {
            log.set_title(phase.title());
        }
    }

    /// Whether it is too late to change the header of the response. Lua's
    /// output is deferred: what it has written counts as sent.
    pub fn header_is_final(&self, request: Request) -> bool {
        self.output.committed() || request.header_sent()
    }

    /// Says what `ngx.arg` holds, once.
    pub fn set_args(&self, args: Vec<Vec<u8>>) {
        let _ = self.args.set(args);
    }

    /// Argument `n` of the code, counted from 1.
    pub fn arg(&self, n: usize) -> Option<&[u8]> {
        let arg = self.args.get()?.get(n.checked_sub(1)?)?;
        Some(arg)
    }

    /// Anchor of the `ngx.ctx` table.
    pub fn lua_table(&self) -> Option<i32> {
        match &self.main {
            Some(main) => main.lua_table(),
            None => self.lua_table.get(),
        }
    }

    /// Sets the anchor of the `ngx.ctx` table; returns the one before.
    pub fn set_lua_table(&self, anchor: Option<i32>) -> Option<i32> {
        match &self.main {
            Some(main) => main.set_lua_table(anchor),
            None => self.lua_table.replace(anchor),
        }
    }

    /// Makes the context the owner of `socket`, which is closed when the
    /// context ends.
    pub fn adopt_socket<S: Clone + Into<Socket>>(self: &Rc<Self>, socket: S) -> OwnedSocket<S> {
        let key = {
            let Sockets { arena, list } = &mut *self.sockets.borrow_mut();
            arena.push_back(list, |_| socket.clone().into())
        };
        OwnedSocket {
            socket,
            owner: Rc::downgrade(self),
            key,
        }
    }

    /// Makes `socket` the request socket, which is closed when the handler
    /// that answers the request ends.
    pub fn set_request_socket(&self, socket: TcpSocket<Link>) {
        let previous = self.request_socket.replace(Some(socket));
        drop(previous);
    }

    /// Has the request look as what is left of its body demands: a handler
    /// has ended, and nginx goes on.
    pub fn settle_request_socket(&self) {
        let socket = self.request_socket.borrow().clone();
        if let Some(socket) = socket {
            socket.with_transport(Link::settle);
        }
    }

    /// Closes the request socket: the client's connection is nginx's again.
    pub fn close_request_socket(&self) {
        let socket = self.request_socket.take();
        if let Some(socket) = socket {
            socket.abandon();
        }
    }

    /// Closes everything that the context owns and forgets the request.
    /// Operations in flight must have been dropped before.
    pub fn end(&self) {
        self.close_request_socket();
        self.close_sockets();
        self.request.set(None);
        if let Some(Apart::Handshake { log, client, .. }) = &self.apart {
            log.forget();
            drop(client.take());
        }
    }

    /// Closes the sockets that the context owns.
    pub fn close_sockets(&self) {
        // Taken out one by one: closing a socket may wake a waiting connect.
        while let Some(socket) = self.take_socket() {
            socket.abandon();
        }
    }

    fn take_socket(&self) -> Option<Socket> {
        let mut sockets = self.sockets.borrow_mut();
        let key = sockets.arena.front(&sockets.list)?;
        sockets.remove(key)
    }

    /// The log that fits: the request's, which adds the client to messages,
    /// or the worker's.
    pub fn log_ptr(&self) -> *mut ngx_log_t {
        match (self.request(), &self.apart) {
            (Some(request), _) => request.log_ptr(),
            (None, Some(apart)) => apart.log(),
            (None, None) => cycle_log(),
        }
    }

    /// Writes to error.log.
    pub fn log(&self, level: Level, message: impl AsRef<[u8]>) {
        self.log_errno(level, 0, message);
    }

    /// Writes to error.log, with `errno` described.
    pub fn log_errno(&self, level: Level, errno: i32, message: impl AsRef<[u8]>) {
        // SAFETY: a request's log lives as long as the request, which is
        // forgotten when it ends; the cycle's log is always live.
        unsafe { log::write(self.log_ptr(), level, errno, message.as_ref()) }
    }

    /// Whether error.log takes messages of `level`.
    pub fn log_enabled(&self, level: Level) -> bool {
        // SAFETY: as log_errno.
        unsafe { log::enabled(self.log_ptr(), level) }
    }
}

/// A socket with the context it belongs to. Dropping it closes the socket.
pub struct OwnedSocket<S: Clone + Into<Socket>> {
    socket: S,
    owner: Weak<Context>,
    key: Key,
}

impl<S: Clone + Into<Socket>> OwnedSocket<S> {
    /// The socket, whoever owns it.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket, if `context` owns it.
    pub fn of(&self, context: &Rc<Context>) -> Option<&S> {
        std::ptr::eq(self.owner.as_ptr(), Rc::as_ptr(context)).then_some(&self.socket)
    }
}

impl<S: Clone + Into<Socket>> Drop for OwnedSocket<S> {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade() {
            let socket = owner.sockets.borrow_mut().remove(self.key);
            drop(socket);
        }
        self.socket.clone().into().abandon();
    }
}
