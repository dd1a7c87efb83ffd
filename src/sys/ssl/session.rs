//! TLS sessions that a later handshake can resume.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;

use ngx::ffi::{SSL_SESSION, SSL_SESSION_free, SSL_SESSION_is_resumable};

use super::context::SslContext;

/// A session. With TLS 1.3 it changes when a ticket arrives, so this is the
/// place that holds the latest one.
#[derive(Clone)]
pub struct SslSession(Rc<Slot>);

struct Slot {
    session: Cell<*mut SSL_SESSION>,
    /// Whose trusted certificates the peer's were held against.
    judge: RefCell<Option<Rc<SslContext>>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: the slot owns one reference; null is accepted.
        unsafe { SSL_SESSION_free(self.session.get()) }
    }
}

impl SslSession {
    /// A place that holds no session yet.
    pub(in crate::sys) fn empty() -> SslSession {
        SslSession(Rc::new(Slot {
            session: Cell::new(ptr::null_mut()),
            judge: RefCell::default(),
        }))
    }

    /// Puts in a newer session, whose reference it takes over.
    pub(super) fn replace(&self, session: *mut SSL_SESSION) {
        let old = self.0.session.replace(session);
        // SAFETY: the slot owned one reference to it.
        unsafe { SSL_SESSION_free(old) }
    }

    pub(super) fn raw(&self) -> *mut SSL_SESSION {
        self.0.session.get()
    }

    /// Says whose trusted certificates the peer's were held against: those of
    /// `context`, or others.
    pub(super) fn set_judge(&self, context: Option<Rc<SslContext>>) {
        let old = self.0.judge.replace(context);
        drop(old);
    }

    pub(super) fn judge(&self) -> Option<Rc<SslContext>> {
        self.0.judge.borrow().clone()
    }

    /// Whether a handshake can resume it.
    pub fn is_resumable(&self) -> bool {
        let session = self.raw();
        // SAFETY: not null, so the slot owns a reference.
        !session.is_null() && unsafe { SSL_SESSION_is_resumable(session) != 0 }
    }

    /// Whether there is a session at all.
    pub fn is_empty(&self) -> bool {
        self.raw().is_null()
    }
}
