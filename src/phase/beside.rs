//! Handlers that run beside the request's own, and cannot wait.

use std::rc::Rc;

use super::code::with_chunk;
use super::handler::RequestHandler;
use super::{host, module};
use crate::conf::LuaSource;
use crate::sys::context::Context;
use crate::sys::log::Level;
use crate::sys::request::Request;
use crate::vm::{Host, Outcome, sched};

/// Code that nginx calls synchronously for a request.
struct Synchronous {
    request: Request,
    context: Rc<Context>,
}

/// Runs the code of `source` to its end in `context`, which ends with it.
///
/// # Errors
/// The code failed, or wants to wait; it is logged.
pub(super) fn run_to_end(
    handler: &RequestHandler,
    request: Request,
    context: Rc<Context>,
    source: &LuaSource,
) -> Result<Outcome, ()> {
    let host = Rc::new(Synchronous {
        request,
        context: context.clone(),
    });
    let started = with_chunk(source, Some(request), |chunk| {
        sched::start(&handler.vm, host, chunk)
    });
    let outcome = match started {
        Some(Ok((_, Some(outcome)))) => Ok(outcome),
        Some(Ok((thread, None))) => {
            sched::kill(&thread);
            let text = format!("attempt to yield in {}", context.phase().title());
            request.log(Level::Error, text);
            Err(())
        }
        Some(Err(error)) => {
            request.log(Level::Error, error.text);
            Err(())
        }
        None => Err(()),
    };
    context.end();
    outcome
}

impl Host for Synchronous {
    fn enter(&self) {
        host::enter(Some(module::location_conf(self.request)), &self.context);
    }

    fn leave(&self) {
        host::leave();
    }

    fn suspended(&self) {}

    fn ended(self: Rc<Self>, _outcome: Outcome) {}

    fn log_error(&self, message: &[u8]) {
        self.context.log(Level::Error, message);
    }
}
