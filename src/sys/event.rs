//! Timers and posted events.

use std::cell::{RefCell, UnsafeCell};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};

use ngx::ffi::{
    ngx_add_timer, ngx_current_msec, ngx_del_timer, ngx_delete_posted_event, ngx_event_t,
    ngx_exiting, ngx_msec_t, ngx_post_event, ngx_posted_events, ngx_posted_next_events,
    ngx_queue_t,
};

use super::entry::{cycle_log, guard};
use super::timers::{Action, Lists, OneShot, Timer, TimerList};
use crate::rt::{Millis, worker_local};

/// Milliseconds since some start, as of the current event loop round.
pub fn now_msec() -> Millis {
    // SAFETY: a plain read of a counter that nginx's time code writes.
    unsafe { ngx_current_msec as Millis }
}

/// Keeps a worker that is leaving from doing so while something is posted:
/// nginx looks at its timers only. Milliseconds, more than a round may take.
const HOLD: ngx_msec_t = 1000;

/// An event of nginx's that fires for a list of timers.
struct ListEvent(UnsafeCell<ngx_event_t>);

worker_local! {
    static LISTS: RefCell<Lists<ListEvent>> = RefCell::new(Lists::EMPTY);
}

impl Default for ListEvent {
    fn default() -> ListEvent {
        // SAFETY: an ngx_event_t of zeros is nginx's initial state.
        ListEvent(UnsafeCell::new(unsafe { mem::zeroed() }))
    }
}

impl OneShot for ListEvent {
    fn arm(&self, list: *const TimerList<ListEvent>, at: Millis) {
        let event = self.0.get();
        // SAFETY: the event lives in the list, which disarms it before it goes;
        // it is initialised, and not in the tree or a queue.
        unsafe {
            (*event).data = list.cast_mut().cast();
            (*event).log = cycle_log();
            match Turn::of((*list).delay()) {
                None => {
                    (*event).handler = Some(on_list_event);
                    // What is overdue goes before what was due after it.
                    ngx_add_timer(event, at.wrapping_sub(now_msec()) as ngx_msec_t);
                }
                Some(turn) => {
                    (*event).handler = Some(on_posted_list);
                    // A timer of 0 ms that is set by the handler of another one
                    // fires before nginx looks at any other event.
                    ngx_post_event(event, turn.queue());
                    ngx_add_timer(event, HOLD);
                }
            }
        }
    }

    fn disarm(&self) {
        // SAFETY: the event is initialised.
        unsafe { disarm(self.0.get()) }
    }
}

unsafe extern "C" fn on_list_event(event: *mut ngx_event_t) {
    // SAFETY: nginx passes an event of ours, which is armed.
    guard((), || unsafe {
        TimerList::<ListEvent>::fire((*event).data.cast())
    });
}

unsafe extern "C" fn on_posted_list(event: *mut ngx_event_t) {
    // SAFETY: as above. It is posted, or in the timer tree, or both.
    unsafe {
        disarm(event);
        on_list_event(event);
    }
}

/// Sets a timer of `delay` milliseconds, or a call in that `turn`. It is not
/// cancelable: nginx does not leave before.
fn set(delay: Millis, turn: Turn, action: Action) -> Timer<ListEvent> {
    let kind = match delay {
        0 => turn.delay(),
        _ => delay as usize,
    };
    let list = LISTS.with_borrow_mut(|lists| lists.get(kind));
    let at = match delay {
        0 => list.fired(),
        _ => now_msec().saturating_add(delay),
    };
    Timer::set(list, at, action)
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

/// A future that completes after a while. Holds up a graceful shutdown until
/// then; dropping it takes the timer back.
pub struct Sleep {
    delay: Millis,
    timer: Option<Timer<ListEvent>>,
}

impl Sleep {
    /// Completes `msec` milliseconds after it is first polled; with 0, in the
    /// next round of the event loop.
    pub fn new(msec: Millis) -> Sleep {
        Sleep {
            delay: msec,
            timer: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_ref().is_some_and(Timer::has_expired) {
            return Poll::Ready(());
        }
        let action = Action::Wake(cx.waker().clone());
        match &self.timer {
            None => self.timer = Some(set(self.delay, Turn::Next, action)),
            Some(timer) => timer.set_action(action),
        }
        Poll::Pending
    }
}

/// A call at a later time. Holds up a graceful shutdown until then; dropping
/// it takes the call back.
pub struct Alarm(#[expect(dead_code, reason = "set while it is there")] Timer<ListEvent>);

impl Alarm {
    /// Has `f` called after `msec` milliseconds; with 0, in that `turn`.
    pub fn new(msec: Millis, turn: Turn, f: impl FnOnce() + 'static) -> Alarm {
        Alarm(set(msec, turn, Action::Call(Box::new(f))))
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
    /// What stands for the turn where timers have a delay.
    fn delay(self) -> usize {
        match self {
            Turn::This => 0,
            Turn::Next => usize::MAX,
        }
    }

    fn of(delay: usize) -> Option<Turn> {
        let turns = [Turn::This, Turn::Next];
        turns.into_iter().find(|turn| turn.delay() == delay)
    }

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
