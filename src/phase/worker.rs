//! Start and end of a worker process.

use nginx_sys::{NGX_OK, ngx_cycle_t, ngx_int_t};
use ngx::http::HttpModuleMainConf;

use super::module::{self, CosocketModule};
use super::{install, timer, tls};
use crate::conf;
use crate::lua::timer::set_timers;
use crate::sys::context::{self, Context};
use crate::sys::entry::guard;
use crate::sys::event::{Posted, Turn};
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
        sched::set_poster(post_ready);
        set_timers(&timer::TIMERS);
        set_handlers(&tls::HANDLERS);
        // SAFETY: nginx passes the live cycle.
        if let Some(main) = CosocketModule::main_conf(unsafe { &*cycle })
            && let (Some(vm), Some(source)) = (main.vm.get(), &main.conf.init_worker)
        {
            let context = Context::new(None, Phase::InitWorker);
            context::set_current(Some(context.clone()));
            conf::set_current(module::http_conf());
            let result = install::run_hook(vm, source);
            conf::set_current(None);
            context::set_current(None);
            if let Some(anchor) = context.set_lua_table(None) {
                vm.release(anchor);
            }
            if let Err(message) = result {
                log::cycle(Level::Error, format!("init_worker_by_lua error: {message}"));
            }
        }
    });
    NGX_OK as ngx_int_t
}

/// Runs when a worker ends: closes what thread-local destructors would close
/// when nginx has freed its memory already.
///
/// # Safety
/// nginx calls it with the live cycle.
pub unsafe extern "C" fn exit_process(_cycle: *mut ngx_cycle_t) {
    guard((), || {
        timer::exit();
        sched::kill_all();
        net::pools().close_idle();
    });
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
