//! A client's handshake from its first byte until its ClientHello has been
//! handed to OpenSSL.
//!
//! nginx knows two reasons to wait inside of a handshake: to read and to write.
//! So an [`Arrival`] reads in OpenSSL's place, through a BIO that answers "try
//! again" while Lua runs, and has nginx try again when Lua is done.

use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::mem;
use std::os::raw::c_void;
use std::ptr;
use std::rc::Rc;

use ngx::ffi::{
    SSL, SSL_ctrl, SSL_get_options, SSL_use_certificate, ngx_connection_t, ngx_delete_posted_event,
    ngx_event_t, ngx_http_connection_t, ngx_post_event, ngx_posted_events, ngx_ssl_connection_t,
};

use super::bio::{self, Room, Source};
use super::credentials::Credentials;
use super::drive::{self, Held};
use super::hello::{ClientHello, Progress};
use super::hooks;
use super::intake::{Answer, Intake};
use super::kept::Info;
use super::names::Server;
use super::session::Prefetched;
use crate::sys::entry::{cycle_log, guard};

/// A plain record with a fatal alert, internal_error (RFC 8446, section 6).
const ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 80];

const SSL_CTRL_GET_MIN_PROTO_VERSION: i32 = 130;
const SSL_CTRL_GET_MAX_PROTO_VERSION: i32 = 131;

/// Versions of TLS on the wire, the newest first, with OpenSSL's options that
/// forbid them.
pub const VERSIONS: [(u16, u64); 5] = [
    (0x0304, 1 << 29),
    (0x0303, 1 << 27),
    (0x0302, 1 << 28),
    (0x0301, 1 << 26),
    (0x0300, 1 << 25),
];
/// SSL_OP_NO_TICKET
const NO_TICKET: u64 = 1 << 14;

/// Where a handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The ClientHello is not complete.
    Collecting,
    /// It is; OpenSSL has to wait.
    Waiting,
    /// OpenSSL gets the ClientHello, and nothing else so far.
    Handing,
    /// It has asked for a certificate, and has to wait.
    Asking,
    /// OpenSSL gets what was collected, and what follows.
    Passing,
    /// The handshake is not wanted.
    Refused,
    /// OpenSSL does not want it.
    Failed,
    /// The client has gone, or nginx wants to.
    Over,
}

/// The start of a client's handshake.
pub struct Arrival {
    /// Null once the connection's TLS has been freed.
    connection: Cell<*mut ngx_connection_t>,
    /// nginx's callback, which ours has replaced.
    pub(super) info: Option<Info>,
    stage: Cell<Stage>,
    intake: Intake,
    hello: OnceCell<ClientHello>,
    server: Cell<Server>,
    /// Posted when the ClientHello is there.
    event: UnsafeCell<ngx_event_t>,
    on_end: RefCell<Option<Box<dyn FnOnce()>>>,
    /// While OpenSSL waits for a certificate.
    held: Held,
    /// The code that chooses certificates has run.
    certified: Cell<bool>,
    /// The session that Lua found.
    pub(super) session: RefCell<Option<Prefetched>>,
    /// What Lua chose to present.
    pub credentials: RefCell<Credentials>,
}

impl Arrival {
    /// Puts an arrival between OpenSSL and the connection.
    ///
    /// # Safety
    /// `c` must be a client's connection of nginx's HTTP server whose handshake
    /// is about to begin, with `ssl` as its TLS.
    pub(super) unsafe fn begin(
        ssl: *mut SSL,
        c: *mut ngx_connection_t,
        info: Option<Info>,
    ) -> Option<Rc<Arrival>> {
        // SAFETY: by the caller's promise.
        let (server, source) = unsafe { (Server::current(c), Source::of(ssl)?) };
        let arrival = Rc::new(Arrival {
            connection: Cell::new(c),
            info,
            stage: Cell::new(Stage::Collecting),
            intake: Intake::of(source),
            hello: OnceCell::new(),
            server: Cell::new(server),
            // SAFETY: an ngx_event_t of zeros is nginx's initial state.
            event: UnsafeCell::new(unsafe { mem::zeroed() }),
            on_end: RefCell::default(),
            held: Held::default(),
            certified: Cell::new(false),
            session: RefCell::default(),
            credentials: RefCell::default(),
        });
        let event = arrival.event.get();
        // SAFETY: the event lives in the Rc, and leaves the queue before it.
        unsafe {
            (*event).data = Rc::as_ptr(&arrival).cast_mut().cast::<c_void>();
            (*event).handler = Some(on_hello);
            (*event).log = cycle_log();
            bio::insert(ssl, &arrival).then_some(arrival)
        }
    }

    /// nginx's connection; None once it is closed.
    pub(super) fn connection(&self) -> Option<*mut ngx_connection_t> {
        Some(self.connection.get()).filter(|c| !c.is_null())
    }

    fn tls(&self) -> Option<*mut ngx_ssl_connection_t> {
        // SAFETY: the connection is live, and has TLS while it is known here.
        self.connection().map(|c| unsafe { (*c).ssl })
    }

    pub(super) fn ssl(&self) -> Option<*mut SSL> {
        // SAFETY: as `tls`.
        self.tls().map(|tls| unsafe { (*tls).connection })
    }

    /// What the client has said.
    pub fn hello(&self) -> Option<&ClientHello> {
        self.hello.get()
    }

    /// The server that the client's name leads to, else the address's default.
    pub fn server(&self) -> Server {
        self.server.get()
    }

    /// The default server of the address.
    pub fn default_server(&self) -> Server {
        match self.connection() {
            // SAFETY: the connection is live, and one of the HTTP server.
            Some(c) => unsafe { Server::default_of(c) },
            None => self.server(),
        }
    }

    /// Has `f` called if the connection goes before the handshake may go on.
    pub fn on_end(&self, f: impl FnOnce() + 'static) {
        *self.on_end.borrow_mut() = Some(Box::new(f));
    }

    /// Notes that the code which chooses certificates has run.
    pub fn set_certified(&self) {
        self.certified.set(true);
    }

    /// Whether that code has run, for the server that nginx chose in the end.
    pub(super) fn is_certified(&self) -> bool {
        let chosen = self
            .connection()
            // SAFETY: the connection is live, and one of the HTTP server.
            .map(|c| unsafe { Server::current(c) });
        self.certified.get() && chosen == Some(self.server())
    }

    /// The handshake goes on.
    pub fn pass(&self) {
        self.end_wait(Stage::Passing);
    }

    /// The handshake is not to go on: the client gets an alert.
    pub fn refuse(&self) {
        self.end_wait(Stage::Refused);
    }

    fn end_wait(&self, stage: Stage) {
        drop(self.on_end.take());
        if let Stage::Waiting | Stage::Handing | Stage::Asking = self.stage.get() {
            self.stage.set(stage);
            if let Some(c) = self.connection() {
                // SAFETY: the connection is live; nginx goes on with the
                // handshake from its read event.
                unsafe {
                    self.held.release(c);
                    ngx_post_event((*c).read, &raw mut ngx_posted_events);
                }
            }
        }
    }

    /// Ends what waits for the connection.
    pub(super) fn give_up(&self) {
        if self.stage.get() != Stage::Failed {
            self.stage.set(Stage::Over);
        }
        let on_end = self.on_end.take();
        if let Some(on_end) = on_end {
            on_end();
        }
    }

    /// Whether OpenSSL waits, for a client that is there.
    pub(super) fn still_waits(&self) -> bool {
        self.stage.get() == Stage::Asking && !self.is_gone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.stage.get() == Stage::Failed
    }

    /// The connection is going.
    pub(super) fn abandon(&self) {
        self.connection.set(ptr::null_mut());
        let event = self.event.get();
        // SAFETY: the event is initialised.
        unsafe {
            if (*event).posted() != 0 {
                ngx_delete_posted_event(event);
            }
        }
        self.give_up();
    }

    /// The version of TLS that will be used, as far as it depends on what both
    /// sides allow. 0: none.
    pub fn version(&self) -> u16 {
        let (Some(ssl), Some(hello)) = (self.ssl(), self.hello()) else {
            return 0;
        };
        // SAFETY: the TLS is live.
        let (options, min, max) = unsafe {
            let limit = |which| SSL_ctrl(ssl, which, 0, ptr::null_mut());
            (
                SSL_get_options(ssl),
                limit(SSL_CTRL_GET_MIN_PROTO_VERSION),
                limit(SSL_CTRL_GET_MAX_PROTO_VERSION),
            )
        };
        let allowed = |version: u16, forbidden: u64| {
            let number = i64::from(version);
            options & forbidden == 0 && number >= min && (max == 0 || number <= max)
        };
        VERSIONS
            .into_iter()
            .find(|&(version, forbidden)| hello.supports(version) && allowed(version, forbidden))
            .map_or(0, |(version, _)| version)
    }

    fn allows_tickets(&self) -> bool {
        // SAFETY: the TLS is live.
        self.ssl()
            .is_some_and(|ssl| unsafe { SSL_get_options(ssl) & NO_TICKET == 0 })
    }

    /// The id by which OpenSSL will look for a session; None where it will not,
    /// or where the client itself keeps the session, in a ticket.
    pub fn session_id(&self) -> Option<&[u8]> {
        let hello = self.hello()?;
        if self.version() == super::hello::TLS1_3 {
            let mut identities = hello.identities();
            return identities.find(|id| !self.allows_tickets() && (1..=32).contains(&id.len()));
        }
        let has_ticket = self.allows_tickets() && hello.has_ticket();
        let id = hello.session_id();
        (!has_ticket && !id.is_empty()).then_some(id)
    }

    /// Gives OpenSSL the ClientHello. True if it asks for a certificate then,
    /// which is not so where a session is resumed.
    pub fn asks_for_certificate(&self) -> bool {
        let (Some(c), Some(tls)) = (self.connection(), self.tls()) else {
            return false;
        };
        if self.stage.get() != Stage::Waiting {
            return false;
        }
        self.stage.set(Stage::Handing);
        // SAFETY: the connection is live, and OpenSSL gets the ClientHello only.
        let failed = unsafe { !drive::advance(c, tls) };
        let asks = self.stage.get() == Stage::Asking;
        if failed {
            self.stage.set(Stage::Failed);
        }
        if failed || asks {
            // SAFETY: the connection is live, and this is its arrival. The
            // posted event ends a handshake that has failed.
            unsafe {
                self.held.hold(c);
                if failed {
                    ngx_post_event((*c).read, &raw mut ngx_posted_events);
                }
            }
        }
        asks
    }

    /// OpenSSL asks for a certificate. True if it has to wait for it.
    pub(super) fn has_to_wait(&self) -> bool {
        let has_to = self.stage.get() == Stage::Handing;
        if has_to {
            self.stage.set(Stage::Asking);
        }
        has_to
    }

    /// Whether the handshake was refused when OpenSSL had asked for a
    /// certificate: nginx is told.
    pub(super) fn is_refused(&self) -> bool {
        let refused = self.stage.get() == Stage::Refused;
        if refused && let Some(tls) = self.tls() {
            // SAFETY: the TLS is live.
            unsafe { (*tls).set_handshake_rejected(1) };
        }
        refused
    }

    /// Whether code should have run that has not: OpenSSL has read, and took
    /// for a ClientHello, what was not understood here, or nginx has chosen
    /// another server.
    pub(super) fn was_passed_by(&self) -> bool {
        let Some(c) = self.connection() else {
            return false;
        };
        // SAFETY: the connection is live, and one of the HTTP server, without a
        // request as long as nginx sees no end of the handshake.
        let chosen = unsafe {
            if (*(*c).ssl).handshaked() != 0 {
                return false;
            }
            Server::current(c)
        };
        if self.hello().is_some() && chosen == self.server() {
            return false;
        }
        self.server.set(chosen);
        hooks::is_wanted(self)
    }

    /// OpenSSL wants to read.
    pub(super) fn read(&self, room: &mut Room) -> Answer {
        match self.stage.get() {
            Stage::Collecting => self.collect(),
            Stage::Waiting if self.is_gone() => self.give_up(),
            _ => {}
        }
        match self.stage.get() {
            Stage::Collecting | Stage::Waiting | Stage::Asking => Answer::TryAgain,
            Stage::Handing => self.intake.hand_on_hello(room),
            Stage::Passing => self.intake.pass_on(room, self.is_quiet()),
            Stage::Refused => {
                self.send_alert();
                Answer::Failed
            }
            Stage::Failed | Stage::Over => Answer::End,
        }
    }

    /// Reads on until the ClientHello is complete.
    fn collect(&self) {
        match self.intake.collect() {
            Progress::Incomplete => {}
            Progress::Unintelligible => self.stage.set(Stage::Passing),
            Progress::Complete(hello) => self.receive(hello),
        }
    }

    fn receive(&self, hello: ClientHello) {
        if let Some(c) = self.connection()
            && let Some(name) = hello.server_name()
        {
            // SAFETY: the connection is live, and one of the HTTP server.
            self.server.set(unsafe { Server::of_name(c, name) });
        }
        let _ = self.hello.set(hello);
        if hooks::is_wanted(self) {
            self.stage.set(Stage::Waiting);
            // SAFETY: the event is initialised, and taken back by `abandon`.
            unsafe { ngx_post_event(self.event.get(), &raw mut ngx_posted_events) };
        } else {
            self.stage.set(Stage::Passing);
        }
    }

    /// Whether there is nobody left to wait for. What else the client sends is
    /// taken in, so that its end shows.
    fn is_gone(&self) -> bool {
        let Some(c) = self.connection() else {
            return true;
        };
        // SAFETY: the connection is live; the flags say what nginx has seen.
        let (ended, ready) = unsafe {
            let read = (*c).read;
            let ended = (*c).close() != 0 || (*c).error() != 0 || (*read).pending_eof() != 0;
            (ended, (*read).ready() != 0)
        };
        ended || ready && !self.intake.go_on()
    }

    /// Whether nginx has told of nothing since OpenSSL wanted to read last.
    fn is_quiet(&self) -> bool {
        self.connection().is_some_and(|c| {
            // SAFETY: the connection is live.
            unsafe { (*(*c).read).ready() == 0 }
        })
    }

    /// What OpenSSL read from before, once it needs nothing from here.
    pub(super) fn take_drained_source(&self) -> Option<Source> {
        let passing = self.stage.get() == Stage::Passing;
        passing.then(|| self.intake.take_source()).flatten()
    }

    /// Whether OpenSSL reads by itself.
    pub(super) fn is_spent(&self) -> bool {
        self.intake.is_spent()
    }

    fn send_alert(&self) {
        let (Some(tls), Some(ssl)) = (self.tls(), self.ssl()) else {
            return;
        };
        self.intake.write(&ALERT);
        // SAFETY: the TLS is live. nginx takes an empty queue of errors for a
        // client that has gone; the second call leaves one, about its null.
        unsafe {
            (*tls).set_handshake_rejected(1);
            SSL_use_certificate(ssl, ptr::null_mut());
        }
    }

    /// The HTTP connection's structure of nginx's.
    ///
    /// # Safety
    /// `c` must be live and one of the HTTP server.
    pub(super) unsafe fn http(c: *mut ngx_connection_t) -> *mut ngx_http_connection_t {
        // SAFETY: by the caller's promise.
        unsafe { (*c).data.cast() }
    }
}

/// The ClientHello is there: nothing of OpenSSL is on the stack any more.
unsafe extern "C" fn on_hello(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: `data` points into the Rc, which takes the event back before
        // it goes; the new reference keeps it for the call.
        let arrival = unsafe {
            let arrival = (*event).data.cast::<Arrival>().cast_const();
            Rc::increment_strong_count(arrival);
            Rc::from_raw(arrival)
        };
        if arrival.is_gone() {
            arrival.end_wait(Stage::Over);
        } else if !guard(false, || {
            hooks::run(&arrival);
            true
        }) {
            arrival.refuse();
        }
    });
}
