//! `header_filter_by_lua*` and `body_filter_by_lua*`: code that nginx's output
//! filters run, as a host of its own, since the code that makes the response may
//! run, or wait, at the same time.
//!
//! What waits, holds back the response. A header that is held back has not come
//! to the filters after ours, and the body must not come to those before: so
//! another filter of ours is the very first, and keeps the body
//! ([`header::hold`]). A part of the body that is held back keeps those after it
//! in a queue of their own ([`body`]).

pub(super) mod body;
pub(super) mod header;

use std::cell::Cell;
use std::rc::Rc;

use super::code::start;
use super::handler::RequestHandler;
use super::host::{self, Entry};
use crate::conf::LuaSource;
use crate::sys::context::Context;
use crate::sys::filter::{Chain, Queue};
use crate::sys::log::Level;
use crate::sys::phase::Phase;
use crate::sys::request::Request;
use crate::vm::{Host, Outcome, Vm};

const OK: isize = 0;
const ERROR: isize = -1;
/// Not all has been sent yet.
const AGAIN: isize = -2;

/// Who runs the code of one request's filters.
pub(super) struct Filter {
    context: Rc<Context>,
    vm: Rc<Vm>,
    entry: Entry,
    /// The phase whose code runs, or waits.
    active: Cell<Option<Phase>>,
    /// What the code has returned.
    result: Cell<Option<f64>>,
    /// The answer that comes now is one that the header filter asked for.
    raised: Cell<bool>,
    /// The header has been held back.
    has_held: Cell<bool>,
    /// The end of the main request's body has come.
    complete: Cell<bool>,
    /// Parts of the body that wait for the header.
    behind_header: Queue,
    /// The part of the body that waits for its code.
    current: Queue,
    /// Those that wait for it.
    behind_body: Queue,
}

impl Filter {
    /// That of `request`, made on the first call. None where memory is short.
    fn of(request: Request, phase: Phase) -> Option<Rc<Filter>> {
        let handler = RequestHandler::of(request, phase)?;
        let make = || {
            Rc::new(Filter {
                context: Context::beside(&handler.context, phase),
                vm: handler.vm.clone(),
                entry: Entry::default(),
                active: Cell::new(None),
                result: Cell::new(None),
                raised: Cell::new(false),
                has_held: Cell::new(false),
                complete: Cell::new(false),
                behind_header: Queue::default(),
                current: Queue::default(),
                behind_body: Queue::default(),
            })
        };
        Some(handler.filter.get_or_init(make).clone())
    }

    /// That of `request`, if there is one.
    fn existing(request: Request) -> Option<Rc<Filter>> {
        RequestHandler::existing(request)?.filter.get().cloned()
    }

    /// Runs the code of a phase; None where it waits.
    ///
    /// # Errors
    /// The status to answer with.
    fn start(
        self: &Rc<Self>,
        request: Request,
        phase: Phase,
        source: &LuaSource,
    ) -> Result<Option<Outcome>, isize> {
        self.context.set_phase(phase);
        self.active.set(Some(phase));
        self.result.set(None);
        let started = start(source, request, &self.vm, self.clone());
        let outcome = started.map(|(thread, outcome)| {
            if outcome.is_none() {
                self.entry.set(thread);
            }
            outcome
        });
        if !matches!(outcome, Ok(None)) {
            self.active.set(None);
        }
        outcome
    }

    /// Whether `chain` belongs to the response. Where a filter has answered an
    /// error, the content that it took the place of may follow: nginx relies on
    /// the answer having been sent.
    fn accepts(&self, request: Request, chain: Chain) -> bool {
        if !request.is_answered_by_filter() {
            return true;
        }
        if self.complete.get() && chain.has_bytes() {
            chain.discard();
            return false;
        }
        if chain.is_last(false) {
            self.complete.set(true);
        }
        true
    }

    /// Cancels the code that waits.
    fn cancel(&self) {
        self.active.set(None);
        self.entry.kill();
    }

    /// The request ends.
    pub(super) fn end(&self) {
        self.cancel();
        if let Some(request) = self.context.request() {
            request.release_response();
        }
        self.context.end();
    }
}

impl Host for Filter {
    fn enter(&self) {
        host::enter_request(&self.context);
    }

    fn leave(&self) {
        host::leave();
    }

    fn suspended(&self) {}

    fn ended(self: Rc<Self>, outcome: Outcome) {
        let Some(request) = self.context.request() else {
            return;
        };
        self.entry.forget();
        match self.active.take() {
            Some(Phase::HeaderFilter) => header::ended(&self, request, outcome),
            Some(_) => body::ended(&self, request, outcome),
            None => {}
        }
    }

    fn returned(&self, first: Option<f64>) {
        self.result.set(first);
    }

    fn log_error(&self, message: &[u8]) {
        // In the words that users of OpenResty look for.
        match message.strip_prefix(b"lua entry thread aborted: ") {
            Some(message) => {
                let message = message.strip_prefix(b"runtime error: ").unwrap_or(message);
                let title = self.context.phase().title();
                let text = [b"failed to run ", title.as_bytes(), b": ", message].concat();
                self.context.log(Level::Error, text);
            }
            None => self.context.log(Level::Error, message),
        }
    }
}
