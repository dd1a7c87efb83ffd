//! Installs the phase handlers that the configuration needs, and makes the
//! Lua VM.

use std::rc::Rc;

use super::code::with_chunk;
use super::filter::{body, header};
use super::module::Main;
use super::{log, runner, tls};
use crate::conf::{LocConf, LuaSource};
use crate::lua;
use crate::sys::conf::{Conf, Level, PhaseOrder, Reported, RequestPhase};
use crate::sys::entry::request_handler;
use crate::sys::filter;
use crate::sys::output::frame;
use crate::sys::phase::Phase;
use crate::vm::{Host, Outcome, Thread, Vm, VmOptions, sched};

/// Runs after the whole `http` block was read and merged. An error fails the
/// configuration.
pub fn install(conf: &mut Conf<'_>, main: &mut Main) -> Result<(), Reported> {
    for (phase, place, handler) in [
        (
            Phase::ServerRewrite,
            RequestPhase::ServerRewrite,
            request_handler(runner::server_rewrite),
        ),
        (
            Phase::Rewrite,
            RequestPhase::Rewrite,
            request_handler(runner::rewrite),
        ),
        (
            Phase::Access,
            RequestPhase::Access,
            request_handler(runner::access),
        ),
        (
            Phase::Precontent,
            RequestPhase::Precontent,
            request_handler(runner::precontent),
        ),
        (Phase::Log, RequestPhase::Log, request_handler(log::log)),
    ] {
        if main.conf.phases.contains(phase) {
            // The log phase's come before nginx's access log.
            let order = match phase == Phase::Log || main.conf.no_postpone(phase) {
                true => PhaseOrder::First,
                false => PhaseOrder::Last,
            };
            conf.add_phase_handler(place, order, handler)?;
        }
    }
    if has_filters(main) {
        filter::install(header::header, body::body);
    }
    if main.conf.source_count() == 0 {
        return Ok(());
    }
    tls::install(conf)?;
    lua::re::configure(
        main.conf.regex_cache_max_entries,
        main.conf.regex_match_limit,
    );
    // Read here, since nginx clears the environment of its workers.
    if std::env::var_os("NGX_COSOCKET_GC_STRESS").is_some_and(|value| value == "1") {
        sched::stress_collector();
    }
    let vm = conf
        .in_new_cycle(|| fresh_vm(main))
        .map_err(|e| report(conf, &e))?;
    let _ = main.vm.set(vm);
    Ok(())
}

/// Runs after the configuration of all modules was taken in.
pub fn install_last(main: &Main) {
    if has_filters(main) {
        filter::install_first(header::hold);
    }
}

/// Runs when nginx has just installed its filter for chunked coding.
pub fn install_frame(main: &Main) {
    if main.conf.source_count() > 0 {
        frame::install();
    }
}

fn has_filters(main: &Main) -> bool {
    let phases = main.conf.phases;
    phases.contains(Phase::HeaderFilter) || phases.contains(Phase::BodyFilter)
}

/// A new VM, in which `init_by_lua` has run.
pub fn fresh_vm(main: &Main) -> Result<Rc<Vm>, String> {
    let vm = Vm::new(&VmOptions {
        package_path: main.conf.package_path.as_deref(),
        package_cpath: main.conf.package_cpath.as_deref(),
        open: lua::open,
        owner: main.id(),
    })?;
    if let Some(source) = &main.conf.init {
        run_hook(&vm, source).map_err(|e| format!("init_by_lua error: {e}"))?;
    }
    vm.guard_globals()?;
    Ok(vm)
}

/// The VM for a handler with these settings: the worker's, or one of its own.
#[inline(always)]
pub(super) fn vm(main: &Main, conf: &LocConf) -> Result<Rc<Vm>, String> {
    match main.vm.get() {
        Some(vm) if conf.code_cache() => Ok(vm.clone()),
        _ => other_vm(main, conf),
    }
}

#[cold]
fn other_vm(main: &Main, conf: &LocConf) -> Result<Rc<Vm>, String> {
    if conf.code_cache() {
        return Err("no Lua VM".into());
    }
    fresh_vm(main)
}

/// Starts a handler without a request.
pub(super) fn start(
    vm: &Rc<Vm>,
    host: Rc<dyn Host>,
    source: &LuaSource,
) -> Result<(Rc<Thread>, Option<Outcome>), String> {
    with_chunk(source, None, |chunk| sched::start(vm, host, chunk))
        .ok_or("the file name cannot have variables")?
        .map_err(|error| error.text)
}

/// Runs the code of a hook, which cannot wait.
pub(super) fn run_hook(vm: &Vm, source: &LuaSource) -> Result<(), String> {
    with_chunk(source, None, |chunk| vm.evaluate(chunk, |_| ()))
        .unwrap_or_else(|| Err("the file name cannot have variables".into()))
}

fn report(conf: &mut Conf<'_>, message: &str) -> Reported {
    conf.log(Level::Emergency, message);
    Reported
}
