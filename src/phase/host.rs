//! What the hosts of the scheduler have in common.

use std::cell::RefCell;
use std::rc::Rc;

use super::module;
use crate::conf::{self, LocConf};
use crate::sys::context::{self, Context};
use crate::vm::{Thread, sched};

/// Makes `conf` and `context` what Lua finds.
pub(super) fn enter(conf: Option<&'static LocConf>, context: &Rc<Context>) {
    conf::set_current(conf);
    context::set_current(Some(context.clone()));
}

/// The same for code of a request: the settings are those of its location, and
/// nginx's log names it.
pub(super) fn enter_request(context: &Rc<Context>) {
    if let Some(request) = context.request() {
        conf::set_current(Some(module::location_conf(request)));
        request.set_log_request();
    }
    context::set_current(Some(context.clone()));
}

/// Lua finds nothing any more.
pub(super) fn leave() {
    context::set_current(None);
    conf::set_current(None);
}

/// The entry thread of a handler that waits.
#[derive(Default)]
pub(super) struct Entry(RefCell<Option<Rc<Thread>>>);

impl Entry {
    /// The handler waits.
    pub(super) fn set(&self, thread: Rc<Thread>) {
        let previous = self.0.replace(Some(thread));
        drop(previous);
    }

    /// The handler has ended.
    pub(super) fn forget(&self) {
        let thread = self.0.take();
        drop(thread);
    }

    /// Ends the handler, if it waits.
    #[inline]
    pub(super) fn kill(&self) {
        let thread = self.0.take();
        if let Some(thread) = thread {
            sched::kill(&thread);
        }
    }
}
