//! Timers and posted events.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ngx::ffi::{
    ngx_add_timer, ngx_current_msec, ngx_del_timer, ngx_delete_posted_event, ngx_event_t,
    ngx_exiting, ngx_msec_t, ngx_post_event, ngx_posted_events, ngx_posted_next_events,
    ngx_queue_t,
};

use super::entry::{cycle_log, guard};
use crate::rt::wake_now;

/// Milliseconds since some start, as of the current event loop round.
pub fn now_msec() -> u64 {
    // SAFETY: a plain read of a counter that nginx's time code writes.
    unsafe { ngx_current_msec as u64 }
}

/// Keeps a worker that is leaving from doing so while something is posted:
/// nginx looks at its timers only. Milliseconds, more than a round may take.
const HOLD: ngx_msec_t = 1000;

/// What comes of an event.
enum Action {
    Wake(Waker),
    Call(Box<dyn FnOnce()>),
}

struct Shared {
    event: UnsafeCell<ngx_event_t>,
    fired: Cell<bool>,
    action: RefCell<Option<Action>>,
}

impl Shared {
    fn new() -> Rc<Shared> {
        let shared = Rc::new(Shared {
            // SAFETY: an ngx_event_t of zeros is nginx's initial state.
            event: unsafe { mem::zeroed() },
            fired: Cell::new(false),
            action: RefCell::new(None),
        });
        let event = shared.event.get();
        // SAFETY: the event lives in the Rc, which the timer tree, or a queue,
        // refers to only until disarm(), which both owners call first.
        unsafe {
            (*event).data = Rc::as_ptr(&shared).cast_mut().cast();
            (*event).handler = Some(on_event);
            (*event).log = cycle_log();
        }
        shared
    }

    /// Has the event fire after `delay` milliseconds; with 0, in that `turn`.
    fn arm(&self, delay: ngx_msec_t, turn: Turn) {
        let event = self.event.get();
        // SAFETY: the event is initialised, and not in the tree or a queue.
        unsafe {
            if delay > 0 {
                ngx_add_timer(event, delay);
            } else {
                // A timer of 0 ms that is set by the handler of another one
                // fires before nginx looks at any other event.
                ngx_post_event(event, turn.queue());
                ngx_add_timer(event, HOLD);
            }
        }
    }

    fn disarm(&self) {
        // SAFETY: the event is initialised.
        unsafe { disarm(self.event.get()) }
    }
}

/// Takes an event out of the timer tree and of its queue.
///
/// # Safety
/// `event` must be initialised.
unsafe fn disarm(event: *mut ngx_event_t) {
    // SAFETY: by the caller's promise; the flags tell where the event is.
    unsafe {
        if (*event).timer_set() != 0 {
            ngx_del_timer(event);
        }
        if (*event).posted() != 0 {
            ngx_delete_posted_event(event);
        }
    }
}

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: `data` was set by Shared::new, and the owner takes the event
        // out of timer tree and queue before the Rc can go.
        let action = unsafe {
            disarm(event);
            let shared = (*event).data.cast::<Shared>();
            (*shared).fired.set(true);
            (*shared).action.borrow_mut().take()
        };
        // Nothing of the event is used any more: what follows may drop it.
        match action {
            Some(Action::Wake(waker)) => wake_now(waker),
            Some(Action::Call(f)) => f(),
            None => {}
        }
    });
}

/// A future that completes after a while. Holds up a graceful shutdown until
/// then; dropping it disarms the timer.
pub struct Sleep {
    shared: Rc<Shared>,
    delay: ngx_msec_t,
    armed: bool,
}

impl Sleep {
    /// Completes `msec` milliseconds after it is first polled; with 0, in the
    /// next round of the event loop.
    pub fn new(msec: u64) -> Sleep {
        Sleep {
            shared: Shared::new(),
            delay: msec as ngx_msec_t,
            armed: false,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.fired.get() {
            return Poll::Ready(());
        }
        if !self.armed {
            self.shared.arm(self.delay, Turn::Next);
            self.armed = true;
        }
        let action = Action::Wake(cx.waker().clone());
        let previous = self.shared.action.replace(Some(action));
        drop(previous);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.shared.disarm();
    }
}

/// A call at a later time. Holds up a graceful shutdown until then; dropping
/// it takes the call back.
pub struct Alarm(Rc<Shared>);

impl Alarm {
    /// Has `f` called after `msec` milliseconds; with 0, in that `turn`.
    pub fn new(msec: u64, turn: Turn, f: impl FnOnce() + 'static) -> Alarm {
        let shared = Shared::new();
        *shared.action.borrow_mut() = Some(Action::Call(Box::new(f)));
        shared.arm(msec as ngx_msec_t, turn);
        Alarm(shared)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.disarm();
    }
}

/// When a posted call runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At the end of the current round of the event loop. What posts itself
    /// again and again keeps other events from being looked at.
    This,
    /// In the next round, after new events were taken in.
    Next,
}

impl Turn {
    fn queue(self) -> *mut ngx_queue_t {
        match self {
            Turn::This => ptr::addr_of_mut!(ngx_posted_events),
            Turn::Next => ptr::addr_of_mut!(ngx_posted_next_events),
        }
    }
}

/// A function that can be posted to run from the event loop. Lives as long
/// as the worker.
pub struct Posted {
    event: *mut ngx_event_t,
}

impl Posted {
    /// A posted call of `f`.
    pub fn new(f: fn()) -> Posted {
        unsafe extern "C" fn handler(event: *mut ngx_event_t) {
            guard((), || {
                // SAFETY: the event is live, and data holds the function
                // pointer put there below.
                let f = unsafe {
                    disarm(event);
                    mem::transmute::<*mut std::ffi::c_void, fn()>((*event).data)
                };
                f();
            });
        }
        // SAFETY: an ngx_event_t of zeros is nginx's initial state. Leaked on
        // purpose: one per worker, and nginx may hold it until exit.
        let event = Box::leak(Box::new(unsafe { mem::zeroed::<ngx_event_t>() }));
        event.data = f as *mut std::ffi::c_void;
        event.handler = Some(handler);
        event.log = cycle_log();
        Posted { event }
    }

    /// Posts the call, once however often it is asked for.
    pub fn post(&self, turn: Turn) {
        // SAFETY: the event lives for ever and the queues are nginx's own,
        // initialised before any worker runs.
        unsafe {
            (*self.event).log = cycle_log();
            ngx_post_event(self.event, turn.queue());
            if (turn == Turn::Next || ngx_exiting != 0) && (*self.event).timer_set() == 0 {
                ngx_add_timer(self.event, HOLD);
            }
        }
    }
}

/// Seconds since the epoch with milliseconds, as of the current round.
pub fn now_seconds() -> f64 {
    let time = ngx::ffi::ngx_timeofday();
    time.sec as f64 + time.msec as f64 / 1000.0
}

/// Reads the clock anew.
pub fn update_time() {
    // SAFETY: nginx's own function for the event loop's thread.
    unsafe { ngx::ffi::ngx_time_update() }
}
