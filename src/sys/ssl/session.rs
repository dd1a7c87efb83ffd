//! TLS sessions that a later handshake can resume.

use std::cell::RefCell;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use ngx::ffi::{SSL_SESSION, SSL_SESSION_free, SSL_SESSION_is_resumable};

use super::context::SslContext;
use super::verify::NameCheck;

/// A place for a session: the latest one of the connections it was made by or
/// offered on. With TLS 1.3 tickets arrive after the handshake, and each is good
/// for one connection.
#[derive(Clone, Default)]
pub struct SslSession(Rc<Slot>);

#[derive(Default)]
struct Slot(RefCell<Option<Judged>>);

/// A session and whose trusted certificates the peer's were held against.
struct Judged {
    session: NonNull<SSL_SESSION>,
    judge: Option<Rc<SslContext>>,
}

impl Drop for Judged {
    fn drop(&mut self) {
        // SAFETY: it owns one reference.
        unsafe { SSL_SESSION_free(self.session.as_ptr()) }
    }
}

impl SslSession {
    /// Puts in a newer session, whose reference it takes over. `judge`: the
    /// context that verified the peer with its own trusted certificates, if
    /// one did.
    pub(super) fn replace(&self, session: *mut SSL_SESSION, judge: Option<Rc<SslContext>>) {
        let judged = NonNull::new(session).map(|session| Judged { session, judge });
        let old = self.0.0.replace(judged);
        drop(old);
    }

    /// Null where there is none.
    pub(super) fn raw(&self) -> *mut SSL_SESSION {
        let judged = self.0.0.borrow();
        judged
            .as_ref()
            .map_or(ptr::null_mut(), |j| j.session.as_ptr())
    }

    pub(super) fn judge(&self) -> Option<Rc<SslContext>> {
        self.0.0.borrow().as_ref().and_then(|j| j.judge.clone())
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

/// Where the TLS of a connection comes from.
pub struct Origin {
    /// The place for its sessions.
    pub session: SslSession,
    /// Who verified the peer if the session that was offered is resumed.
    pub(super) resumed: Option<Rc<SslContext>>,
    /// Who did if it is not.
    pub(super) fresh: Option<Rc<SslContext>>,
    /// The name that the peer's certificate was found to be for.
    pub(super) name: NameCheck,
}

impl Origin {
    /// Of a connection that will be made under `context`, with a session that
    /// may be resumed. `own_trust`: the context's certificates are trusted, no
    /// others.
    pub(super) fn new(
        context: &Rc<SslContext>,
        session: Option<&SslSession>,
        own_trust: bool,
    ) -> Origin {
        Origin {
            session: session.cloned().unwrap_or_default(),
            resumed: session.and_then(SslSession::judge),
            fresh: own_trust.then(|| context.clone()),
            name: NameCheck::default(),
        }
    }

    /// Who verified the peer.
    pub(super) fn judge(&self, resumed: bool) -> Option<&Rc<SslContext>> {
        let judge = if resumed { &self.resumed } else { &self.fresh };
        judge.as_ref()
    }
}
