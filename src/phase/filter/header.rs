//! The header on its way to the client.

use std::rc::Rc;

use super::{AGAIN, ERROR, Filter, OK};
use crate::phase::handler::RequestHandler;
use crate::phase::{module, runner};
use crate::sys::filter::{self, Chain};
use crate::sys::log::Level;
use crate::sys::phase::Phase;
use crate::sys::request::Request;
use crate::vm::Outcome;

const HTTP_CREATED: isize = 201;
const HTTP_NO_CONTENT: isize = 204;
const HTTP_SPECIAL_RESPONSE: isize = 300;
const HTTP_INTERNAL_SERVER_ERROR: isize = 500;

/// What is to come of the response.
enum Verdict {
    Pass,
    /// The client gets an answer of this status instead.
    Raise(isize),
    /// The client gets none.
    Fail,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Done => Verdict::Pass,
            Outcome::Error => Verdict::Raise(HTTP_INTERNAL_SERVER_ERROR),
            Outcome::Exit(code) => match code as isize {
                // nginx closes the connection for these.
                408 | 444 | 499 => Verdict::Fail,
                status @ (HTTP_CREATED | HTTP_NO_CONTENT | HTTP_SPECIAL_RESPONSE..) => {
                    Verdict::Raise(status)
                }
                ERROR => Verdict::Fail,
                _ => Verdict::Pass,
            },
        }
    }
}

/// The header filter.
pub(in crate::phase) fn header(request: Request) -> isize {
    let code = &module::location_conf(request).code;
    if code.get(Phase::BodyFilter).is_some() {
        request.need_body_in_memory();
    }
    let Some(source) = code.get(Phase::HeaderFilter) else {
        return filter::next_header(request);
    };
    let Some(filter) = Filter::of(request, Phase::HeaderFilter) else {
        return ERROR;
    };
    if filter.raised.take() {
        return filter::next_header(request);
    }
    let verdict = match filter.start(request, Phase::HeaderFilter, source) {
        Ok(Some(outcome)) => outcome.into(),
        Err(status) => Verdict::Raise(status),
        Ok(None) if request.is_upgraded() => {
            filter.cancel();
            request.log(
                Level::Error,
                "header_filter_by_lua* cannot wait while a connection is upgraded",
            );
            Verdict::Raise(HTTP_INTERNAL_SERVER_ERROR)
        }
        Ok(None) => {
            filter.has_held.set(true);
            request.hold_header();
            return OK;
        }
    };
    match verdict {
        Verdict::Pass => filter::next_header(request),
        Verdict::Fail => ERROR,
        // What answers an error does not ask for the result.
        Verdict::Raise(status) if request.error_status() != 0 => {
            request.change_error_status(status as usize);
            filter::next_header(request)
        }
        Verdict::Raise(status) => {
            filter.raised.set(true);
            status
        }
    }
}

/// The very first body filter: keeps the body while the header is held back.
pub(in crate::phase) fn hold(request: Request, chain: Chain) -> isize {
    if !request.is_held() && !request.header_only() {
        return filter::next_after_first(request, chain);
    }
    let Some(filter) = Filter::existing(request).filter(|filter| filter.has_held.get()) else {
        return filter::next_after_first(request, chain);
    };
    if request.header_only() {
        // Whoever makes the body could not know that when the header passed.
        chain.discard();
    }
    if filter.active.get() == Some(Phase::HeaderFilter) {
        request.hold_response();
        let kept = request.header_only()
            || !filter.accepts(request, chain)
            || filter.behind_header.add(request, chain);
        return if kept { AGAIN } else { ERROR };
    }
    if request.header_only() && !chain.is_empty() {
        return OK;
    }
    filter::next_after_first(request, chain)
}

/// The code has ended after a wait.
pub(super) fn ended(filter: &Rc<Filter>, request: Request, outcome: Outcome) {
    request.release_header();
    match outcome.into() {
        Verdict::Pass => pass(filter, request),
        Verdict::Raise(status) => {
            filter.raised.set(true);
            answer(filter, request, status);
        }
        Verdict::Fail => fail(filter, request),
    }
}

/// Passes on what was held back.
fn pass(filter: &Filter, request: Request) {
    let rc = filter::next_header(request);
    if rc > OK {
        return answer(filter, request, rc);
    }
    if rc == ERROR {
        return fail(filter, request);
    }
    let chain = filter.behind_header.take();
    // The body filter sees it come.
    filter.complete.set(false);
    if request.header_only() {
        chain.discard();
    } else if !chain.is_empty() && filter::next_after_first(request, chain) == ERROR {
        request.fail_connection();
    }
    filter::release(request, chain);
    request.go_on_writing();
}

/// Has the client get an answer of another status in place of the response,
/// whose maker takes the header for sent.
fn answer(filter: &Filter, request: Request, status: isize) {
    filter.behind_header.discard(request);
    filter.complete.set(false);
    if let Some(handler) = RequestHandler::existing(request)
        && let Some(phase) = handler.cancel()
    {
        return runner::go_on(&handler, request, phase, status);
    }
    if request.is_being_written() || request.abort_upstream() {
        let client = request.client();
        request.finalize(status);
        return client.run_posted();
    }
    fail(filter, request);
}

/// The client gets nothing: nginx closes its connection.
fn fail(filter: &Filter, request: Request) {
    filter.behind_header.discard(request);
    request.fail_connection();
    request.go_on_writing();
}
