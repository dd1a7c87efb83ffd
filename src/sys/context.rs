//! What Lua code runs in: a request, or the worker itself.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::ptr;
use std::rc::Rc;

use ngx::ffi::ngx_log_t;

use super::entry::cycle_log;
use super::link::Link;
use super::log::{self, HandshakeWords, Level};
use super::output::Output;
use super::phase::Phase;
use super::request::Request;
use super::resolver::Resolver;
use super::snapshot::Snapshot;
use super::sockets::Sockets;
use super::ssl::server::{Client, Server};
use super::uri::Target;
use crate::rt::worker_local;
use crate::sock::TcpSocket;

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

/// What a handler has that outlives its request, or never had one.
struct Own {
    /// Of a timer: where it was created.
    origin: Option<Origin>,
    /// Connections of the handler write to it, from its start to its end.
    log: UnsafeCell<ngx_log_t>,
    /// Stands for the request after that has gone.
    snapshot: RefCell<Option<Snapshot>>,
    handshake: Option<Handshake>,
}

/// What a client's handshake has instead of a request.
struct Handshake {
    client: RefCell<Option<Client>>,
    // The log refers to it.
    words: Box<HandshakeWords>,
}

/// One execution context: it owns sockets and knows its request, if any.
///
/// It outlives its request where Lua or a waiting operation still holds it;
/// then [`Context::request`] is None.
pub struct Context {
    request: Cell<Option<Request>>,
    own: Option<Box<Own>>,
    /// The running phase.
    phase: Cell<Phase>,
    /// Where the request goes on when its handler ends.
    target: Cell<Option<Box<Target>>>,
    pub(super) sockets: Sockets,
    request_socket: RefCell<Option<TcpSocket<Link>>>,
    /// Response output that Lua made.
    pub output: Output,
    /// The Lua table of `ngx.ctx`, anchored in the VM's registry.
    lua_table: Cell<Option<i32>>,
    /// What the phase's code works on.
    subject: OnceCell<Rc<dyn Any>>,
    /// Whose `ngx.ctx` is used instead: that of the request.
    main: RefCell<Option<Rc<Context>>>,
}

worker_local! {
    static CURRENT: RefCell<Option<Rc<Context>>> = RefCell::new(None);
    static BEFORE_SWITCH: Cell<Option<fn()>> = Cell::new(None);
    /// Its address, or null.
    static ADDRESS: Cell<*const Context> = Cell::new(ptr::null());
}

/// The context whose Lua code runs.
pub fn current() -> Option<Rc<Context>> {
    CURRENT.with(|c| c.borrow().clone())
}

/// Hands the context whose Lua code runs to `f`, which only looks at it.
pub fn with_current<R>(f: impl FnOnce(&Context) -> R) -> Option<R> {
    CURRENT.with(|c| c.borrow().as_deref().map(f))
}

/// The request of the context whose Lua code runs.
#[inline(always)]
pub fn current_request() -> Option<Request> {
    // SAFETY: set_current() keeps the context at that address alive until it
    // has written another, and nothing here can call it.
    unsafe { ADDRESS.get().as_ref() }?.request()
}

/// Has `f` called once, before code of another context runs, or when that of the
/// running one stops.
pub fn before_switch(f: fn()) {
    BEFORE_SWITCH.set(Some(f));
}

/// Whether the Lua code of the context at that address runs.
#[inline(always)]
pub(super) fn is_current(context: *const Context) -> bool {
    ptr::eq(context, ADDRESS.get())
}

/// Makes `context` the one whose Lua code runs.
#[inline]
pub fn set_current(context: Option<Rc<Context>>) {
    if let Some(f) = BEFORE_SWITCH.take() {
        f();
    }
    ADDRESS.set(context.as_ref().map_or(ptr::null(), Rc::as_ptr));
    let previous = CURRENT.with(|c| c.replace(context));
    drop(previous);
}

impl Own {
    /// The handler has ended, and the request may have gone, too.
    fn end(&self) {
        if self.origin.is_none() {
            // SAFETY: the log lives as long as this; only its text refers to
            // the request or its copy.
            unsafe {
                (*self.log.get()).handler = None;
                (*self.log.get()).data = ptr::null_mut();
            }
        }
        let snapshot = self.snapshot.borrow_mut().take();
        drop(snapshot);
        if let Some(handshake) = &self.handshake {
            handshake.words.forget();
            drop(handshake.client.take());
        }
    }
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
        own: Option<Own>,
        phase: Phase,
        main: Option<Rc<Context>>,
    ) -> Rc<Context> {
        Rc::new(Context {
            request: Cell::new(request),
            own: own.map(Box::new),
            phase: Cell::new(phase),
            target: Cell::new(None),
            sockets: Sockets::default(),
            request_socket: RefCell::new(None),
            output: Output::new(),
            lua_table: Cell::new(None),
            subject: OnceCell::new(),
            main: RefCell::new(main),
        })
    }

    /// A context of a timer that was created in another one.
    pub fn of_timer(origin: Origin) -> Rc<Context> {
        let own = Own {
            origin: Some(origin),
            log: UnsafeCell::new(log::of_timer(origin.log)),
            snapshot: RefCell::new(None),
            handshake: None,
        };
        Context::with(None, Some(own), Phase::Timer, None)
    }

    /// A context of a client's handshake. It must end before the connection.
    pub fn of_handshake(client: Client, server: Server, phase: Phase) -> Rc<Context> {
        // SAFETY: the log of the connection is forgotten when the context ends.
        let words = unsafe { HandshakeWords::new(client.log(), phase.title()) };
        let own = Own {
            origin: Some(Origin {
                resolver: Some(server.resolver()),
                log: server.error_log(),
            }),
            log: UnsafeCell::new(log::of_handshake(server.error_log(), &words)),
            snapshot: RefCell::new(None),
            handshake: Some(Handshake {
                client: RefCell::new(Some(client)),
                words,
            }),
        };
        Context::with(None, Some(own), phase, None)
    }

    fn handshake(&self) -> Option<&Handshake> {
        self.own.as_ref()?.handshake.as_ref()
    }

    /// TLS of the client's connection, if there is any.
    pub fn client(&self) -> Option<Client> {
        match (self.request(), self.handshake()) {
            (Some(request), _) => request.client_tls(),
            (None, Some(handshake)) => handshake.client.borrow().clone(),
            (None, None) => None,
        }
    }

    /// A context for the log phase of `request`, which may go on without it,
    /// see [`Context::detach`]; `main` is the request's own.
    pub fn of_log(request: Request, main: Option<Rc<Context>>) -> Rc<Context> {
        let own = Own {
            origin: None,
            // SAFETY: the request's log lives as long as the request; before
            // that goes, detach() or end() change the copy.
            log: UnsafeCell::new(unsafe { log::copy_of(request.log_ptr()) }),
            snapshot: RefCell::new(None),
            handshake: None,
        };
        Context::with(Some(request), Some(own), Phase::Log, main)
    }

    /// Goes on without the request, which nginx is about to free: with a copy,
    /// and with its `ngx.ctx`. False where memory is short.
    pub fn detach(&self) -> bool {
        let (Some(request), Some(own)) = (self.request(), &self.own) else {
            return false;
        };
        let Some(snapshot) = Snapshot::of(request, own.log.get()) else {
            return false;
        };
        let main = self.main.take();
        if let Some(main) = main {
            self.lua_table.set(main.set_lua_table(None));
        }
        self.request.set(Some(snapshot.request()));
        *own.snapshot.borrow_mut() = Some(snapshot);
        true
    }

    /// What a timer takes over that is created here.
    pub fn origin(&self) -> Origin {
        match (self.request(), self.own_origin()) {
            (Some(request), _) => Origin {
                resolver: Some(request.resolver()),
                log: request.error_log(),
            },
            (None, Some(origin)) => origin,
            (None, None) => Origin::of_worker(),
        }
    }

    /// The `resolver` directive that applies.
    pub fn resolver(&self) -> Option<Resolver> {
        match (self.request(), self.own_origin()) {
            (Some(request), _) => Some(request.resolver()),
            (None, Some(origin)) => origin.resolver,
            (None, None) => Resolver::of_worker(),
        }
    }

    fn own_origin(&self) -> Option<Origin> {
        self.own.as_ref()?.origin
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
    pub fn set_target(&self, target: Option<Box<Target>>) -> Option<Box<Target>> {
        self.target.replace(target)
    }

    /// Says which phase runs.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
        if let Some(handshake) = self.handshake() {
            handshake.words.set_title(phase.title());
        }
    }

    /// Whether it is too late to change the header of the response. Lua's
    /// output is deferred: what it has written counts as sent.
    pub fn header_is_final(&self, request: Request) -> bool {
        // A header filter may hold it back.
        self.phase() != Phase::HeaderFilter && (self.output.committed() || request.header_sent())
    }

    /// Says, once, what the phase's code works on beside the request: what
    /// that is, its phase knows.
    pub fn set_subject(&self, subject: Rc<dyn Any>) {
        let _ = self.subject.set(subject);
    }

    /// What the phase's code works on, if it is a `T`.
    pub fn subject<T: 'static>(&self) -> Option<Rc<T>> {
        Rc::downcast(self.subject.get()?.clone()).ok()
    }

    /// Anchor of the `ngx.ctx` table.
    pub fn lua_table(&self) -> Option<i32> {
        match &*self.main.borrow() {
            Some(main) => main.lua_table.get(),
            None => self.lua_table.get(),
        }
    }

    /// Sets the anchor of the `ngx.ctx` table; returns the one before.
    #[inline(always)]
    pub fn set_lua_table(&self, anchor: Option<i32>) -> Option<i32> {
        match &*self.main.borrow() {
            Some(main) => main.lua_table.replace(anchor),
            None => self.lua_table.replace(anchor),
        }
    }

    /// Makes `socket` the request socket, which is closed when the handler
    /// that answers the request ends.
    pub fn set_request_socket(&self, socket: TcpSocket<Link>) {
        let previous = self.request_socket.replace(Some(socket));
        drop(previous);
    }

    /// The request socket.
    pub fn request_socket(&self) -> Option<TcpSocket<Link>> {
        self.request_socket.borrow().clone()
    }

    /// Has the request look as what is left of its body demands: a handler
    /// has ended, and nginx goes on.
    #[inline]
    pub fn settle_request_socket(&self) {
        let socket = self.request_socket.borrow().clone();
        if let Some(socket) = socket {
            socket.with_transport(Link::settle);
        }
    }

    /// Closes the request socket: the client's connection is nginx's again.
    #[inline(always)]
    pub fn close_request_socket(&self) {
        let socket = self.request_socket.take();
        if let Some(socket) = socket {
            socket.abandon();
        }
    }

    /// Closes everything that the context owns and forgets the request.
    /// Operations in flight must have been dropped before.
    #[inline(always)]
    pub fn end(&self) {
        self.close_request_socket();
        self.sockets.give_up();
        self.request.set(None);
        if let Some(own) = &self.own {
            own.end();
        }
    }

    /// Closes the sockets that the context owns.
    pub fn close_sockets(&self) {
        self.sockets.close();
    }

    /// The log that fits: the request's, which adds the client to messages,
    /// one of its own, or the worker's.
    pub fn log_ptr(&self) -> *mut ngx_log_t {
        match (&self.own, self.request()) {
            (Some(own), _) => own.log.get(),
            (None, Some(request)) => request.log_ptr(),
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
