//! `balancer_by_lua*`: code that chooses the peer of an upstream.

use std::rc::Rc;

use super::beside::run_to_end;
use super::handler::RequestHandler;
use crate::conf::LuaSource;
use crate::sys::balancer::{Balancer, NoPeer};
use crate::sys::context::Context;
use crate::sys::log::Level;
use crate::sys::phase::Phase;
use crate::sys::request::Request;
use crate::vm::Outcome;

/// Runs the code before an attempt to send the request upstream.
///
/// # Errors
/// It failed, or ended with a status: nginx answers 500.
pub(super) fn choose(
    request: Request,
    balancer: &Rc<Balancer>,
    source: &LuaSource,
) -> Result<(), NoPeer> {
    let handler = RequestHandler::of(request, Phase::Balancer).ok_or(NoPeer)?;
    let context = Context::beside(&handler.context, Phase::Balancer);
    context.set_subject(balancer.clone());
    match run_to_end(&handler, request, context, source) {
        Ok(Outcome::Done | Outcome::Exit(0)) => Ok(()),
        Ok(Outcome::Exit(code)) => {
            let text = format!("balancer_by_lua* refused with {code}");
            request.log(Level::Info, text);
            Err(NoPeer)
        }
        Ok(Outcome::Error) | Err(()) => Err(NoPeer),
    }
}
