//! Start and end of a worker process.

use nginx_sys::{NGX_OK, ngx_cycle_t, ngx_int_t};
use ngx::http::HttpModuleMainConf;

use super::install;
use super::module::CosocketModule;
use crate::sys::context::{self, Context};
use crate::sys::entry::guard;
use crate::sys::event::{Posted, Turn};
use crate::sys::log::{self, Level};
use crate::sys::net;
use crate::vm::sched;

/// Runs when a worker starts.
///
/// # Safety
/// nginx calls it with the live cycle.
pub unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard((), || {
        sched::set_poster(post_ready);
        // SAFETY: nginx passes the live cycle.
        if let Some(main) = CosocketModule::main_conf(unsafe { &*cycle })
            && let (Some(vm), Some(source)) = (main.vm.get(), &main.conf.init_worker)
        {
            context::set_current(Some(Context::new(None, "init_worker")));
            let result = install::run_hook(vm, source);
            context::set_current(None);
            if let Err(message) = result {
                log::cycle(Level::Error, format!("init_worker_by_lua error: {message}"));
            }
        }
    });
    NGX_OK as ngx_int_t
}

/// Runs when a worker ends.
///
/// # Safety
/// nginx calls it with the live cycle.
pub unsafe extern "C" fn exit_process(_cycle: *mut ngx_cycle_t) {
    // While what they refer to still lives.
    guard((), || net::pools().close_idle());
}

/// Has the threads that became ready resumed once the current event is done.
fn post_ready() {
    thread_local! {
        static READY: Posted = Posted::new(sched::run_ready);
    }
    READY.with(|ready| ready.post(Turn::This));
}
