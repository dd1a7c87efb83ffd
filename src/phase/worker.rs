//! Start and end of a worker process.

use std::rc::Rc;

use nginx_sys::{NGX_OK, ngx_cycle_t, ngx_int_t};
use ngx::http::HttpModuleMainConf;

use super::background::Background;
use super::module::{self, CosocketModule, Main};
use super::{quit, timer, tls};
use crate::conf::LuaSource;
use crate::lua::timer::set_timers;
use crate::sys::context::Context;
use crate::sys::entry::guard;
use crate::sys::event::{Posted, Turn};
use crate::sys::exit::{self, Ended};
use crate::sys::log::{self, Level};
use crate::sys::phase::Phase;
use crate::sys::ssl::server::set_handlers;
use crate::sys::{net, process};
use crate::vm::sched;

/// Runs when a worker starts.
///
/// # Safety
/// nginx calls it with the live cycle.
pub unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard((), || {
        if !process::serves() {
            return;
        }
        set_timers(&timer::TIMERS);
        set_handlers(&tls::HANDLERS);
        // Before its first round nginx does not look at what is posted to that.
        sched::set_poster(|_| post_ready(sched::Turn::AfterEvents));
        // SAFETY: nginx passes the live cycle.
        if let Some(main) = CosocketModule::main_conf(unsafe { &*cycle })
            && let Some(source) = &main.conf.init_worker
            && let Some(handler) = run(main, source, Phase::InitWorker)
        {
            handler.list();
        }
        sched::set_poster(post_ready);
    });
    NGX_OK as ngx_int_t
}

/// Runs when a worker ends: the configured code, and then what closes what
/// thread-local destructors would close when nginx has freed its memory.
///
/// # Safety
/// nginx calls it with the live cycle.
pub unsafe extern "C" fn exit_process(cycle: *mut ngx_cycle_t) {
    guard((), || {
        end_all();
        // SAFETY: nginx passes the live cycle.
        let main = CosocketModule::main_conf(unsafe { &*cycle });
        if process::serves()
            && let Some(main) = main
            && let Some(source) = &main.conf.exit_worker
        {
            exit_worker(main, source);
            end_all();
        }
    });
}

/// Ends whatever Lua has under way.
fn end_all() {
    quit::exit();
    sched::kill_all();
    net::pools().close_idle();
}

/// Runs code of the worker's own. The handler, if it waits.
fn run(main: &'static Main, source: &LuaSource, phase: Phase) -> Option<Rc<Background>> {
    let vm = main.vm.get()?.clone();
    let handler = Background::new(Context::new(None, phase), module::http_conf(), vm);
    match handler.run(source) {
        Ok(waits) => waits.then_some(handler),
        Err(error) => {
            let text = format!("{} error: {}", phase.directive(), error.text);
            log::cycle(Level::Error, text);
            None
        }
    }
}

/// Code that runs when the worker has done all else.
fn exit_worker(main: &'static Main, source: &LuaSource) {
    exit::still_connections();
    let Some(handler) = run(main, source, Phase::ExitWorker) else {
        return;
    };
    let timeout = main.conf.exit_worker_timeout();
    match exit::run_events(timeout, || handler.has_ended()) {
        Ended::Done => {}
        Ended::Terminated => handler.cancel(),
        Ended::Overdue => {
            handler.cancel();
            let text = format!("exit_worker_by_lua* ended: it waited longer than {timeout} ms");
            log::cycle(Level::Warn, text);
        }
    }
}

/// Has the threads that became ready resumed when it is their turn.
fn post_ready(turn: sched::Turn) {
    thread_local! {
        static READY: Posted = Posted::new(sched::run_ready);
    }
    READY.with(|ready| {
        ready.post(match turn {
            sched::Turn::Soon => Turn::This,
            sched::Turn::AfterEvents => Turn::Next,
        });
    });
}
