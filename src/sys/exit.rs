//! The last rounds of the event loop, when nginx has left it.

use std::cell::Cell;
use std::rc::Rc;

use ngx::ffi::{
    ngx_close_listening_sockets, ngx_connection_t, ngx_cycle, ngx_del_timer,
    ngx_delete_posted_event, ngx_event_actions, ngx_event_t, ngx_process_events_and_timers,
    ngx_terminate,
};

use super::event::{Alarm, Turn};
use super::process::{Kind, kind};

/// Takes connections away from the event loop, which is to serve nobody any
/// more: new clients, and requests that were cut off. The resolver's stay, and
/// that to the master process.
pub fn still_connections() {
    // SAFETY: the cycle and its array of connections are live until the
    // process ends; what nginx frees is marked by the descriptor.
    unsafe {
        let cycle = ngx_cycle;
        ngx_close_listening_sockets(cycle);
        for i in 0..(*cycle).connection_n {
            let c = (*cycle).connections.add(i);
            if (*c).fd == -1 || (*c).read.is_null() || (*c).write.is_null() {
                continue;
            }
            if (*(*c).read).channel() == 0 && (*(*c).read).resolver() == 0 {
                still(c);
            }
        }
    }
}

/// # Safety
/// `c` must be an open connection of the cycle's.
unsafe fn still(c: *mut ngx_connection_t) {
    // SAFETY: by the caller's promise; the flags tell where the events are.
    unsafe {
        let (read, write): (*mut ngx_event_t, _) = ((*c).read, (*c).write);
        for event in [read, write] {
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            if (*event).posted() != 0 {
                ngx_delete_posted_event(event);
            }
        }
        if ((*read).active() != 0 || (*write).active() != 0)
            && let Some(delete) = ngx_event_actions.del_conn
        {
            delete(c, 0);
        }
    }
}

/// Why [`run_events`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// The time is over.
    Overdue,
    /// The process is to end at once.
    Terminated,
}

/// Runs the event loop until `done`, for `msec` milliseconds at most.
///
/// A signal to terminate ends it, but not where there was one before: the
/// master process repeats its own, and kills who takes too long.
pub fn run_events(msec: u64, done: impl Fn() -> bool) -> Ended {
    // SAFETY: nginx's signal code and its channel write the flag between the
    // reads of it.
    let terminated = || unsafe { (&raw const ngx_terminate).read_volatile() != 0 };
    let was_terminated = terminated();
    // Without a master nobody repeats it.
    let listens = !was_terminated || kind() == Kind::Single;
    if listens {
        // SAFETY: nginx has taken note of it.
        unsafe { ngx_terminate = 0 }
    }
    let overdue = Rc::new(Cell::new(false));
    let at_deadline = overdue.clone();
    let alarm = Alarm::new(msec.max(1), Turn::This, move || at_deadline.set(true));
    let ended = loop {
        if done() {
            break Ended::Done;
        }
        if overdue.get() {
            break Ended::Overdue;
        }
        if listens && terminated() {
            break Ended::Terminated;
        }
        // SAFETY: the cycle is live; no event handler is running.
        unsafe { ngx_process_events_and_timers(ngx_cycle) }
    };
    drop(alarm);
    if was_terminated {
        // SAFETY: as above.
        unsafe { ngx_terminate = 1 }
    }
    ended
}
