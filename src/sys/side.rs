//! Waiting for one direction of a connection.

use std::cell::Cell;
use std::num::NonZero;
use std::task::Waker;

use ngx::ffi::{
    ngx_add_timer, ngx_del_timer, ngx_event_t, ngx_handle_read_event, ngx_handle_write_event,
    ngx_int_t, ngx_msec_t,
};

use super::event::now_msec;
use crate::rt::Millis;

/// What event handlers see of one direction.
#[derive(Default)]
pub(super) struct Side {
    pub(super) waker: Cell<Option<Waker>>,
    /// TLS had to write in order to read, or the other way round: the
    /// operation goes on with the next event of either kind.
    pub(super) crossed: Cell<bool>,
    /// When what waits gives up. nginx's timer fires then or before: it is left
    /// alone while it is not too late, since most waits end long before.
    deadline: Cell<Option<NonZero<Millis>>>,
    pub(super) timed_out: Cell<bool>,
}

impl Side {
    /// Begins a wait of `timeout` milliseconds.
    pub(super) fn arm(&self, event: *mut ngx_event_t, timeout: Millis) {
        let deadline = now_msec().saturating_add(timeout);
        self.deadline.set(NonZero::new(deadline));
        self.timed_out.set(false);
        // SAFETY: callers pass the event of their live connection.
        unsafe {
            if (*event).timer_set() != 0 {
                if (*event).timer.key as Millis <= deadline {
                    return;
                }
                ngx_del_timer(event);
            }
            ngx_add_timer(event, timeout as ngx_msec_t);
        }
    }

    /// Ends the wait.
    pub(super) fn disarm(&self) {
        self.deadline.set(None);
        self.timed_out.set(false);
    }

    /// nginx's timer has fired: whether time is up.
    pub(super) fn expire(&self, event: *mut ngx_event_t) -> bool {
        // SAFETY: as arm.
        unsafe { (*event).set_timedout(0) };
        let Some(deadline) = self.deadline.get() else {
            return false;
        };
        match deadline.get().checked_sub(now_msec()) {
            // SAFETY: as arm; the timer is no longer set.
            Some(left) if left > 0 => unsafe { ngx_add_timer(event, left as ngx_msec_t) },
            _ => {
                self.deadline.set(None);
                self.timed_out.set(true);
            }
        }
        self.timed_out.get()
    }
}

/// Takes the timer of an event away.
pub(super) fn disarm(event: *mut ngx_event_t) {
    // SAFETY: callers pass an event of a live connection.
    unsafe {
        if (*event).timer_set() != 0 {
            ngx_del_timer(event);
        }
        (*event).set_timedout(0);
    }
}

/// Nobody waits for what an event has reported. Where events are level-triggered
/// (select, poll) it would be reported in each round of the event loop: not
/// until somebody waits again.
pub(super) fn mute(event: *mut ngx_event_t) {
    // SAFETY: callers pass an event of a live connection. Should nginx fail, it
    // has logged why, and the event comes again.
    let _: ngx_int_t = unsafe {
        match (*event).write() {
            0 => ngx_handle_read_event(event, 0),
            _ => ngx_handle_write_event(event, 0),
        }
    };
}
