//! The log phase: code that runs when a request ends, and that goes on without
//! the request where it waits.

use std::rc::Rc;

use ngx::ffi::NGX_OK;

use super::background::{self, Background};
use super::handler::{RequestHandler, vm_for};
use super::module;
use crate::conf::{LocConf, LuaSource};
use crate::sys::context::Context;
use crate::sys::log::Level;
use crate::sys::phase::Phase;
use crate::sys::request::Request;

/// nginx's log phase.
pub(super) fn log(request: Request) -> isize {
    let conf = module::location_conf(request);
    if let Some(source) = conf.code.get(Phase::Log) {
        run(request, conf, source);
    }
    NGX_OK as isize
}

fn run(request: Request, conf: &'static LocConf, source: &LuaSource) {
    // What the request's other handlers ran in, with its `ngx.ctx`.
    let (vm, main) = match RequestHandler::existing(request) {
        Some(handler) => (Some(handler.vm.clone()), Some(handler.context.clone())),
        None => (vm_for(request), None),
    };
    let Some(vm) = vm else { return };
    request.set_log_request();
    let handler = Background::new(Context::of_log(request, main), Some(conf), vm);
    match handler.run(source) {
        Ok(true) => detach(&handler, request),
        Ok(false) => {}
        Err(error) => request.log(Level::Error, error.text),
    }
}

/// The code waits, and nginx does not.
fn detach(handler: &Rc<Background>, request: Request) {
    let limit = module::main_conf(request).conf.max_waiting_logs();
    let refused = if background::count(Phase::Log) >= limit {
        Some(format!(
            "log_by_lua* ended where it began to wait: {limit} lua_max_waiting_logs are not enough"
        ))
    } else if !handler.context.detach() {
        Some("log_by_lua* ended where it began to wait: no memory".into())
    } else {
        None
    };
    match refused {
        None => handler.list(),
        Some(message) => {
            handler.cancel();
            request.log(Level::Alert, message);
        }
    }
}
