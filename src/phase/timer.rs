//! Timers: they wait for their time, and run as handlers of their own.

use std::cell::RefCell;

use super::background::{self, Background, Listed};
use super::{module, quit};
use crate::conf::{self, LocConf};
use crate::lua::timer::Timers;
use crate::rt::worker_local;
use crate::sys::context::{self, Context, Origin};
use crate::sys::event::{Alarm, Turn};
use crate::sys::log::{self, Level};
use crate::sys::phase::Phase;
use crate::sys::process;
use crate::vm::{Call, Vm};

/// What `ngx.timer` calls.
pub static TIMERS: Timers = Timers {
    start,
    pending: || PENDING.with_borrow(|pending| pending.list.len()),
    running: || background::count(Phase::Timer),
};

/// Where a timer was created decides what its code finds configured.
#[derive(Clone, Copy)]
struct Place {
    conf: Option<&'static LocConf>,
    origin: Origin,
}

/// A timer that waits for its time.
struct Pending {
    call: Call,
    place: Place,
    /// Milliseconds from one call to the next.
    every: Option<u64>,
    _alarm: Alarm,
}

worker_local! {
    static PENDING: RefCell<Listed<Pending>> = RefCell::new(Listed::new());
}

/// `ngx.timer.at` and `every`.
fn start(call: Call, delay: u64, every: bool) -> Result<(), &'static str> {
    let limit = module::current_main().map_or(0, |main| main.conf.max_pending_timers());
    if (TIMERS.pending)() >= limit {
        return Err("too many pending timers");
    }
    let place = Place {
        conf: conf::current(),
        origin: context::current().map_or_else(Origin::of_worker, |context| context.origin()),
    };
    quit::watch();
    // At once, unless timers that create timers would leave no time for
    // anything else.
    let turn = match context::current().and_then(|context| context.request()) {
        Some(_) => Turn::This,
        None => Turn::Next,
    };
    schedule(call, delay, every.then_some(delay), place, turn);
    Ok(())
}

fn schedule(call: Call, delay: u64, every: Option<u64>, place: Place, turn: Turn) {
    PENDING.with_borrow_mut(|pending| {
        pending.push(|key| Pending {
            call,
            place,
            every,
            _alarm: Alarm::new(delay, turn, move || {
                let timer = PENDING.with_borrow_mut(|pending| pending.remove(key));
                if let Some(timer) = timer {
                    fire(timer, false);
                }
            }),
        })
    });
}

/// The time of a timer that was pending has come, or will not come any more.
fn fire(timer: Pending, premature: bool) {
    let Pending {
        call, place, every, ..
    } = timer;
    if let Some(delay) = every.filter(|_| !process::exiting()) {
        match call.duplicate() {
            Some(next) => schedule(next, delay, every, place, Turn::Next),
            None => log::cycle(Level::Error, "failed to create the next timer: no memory"),
        }
    }
    let limit = module::current_main().map_or(0, |main| main.conf.max_running_timers());
    if (TIMERS.running)() >= limit {
        log::cycle(
            Level::Alert,
            format!(
                "lua failed to run timer with function defined at {}: \
                 {limit} lua_max_running_timers are not enough",
                call.place()
            ),
        );
        return;
    }
    let context = Context::of_timer(place.origin);
    let handler = Background::new(context, place.conf, call.vm().clone());
    handler.list();
    handler.started(call.start(premature, handler.clone()));
}

/// Those that are pending fire now: their worker leaves.
pub(super) fn fire_all() {
    let pending = PENDING.with_borrow_mut(|pending| pending.take(|_| true));
    for timer in pending {
        fire(timer, true);
    }
}

/// Takes back those pending ones whose VM `is_wanted`.
pub(super) fn drop_pending(is_wanted: impl Fn(&Vm) -> bool) {
    let pending = PENDING.with_borrow_mut(|pending| pending.take(|t| is_wanted(t.call.vm())));
    drop(pending);
}
