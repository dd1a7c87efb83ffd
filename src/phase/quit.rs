//! What becomes of handlers in the background when their worker is to leave.

use std::cell::RefCell;

use super::{background, timer};
use crate::rt::worker_local;
use crate::sys::quit::{Quit, QuitWatch};
use crate::vm::Vm;

worker_local! {
    static WATCH: RefCell<Option<QuitWatch>> = RefCell::new(None);
}

/// Has them learn of it. Made when there is one for the first time.
pub(super) fn watch() {
    WATCH.with_borrow_mut(|watch| {
        if watch.is_none() {
            // Without one the worker leaves only when their time has come.
            *watch = QuitWatch::new(on_quit);
        }
    });
}

/// nginx shuts down gracefully: timers do not wait for their time, and those
/// that take too long do not go on.
fn on_quit(quit: Quit) {
    match quit {
        Quit::Asked => timer::fire_all(),
        Quit::Overdue => cancel_all(),
    }
}

/// Ends all of them.
pub(super) fn cancel_all() {
    cancel_where(|_| true);
}

/// Ends those of a configuration, which goes.
pub(super) fn cancel_all_of(owner: usize) {
    cancel_where(|vm| vm.owner() == owner);
}

fn cancel_where(is_wanted: impl Fn(&Vm) -> bool) {
    timer::drop_pending(&is_wanted);
    background::cancel(is_wanted);
}

/// The worker ends.
pub(super) fn exit() {
    cancel_all();
    let watch = WATCH.with_borrow_mut(Option::take);
    drop(watch);
}
