//! Runs a request's Lua code in nginx's phases: one table of phases, one
//! runner.

use std::rc::Rc;

use ngx::ffi::{NGX_DECLINED, NGX_DONE, NGX_ERROR, NGX_OK};

use super::code::start;
use super::handler::{Progress, RequestHandler, on_writable, output_options};
use super::module;
use crate::conf::{LocConf, LuaSource};
use crate::sys::body::Body;
use crate::sys::phase::Phase;
use crate::sys::request::Request;
use crate::vm::Outcome;

const OK: isize = NGX_OK as isize;
const DECLINED: isize = NGX_DECLINED as isize;
const DONE: isize = NGX_DONE as isize;
const ERROR: isize = NGX_ERROR as isize;
/// The request goes on elsewhere (`ngx.exec`): there is nothing to tell nginx,
/// but a count of the request to give back.
const REDIRECTED: isize = isize::MIN;
const HTTP_CONTINUE: isize = 100;
const HTTP_OK: isize = 200;
const HTTP_NO_CONTENT: isize = 204;
const HTTP_SPECIAL_RESPONSE: isize = 300;
const HTTP_INTERNAL_SERVER_ERROR: isize = 500;

/// What nginx is told when the code of `phase` ran to its end without an answer
/// to the client, so that the request goes on.
fn pass(phase: Phase) -> isize {
    match phase {
        // With `satisfy any`, to return from access_by_lua is to grant.
        Phase::Access | Phase::Content => OK,
        _ => DECLINED,
    }
}

/// nginx's rewrite phase of a server.
pub fn server_rewrite(request: Request) -> isize {
    enter_phase(request, Phase::ServerRewrite)
}

/// nginx's rewrite phase.
pub fn rewrite(request: Request) -> isize {
    enter_phase(request, Phase::Rewrite)
}

/// nginx's access phase.
pub fn access(request: Request) -> isize {
    enter_phase(request, Phase::Access)
}

/// nginx's phase before the content.
pub fn precontent(request: Request) -> isize {
    enter_phase(request, Phase::Precontent)
}

/// nginx's content handler of a location with `content_by_lua*`.
pub fn content(request: Request) -> isize {
    enter_phase(request, Phase::Content)
}

fn enter_phase(request: Request, phase: Phase) -> isize {
    let conf = module::location_conf(request);
    let Some(source) = conf.code.get(phase) else {
        return DECLINED;
    };
    let handler = RequestHandler::existing(request);
    let rc = match handler.as_ref().and_then(|h| h.concluded(phase)) {
        Some(rc) => rc,
        None => begin(handler, request, phase, conf, source),
    };
    match rc {
        // nginx gives up one count of the request for the content handler's
        // DONE; what ends the request later gives up another one.
        DONE if phase == Phase::Content => request.hold(),
        REDIRECTED if phase != Phase::Content => request.finalize(DONE),
        REDIRECTED => {}
        rc => return rc,
    }
    DONE
}

/// Runs the phase's code, after reading the body where that is asked for.
fn begin(
    handler: Option<Rc<RequestHandler>>,
    request: Request,
    phase: Phase,
    conf: &'static LocConf,
    source: &LuaSource,
) -> isize {
    if phase == Phase::Rewrite && request.uri_changed() {
        // nginx is on its way to another location (`rewrite … last`).
        return DECLINED;
    }
    let Some(handler) = handler.or_else(|| RequestHandler::make(request, phase)) else {
        return HTTP_INTERNAL_SERVER_ERROR;
    };
    if conf.need_request_body() {
        match request.read_body() {
            Ok(Body::There) => {}
            Ok(Body::Reading(reading)) => {
                handler.progress.set(Progress::Waiting(phase));
                reading.then(move || body_read(&handler, phase));
                return DONE;
            }
            Err(status) => return status,
        }
    }
    run(&handler, request, phase, source)
}

/// The body that `lua_need_request_body` asks for is there.
fn body_read(handler: &Rc<RequestHandler>, phase: Phase) {
    let Some(request) = handler.context.request() else {
        return;
    };
    let rc = match module::location_conf(request).code.get(phase) {
        Some(source) => run(handler, request, phase, source),
        None => DECLINED,
    };
    if rc != DONE {
        go_on(handler, request, phase, rc);
    }
}

/// Runs the phase's code; DONE where it has to wait.
fn run(handler: &Rc<RequestHandler>, request: Request, phase: Phase, source: &LuaSource) -> isize {
    handler.context.set_phase(phase);
    let (thread, outcome) = match start(source, request, &handler.vm, handler.clone()) {
        Ok(started) => started,
        Err(status) => return status,
    };
    if let Some(outcome) = outcome {
        return conclude(handler, request, phase, outcome);
    }
    handler.entry.set(thread);
    handler.progress.set(Progress::Waiting(phase));
    request.set_write_handler(on_writable);
    DONE
}

/// A handler that had to wait has ended: nginx goes on with the request.
pub(super) fn ended(handler: &Rc<RequestHandler>, request: Request, outcome: Outcome) {
    let Progress::Waiting(phase) = handler.progress.get() else {
        return;
    };
    let rc = conclude(handler, request, phase, outcome);
    go_on(handler, request, phase, rc);
}

/// Tells nginx, from an event, what came of a phase that waited.
pub(super) fn go_on(handler: &Rc<RequestHandler>, request: Request, phase: Phase, rc: isize) {
    let client = request.client();
    if rc == REDIRECTED {
        handler.progress.set(Progress::Idle);
        request.finalize(DONE);
    } else if phase == Phase::Content {
        handler.progress.set(Progress::Idle);
        request.finalize(rc);
    } else {
        handler.progress.set(Progress::Concluded(phase, rc));
        request.restore_write_handler();
        request.run_phases();
    }
    client.run_posted();
}

/// Translates the end of the code into what nginx wants to hear.
fn conclude(
    handler: &Rc<RequestHandler>,
    request: Request,
    phase: Phase,
    outcome: Outcome,
) -> isize {
    handler.context.settle_request_socket();
    if let Some(target) = handler.context.set_target(None) {
        // The next location has a handler of its own.
        handler.end();
        request.redirect(&target);
        return REDIRECTED;
    }
    let answered = handler.context.header_is_final(request);
    let goes_on =
        !answered && phase != Phase::Content && matches!(outcome, Outcome::Done | Outcome::Exit(0));
    if goes_on {
        return pass(phase);
    }
    // nginx is about to take the client's connection over.
    handler.context.close_request_socket();
    match outcome {
        Outcome::Error if answered => break_off(handler, request),
        Outcome::Error => HTTP_INTERNAL_SERVER_ERROR,
        Outcome::Done | Outcome::Exit(0) => complete(handler, request),
        Outcome::Exit(code) => match code as isize {
            DECLINED if !answered => DECLINED,
            DECLINED => complete(handler, request),
            HTTP_NO_CONTENT if !answered => HTTP_NO_CONTENT,
            status @ HTTP_CONTINUE..HTTP_SPECIAL_RESPONSE => {
                if !answered {
                    request.set_default_status(status as usize);
                }
                complete(handler, request)
            }
            status @ HTTP_SPECIAL_RESPONSE.. if !answered || ends_connection(status) => status,
            _ => break_off(handler, request),
        },
    }
}

/// Completes the response that Lua has made.
fn complete(handler: &RequestHandler, request: Request) -> isize {
    request.discard_unread_body();
    let options = output_options(module::location_conf(request));
    match handler.context.output.finish(request, options) {
        // In the access phase OK would mean: go on.
        Ok(()) => HTTP_OK,
        Err(_) => refused(handler),
    }
}

/// Ends the request without completing its response. What was written goes
/// out; the cut shows the client that something is missing.
fn break_off(handler: &RequestHandler, request: Request) -> isize {
    let options = output_options(module::location_conf(request));
    let _ = handler.context.output.push(request, options);
    refused(handler)
}

/// What comes of output that failed: an error, or what a header filter wants
/// in its place.
fn refused(handler: &RequestHandler) -> isize {
    handler.context.output.refusal().unwrap_or(ERROR)
}

/// Whether nginx closes the connection for `status` instead of answering.
fn ends_connection(status: isize) -> bool {
    matches!(status, 408 | 444 | 499)
}
