//! A request as the scheduler's host: what runs in it, and what happens when
//! that ends.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use ngx::ffi::NGX_DONE;

use super::filter::Filter;
use super::host::{self, Entry};
use super::{install, module, runner};
use crate::conf;
use crate::sys::abort;
use crate::sys::context::Context;
use crate::sys::downstream;
use crate::sys::log::Level;
use crate::sys::output::{self, OutputOptions};
use crate::sys::phase::Phase;
use crate::sys::request::{Attached, Request};
use crate::vm::{Host, Outcome, Vm};

/// Where a request's Lua stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing runs.
    Idle,
    /// The phase's handler waits.
    Waiting(Phase),
    /// The phase's handler has ended after a wait; nginx gets this code when
    /// it calls the phase again.
    Concluded(Phase, isize),
}

/// One request with Lua handlers. Made when its first handler runs.
pub(super) struct RequestHandler {
    pub(super) context: Rc<Context>,
    pub(super) vm: Rc<Vm>,
    pub(super) progress: Cell<Progress>,
    /// What runs the phase's code.
    pub(super) entry: Entry,
    /// What runs the code of filters, once there was some.
    pub(super) filter: OnceCell<Rc<Filter>>,
}

impl RequestHandler {
    /// The request's handler, made on the first call. None where memory is
    /// short.
    pub(super) fn of(request: Request, phase: Phase) -> Option<Rc<Self>> {
        Self::existing(request).or_else(|| Self::make(request, phase))
    }

    /// Makes the handler of a request that has none.
    pub(super) fn make(request: Request, phase: Phase) -> Option<Rc<Self>> {
        // A handler that waited for a body may be left behind: nginx could
        // not read it, and redirected to an error page.
        request.forget_reading();
        downstream::detach(request);
        let vm = vm_for(request)?;
        let handler = Rc::new(RequestHandler {
            context: Context::new(Some(request), phase),
            vm,
            progress: Cell::new(Progress::Idle),
            entry: Entry::default(),
            filter: OnceCell::new(),
        });
        request
            .attach(module::module(), handler.clone())
            .then_some(handler)
    }

    /// The request's handler, if one was made.
    #[inline]
    pub(super) fn existing(request: Request) -> Option<Rc<Self>> {
        request.attached::<Self>(module::module())
    }

    /// What nginx is to be told when it calls `phase` again: DONE while the
    /// code waits, what came of it when it has ended. None when it is to run.
    pub(super) fn concluded(&self, phase: Phase) -> Option<isize> {
        match self.progress.get() {
            Progress::Waiting(_) => Some(NGX_DONE as isize),
            Progress::Concluded(concluded, rc) if concluded == phase => {
                self.progress.set(Progress::Idle);
                Some(rc)
            }
            Progress::Concluded(..) | Progress::Idle => None,
        }
    }

    /// Cancels the code that waits. Returns its phase, which nginx can be told
    /// of by [`runner::go_on`].
    pub(super) fn cancel(&self) -> Option<Phase> {
        let Progress::Waiting(phase) = self.progress.replace(Progress::Idle) else {
            return None;
        };
        self.entry.kill();
        if let Some(request) = self.context.request() {
            abort::forget(request);
        }
        self.context.close_request_socket();
        Some(phase)
    }

    /// The request ends: whatever still waits is cancelled.
    #[inline]
    pub(super) fn end(&self) {
        if let Some(filter) = self.filter.get() {
            filter.end();
        }
        self.entry.kill();
        if let Some(request) = self.context.request() {
            abort::forget(request);
        }
        self.context.end();
    }
}

impl Attached for RequestHandler {
    fn request_ended(&self) {
        self.end();
    }
}

impl Drop for RequestHandler {
    fn drop(&mut self) {
        if let Some(anchor) = self.context.set_lua_table(None) {
            self.vm.release(anchor);
        }
    }
}

/// The worker's VM, or a new one where code is not kept.
#[inline(always)]
pub(super) fn vm_for(request: Request) -> Option<Rc<Vm>> {
    install::vm(module::main_conf(request), module::location_conf(request))
        .inspect_err(|e| request.log(Level::Error, e))
        .ok()
}

/// Output settings of a location.
pub(super) fn output_options(conf: &conf::LocConf) -> OutputOptions {
    OutputOptions {
        default_type: conf.use_default_type(),
        http10_buffering: conf.http10_buffering(),
    }
}

/// The write handler of a request while its Lua waits.
pub(super) fn on_writable(request: Request) {
    if downstream::on_writable(request) {
        return;
    }
    if let Some(handler) = RequestHandler::existing(request) {
        output::on_writable(request, &handler.context.output);
    }
}

impl Host for RequestHandler {
    fn enter(&self) {
        host::enter_request(&self.context);
    }

    fn leave(&self) {
        host::leave();
    }

    fn suspended(&self) {
        let Some(request) = self.context.request() else {
            return;
        };
        let conf = module::location_conf(request);
        // A failure marks the connection and shows at the next write.
        let _ = self.context.output.push(request, output_options(conf));
        request.wake_posted();
        if conf.check_client_abort() && !downstream::watch(request) {
            request.watch_client();
        }
    }

    fn ended(self: Rc<Self>, outcome: Outcome) {
        let Some(request) = self.context.request() else {
            return;
        };
        self.entry.forget();
        abort::forget(request);
        runner::ended(&self, request, outcome);
    }

    fn log_error(&self, message: &[u8]) {
        self.context.log(Level::Error, message);
    }
}
