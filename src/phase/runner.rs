//! Runs a request's Lua code in nginx's phases: one table of phases, one
//! runner.

use std::rc::Rc;

use ngx::ffi::{NGX_DECLINED, NGX_DONE, NGX_ERROR, NGX_OK};

use super::handler::{Progress, RequestHandler, on_writable, output_options};
use super::{install, module};
use crate::conf::{LocConf, LuaCode, LuaFile, LuaSource, file_chunk_name};
use crate::sys::log::Level;
use crate::sys::request::Request;
use crate::vm::{Chunk, ChunkKey, Outcome, sched};

const OK: isize = NGX_OK as isize;
const DECLINED: isize = NGX_DECLINED as isize;
const DONE: isize = NGX_DONE as isize;
const ERROR: isize = NGX_ERROR as isize;
const HTTP_OK: isize = 200;
const HTTP_SPECIAL_RESPONSE: isize = 300;
const HTTP_INTERNAL_SERVER_ERROR: isize = 500;

/// A phase of request processing that can run Lua.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Rewrite,
    Access,
    Content,
}

impl Phase {
    /// The name that `ngx.get_phase` gives.
    fn name(self) -> &'static str {
        match self {
            Phase::Rewrite => "rewrite",
            Phase::Access => "access",
            Phase::Content => "content",
        }
    }

    fn source(self, conf: &LocConf) -> Option<&Rc<LuaSource>> {
        match self {
            Phase::Rewrite => conf.rewrite.as_ref(),
            Phase::Access => conf.access.as_ref(),
            Phase::Content => conf.content.as_ref(),
        }
    }

    /// What nginx is told when the code ran to its end without an answer to
    /// the client, so that the request goes on.
    fn pass(self) -> isize {
        match self {
            Phase::Rewrite => DECLINED,
            // With `satisfy any`, to return from access_by_lua is to grant.
            Phase::Access | Phase::Content => OK,
        }
    }
}

/// nginx's rewrite phase.
pub fn rewrite(request: Request) -> isize {
    enter_phase(request, Phase::Rewrite)
}

/// nginx's access phase.
pub fn access(request: Request) -> isize {
    enter_phase(request, Phase::Access)
}

/// nginx's content handler of a location with `content_by_lua*`.
pub fn content(request: Request) -> isize {
    enter_phase(request, Phase::Content)
}

fn enter_phase(request: Request, phase: Phase) -> isize {
    let conf = module::location_conf(request);
    let Some(source) = phase.source(conf) else {
        return DECLINED;
    };
    if let Some(handler) = RequestHandler::existing(request) {
        match handler.progress.get() {
            Progress::Waiting(_) => return DONE,
            Progress::Concluded(concluded, rc) if concluded == phase => {
                handler.progress.set(Progress::Idle);
                return rc;
            }
            Progress::Concluded(..) | Progress::Idle => {}
        }
    }
    let vm = || {
        if conf.code_cache() {
            module::main_conf(request).vm.get().cloned()
        } else {
            install::fresh_vm(module::main_conf(request))
                .inspect_err(|e| request.log(Level::Error, e))
                .ok()
                .map(Rc::new)
        }
    };
    let Some(handler) = RequestHandler::of(request, vm) else {
        return HTTP_INTERNAL_SERVER_ERROR;
    };
    if conf.need_request_body() {
        return read_body_first(&handler, request, phase);
    }
    run(&handler, request, phase, source)
}

/// `lua_need_request_body on`: the code runs once the body is there.
fn read_body_first(handler: &Rc<RequestHandler>, request: Request, phase: Phase) -> isize {
    let conf = module::location_conf(request);
    let later = handler.clone();
    let read = request.read_body(move || {
        let Some(request) = later.context.request() else {
            return;
        };
        let Some(source) = phase.source(module::location_conf(request)) else {
            return;
        };
        later.progress.set(Progress::Idle);
        let rc = run(&later, request, phase, source);
        if rc != DONE {
            go_on(&later, request, phase, rc);
        }
    });
    match read {
        Ok(true) => match phase.source(conf) {
            Some(source) => run(handler, request, phase, source),
            None => DECLINED,
        },
        Ok(false) => {
            handler.progress.set(Progress::Waiting(phase));
            if phase == Phase::Content {
                request.hold();
            }
            DONE
        }
        Err(rc) => rc,
    }
}

/// Runs the phase's code; DONE where it has to wait.
fn run(handler: &Rc<RequestHandler>, request: Request, phase: Phase, source: &LuaSource) -> isize {
    handler.context.set_phase(phase.name());
    let started = match &source.code {
        LuaCode::Inline(code) => sched::start(
            &handler.vm,
            handler.clone(),
            &Chunk {
                key: ChunkKey::Inline(source.id, code),
                name: &source.chunk_name,
            },
        ),
        LuaCode::File(file) => match file_path(request, file) {
            Some(path) => sched::start(
                &handler.vm,
                handler.clone(),
                &Chunk {
                    name: &file_chunk_name(path.as_bytes()),
                    key: ChunkKey::File(&path),
                },
            ),
            None => return HTTP_INTERNAL_SERVER_ERROR,
        },
    };
    let (thread, outcome) = match started {
        Ok(started) => started,
        Err(message) => {
            request.log(Level::Error, message);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    };
    if let Some(outcome) = outcome {
        return conclude(handler, request, phase, outcome);
    }
    handler.set_entry(Some(thread));
    handler.progress.set(Progress::Waiting(phase));
    request.set_write_handler(on_writable);
    if module::location_conf(request).check_client_abort() {
        request.watch_client();
    }
    if phase == Phase::Content {
        request.hold();
    }
    DONE
}

fn file_path(request: Request, file: &LuaFile) -> Option<String> {
    let path = match file {
        LuaFile::Fixed(path) => path.to_vec(),
        LuaFile::Variable(value) => request.full_path(value)?,
    };
    Some(String::from_utf8_lossy(&path).into_owned())
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
fn go_on(handler: &Rc<RequestHandler>, request: Request, phase: Phase, rc: isize) {
    let client = request.client();
    if phase == Phase::Content {
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
    let output = &handler.context.output;
    let options = output_options(module::location_conf(request));
    let answered = output.committed() || request.header_sent();
    let finish = || match output.finish(request, options) {
        Ok(()) => OK,
        Err(_) => ERROR,
    };
    match outcome {
        Outcome::Error if answered => {
            // What was written goes out; the cut shows the client that the
            // response is not complete.
            let _ = output.push(request, options);
            ERROR
        }
        Outcome::Error => HTTP_INTERNAL_SERVER_ERROR,
        Outcome::Done | Outcome::Exit(0) if answered || phase == Phase::Content => {
            let rc = finish();
            // In the access phase OK would mean: go on.
            if phase == Phase::Access && rc == OK {
                HTTP_OK
            } else {
                rc
            }
        }
        Outcome::Done | Outcome::Exit(0) => phase.pass(),
        Outcome::Exit(code) => {
            let code = code as isize;
            match code {
                DECLINED if phase != Phase::Content => phase.pass(),
                HTTP_OK..HTTP_SPECIAL_RESPONSE => {
                    request.set_default_status(code as usize);
                    let rc = finish();
                    if rc == OK { HTTP_OK } else { rc }
                }
                code => code,
            }
        }
    }
}
