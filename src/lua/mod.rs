//! The Lua API: one file a namespace. Thin: checks arguments, calls the layer
//! below, pushes results or parks.

mod abort;
pub mod arg;
mod args;
mod balancer;
mod config;
mod control;
mod ctx;
mod digest;
mod fault;
mod fields;
mod header;
mod log;
mod output;
mod process;
mod query;
pub mod re;
mod redirect;
mod req;
mod resp;
mod scratch;
mod seen;
mod semaphore;
mod socket;
mod sql;
mod ssl;
mod status;
mod table;
mod text;
mod thread;
mod time;
pub mod timer;
mod uri;
mod var;

use std::os::raw::c_int;
use std::rc::Rc;

use crate::sys::context::{self, Context};
use crate::sys::phase::{Phase, Phases};
use crate::sys::request::Request;
use crate::vm::{Body, State, Throw, Type};

/// Installs the API in a new state.
pub fn open(state: &mut State) {
    state.push_globals();
    state.new_table(0, 64);
    abort::open(state);
    arg::open(state);
    balancer::open(state);
    config::open(state);
    control::open(state);
    log::open(state);
    output::open(state);
    semaphore::open(state);
    socket::open(state);
    ssl::open(state);
    thread::open(state);
    time::open(state);
    timer::open(state);
    header::open(state);
    uri::open(state);
    process::open(state);
    re::open(state);
    redirect::open(state);
    query::open(state);
    sql::open(state);
    digest::open(state);
    req::open(state);
    resp::open(state);
    var::open(state);
    fault::open(state);
    fields::open(state);
    state.raw_set_field(-2, "ngx");
    state.pop(1);
}

/// Has `require` of `name` call `load`.
fn preload<F: Body>(state: &mut State, name: &str, load: F) {
    preload_with(state, name, load, 0);
}

/// The same; pops `n` values, which `load` has as upvalues.
fn preload_with<F: Body>(state: &mut State, name: &str, load: F, n: c_int) {
    let top = state.top();
    state.push_closure(load, n);
    state.push_globals();
    state.raw_get_field(-1, "package");
    if state.type_of(-1) == Type::Table {
        state.raw_get_field(-1, "preload");
        if state.type_of(-1) == Type::Table {
            state.push_value(top - n + 1);
            state.raw_set_field(-2, name);
        }
    }
    state.set_top(top - n);
}

/// The context that runs.
#[inline]
fn context() -> Result<Rc<Context>, Throw> {
    context::current().ok_or_else(no_context)
}

#[cold]
fn no_context() -> Throw {
    Throw::error("no request found")
}

/// The context that runs and its request.
fn request() -> Result<(Rc<Context>, Request), Throw> {
    let context = context()?;
    match context.request() {
        Some(request) => Ok((context, request)),
        None => Err(disabled(&context)),
    }
}

/// The request of the context that runs.
fn only_request() -> Result<Request, Throw> {
    match context::current_request() {
        Some(found) => Ok(found),
        None => request().map(|(_, request)| request),
    }
}

/// The request of the context that runs, where the phase is one of `phases`.
#[inline(always)]
fn only_request_in(phases: Phases) -> Result<Request, Throw> {
    let found = context::with_current(|context| {
        let request = context.request();
        request.filter(|_| phases.contains(context.phase()))
    });
    match found {
        Some(Some(found)) => Ok(found),
        _ => request_in(phases).map(|(_, request)| request),
    }
}

/// The context that runs and its request, where the phase is one of `phases`.
#[inline(always)]
fn request_in(phases: Phases) -> Result<(Rc<Context>, Request), Throw> {
    let Some(context) = context::current() else {
        return Err(no_context());
    };
    match context.request() {
        Some(request) if phases.contains(context.phase()) => Ok((context, request)),
        _ => Err(disabled(&context)),
    }
}

/// The context that runs, if its code may wait.
fn waiting_context() -> Result<Rc<Context>, Throw> {
    let context = context()?;
    if Phases::WAITING.contains(context.phase()) {
        return Ok(context);
    }
    Err(disabled(&context))
}

/// Checks that the code that runs may wait.
fn check_waiting() -> Result<(), Throw> {
    match context::with_current(|context| Phases::WAITING.contains(context.phase())) {
        Some(true) => Ok(()),
        _ => waiting_context().map(drop),
    }
}

/// The error of a function that does not work in the phase.
#[cold]
fn disabled(context: &Context) -> Throw {
    let phase = context.phase();
    let instead = match phase {
        Phase::Set => ", use rewrite_by_lua* instead",
        Phase::Balancer => ", use access_by_lua* instead",
        _ => "",
    };
    Throw::error(format!(
        "API disabled in the context of {}{instead}",
        phase.title()
    ))
}
