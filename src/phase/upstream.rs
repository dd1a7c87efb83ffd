//! Handlers of the TLS handshakes of `proxy_pass`, which wait while Lua runs.

use std::rc::Rc;

use super::code::with_chunk;
use super::handler::RequestHandler;
use super::host::{self, Entry};
use super::module;
use crate::sys::context::Context;
use crate::sys::log::Level;
use crate::sys::request::Request;
use crate::sys::ssl::upstream::{Handlers, Pause};
use crate::vm::{Host, Outcome, sched};

/// What handshakes call.
pub static HANDLERS: Handlers = Handlers {
    is_wanted: |request, phase| module::location_conf(request).code.get(phase).is_some(),
    run,
};

/// A handshake whose Lua runs or waits.
struct UpstreamHandler {
    pause: Rc<Pause>,
    context: Rc<Context>,
    entry: Entry,
}

fn run(pause: &Rc<Pause>, request: Request) {
    let phase = pause.phase();
    let Some(source) = module::location_conf(request).code.get(phase) else {
        return pause.pass();
    };
    let Some(main) = RequestHandler::of(request, phase) else {
        return pause.refuse();
    };
    let context = Context::beside(&main.context, phase);
    context.set_subject(pause.clone());
    let handler = Rc::new(UpstreamHandler {
        pause: pause.clone(),
        context,
        entry: Entry::default(),
    });
    let ending = handler.clone();
    pause.on_end(move || ending.end());
    let started = with_chunk(source, Some(request), |chunk| {
        sched::start(&main.vm, handler.clone(), chunk)
    });
    let outcome = match started {
        Some(Ok((thread, None))) => {
            handler.entry.set(thread);
            return;
        }
        Some(Ok((_, Some(outcome)))) => outcome,
        Some(Err(error)) => {
            handler.context.log(Level::Error, error.text);
            Outcome::Error
        }
        None => Outcome::Error,
    };
    handler.conclude(outcome);
}

impl UpstreamHandler {
    /// All of the code has run.
    fn conclude(&self, outcome: Outcome) {
        self.end();
        match outcome {
            Outcome::Done | Outcome::Exit(0..300) => self.pause.pass(),
            Outcome::Exit(_) | Outcome::Error => self.pause.refuse(),
        }
    }

    /// It has, or is not to go on.
    fn end(&self) {
        self.entry.kill();
        self.context.end();
    }
}

impl Host for UpstreamHandler {
    fn enter(&self) {
        host::enter_request(&self.context);
    }

    fn leave(&self) {
        host::leave();
    }

    fn suspended(&self) {}

    fn ended(self: Rc<Self>, outcome: Outcome) {
        self.conclude(outcome);
    }

    fn log_error(&self, message: &[u8]) {
        self.context.log(Level::Error, message);
    }
}
