//! Timers: those that wait for their time, and those that run, each a handler
//! of its own without a request.

use std::cell::RefCell;
use std::rc::Rc;

use super::module;
use crate::conf::{self, LocConf};
use crate::lua::timer::Timers;
use crate::rt::{Arena, Key, List};
use crate::sys::context::{self, Context, Origin};
use crate::sys::event::{Alarm, Turn};
use crate::sys::log::{self, Level};
use crate::sys::process;
use crate::sys::quit::{Quit, QuitWatch};
use crate::vm::{Call, Host, Outcome, Thread, Vm, sched};

/// What `ngx.timer` calls.
pub static TIMERS: Timers = Timers {
    start,
    pending: || ALL.with(|all| all.pending.borrow().list.len()),
    running: || ALL.with(|all| all.running.borrow().list.len()),
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

struct Listed<T> {
    arena: Arena<T>,
    list: List,
}

impl<T> Default for Listed<T> {
    fn default() -> Listed<T> {
        Listed {
            arena: Arena::new(),
            list: List::new(),
        }
    }
}

impl<T> Listed<T> {
    fn push(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        self.arena.push_back(&mut self.list, make)
    }

    fn remove(&mut self, key: Key) -> Option<T> {
        self.arena.remove(&mut self.list, key)
    }

    /// Takes out all that `is_wanted`.
    fn take(&mut self, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let is_wanted = |&key: &Key| self.arena.get(key).is_some_and(&is_wanted);
        let keys: Vec<_> = self.arena.keys(&self.list).filter(is_wanted).collect();
        keys.into_iter()
            .filter_map(|key| self.remove(key))
            .collect()
    }
}

#[derive(Default)]
struct All {
    pending: RefCell<Listed<Pending>>,
    running: RefCell<Listed<Rc<TimerHandler>>>,
    watch: RefCell<Option<QuitWatch>>,
}

thread_local! {
    static ALL: All = All::default();
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
    ALL.with(|all| {
        let mut watch = all.watch.borrow_mut();
        if watch.is_none() {
            // Without one the worker leaves only when the timers have fired.
            *watch = QuitWatch::new(on_quit);
        }
    });
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
    ALL.with(|all| {
        all.pending.borrow_mut().push(|key| Pending {
            call,
            place,
            every,
            _alarm: Alarm::new(delay, turn, move || {
                let timer = ALL.with(|all| all.pending.borrow_mut().remove(key));
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
    TimerHandler::run(call, place, premature);
}

/// nginx shuts down gracefully: timers do not wait for their time, and where
/// they take too long they do not go on.
fn on_quit(quit: Quit) {
    let pending = ALL.with(|all| all.pending.borrow_mut().take(|_| true));
    if quit == Quit::Overdue {
        drop(pending);
        cancel_running(|_| true);
        return;
    }
    for timer in pending {
        fire(timer, true);
    }
}

/// The worker ends.
pub fn exit() {
    let pending = ALL.with(|all| all.pending.borrow_mut().take(|_| true));
    drop(pending);
    cancel_running(|_| true);
    let watch = ALL.with(|all| all.watch.borrow_mut().take());
    drop(watch);
}

/// A configuration goes: so do the timers that came from it.
pub fn cancel_all_of(owner: usize) {
    let pending = ALL.with(|all| {
        let mut pending = all.pending.borrow_mut();
        pending.take(|timer| timer.call.vm().owner() == owner)
    });
    drop(pending);
    cancel_running(|handler| handler.vm.owner() == owner);
}

fn cancel_running(is_wanted: impl Fn(&TimerHandler) -> bool) {
    let running = ALL.with(|all| all.running.borrow_mut().take(|handler| is_wanted(handler)));
    for handler in running {
        let entry = handler.entry.take();
        if let Some(thread) = entry {
            sched::kill(&thread);
        }
        handler.context.end();
    }
}

/// A timer that runs.
struct TimerHandler {
    key: Key,
    context: Rc<Context>,
    conf: Option<&'static LocConf>,
    entry: RefCell<Option<Rc<Thread>>>,
    vm: Rc<Vm>,
}

impl TimerHandler {
    fn run(call: Call, place: Place, premature: bool) {
        let mut handler = None;
        ALL.with(|all| {
            all.running.borrow_mut().push(|key| {
                let new = Rc::new(TimerHandler {
                    key,
                    context: Context::of_timer(place.origin),
                    conf: place.conf,
                    entry: RefCell::new(None),
                    vm: call.vm().clone(),
                });
                handler = Some(new.clone());
                new
            })
        });
        let Some(handler) = handler else { return };
        let (thread, outcome) = call.start(premature, handler.clone());
        match outcome {
            Some(_) => handler.end(),
            None => *handler.entry.borrow_mut() = Some(thread),
        }
    }

    /// All of its code has run.
    fn end(&self) {
        let entry = self.entry.take();
        drop(entry);
        self.context.end();
        let this = ALL.with(|all| all.running.borrow_mut().remove(self.key));
        drop(this);
    }
}

impl Drop for TimerHandler {
    fn drop(&mut self) {
        if let Some(anchor) = self.context.set_lua_table(None) {
            self.vm.release(anchor);
        }
    }
}

impl Host for TimerHandler {
    fn enter(&self) {
        conf::set_current(self.conf);
        context::set_current(Some(self.context.clone()));
    }

    fn leave(&self) {
        context::set_current(None);
        conf::set_current(None);
    }

    fn suspended(&self) {}

    fn ended(self: Rc<Self>, _outcome: Outcome) {
        self.end();
    }

    fn log_error(&self, message: &[u8]) {
        self.context.log(Level::Error, message);
    }
}
