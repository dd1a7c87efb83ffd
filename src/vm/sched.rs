//! The scheduler: light threads, their coroutines, and who is running.
//!
//! A [`Thread`] is a chain of coroutines: the one it was started with, and
//! above it those that are being resumed. Only the last one runs or waits.
//! An operation that waits is parked in the thread; its waker carries the
//! thread's id, so a wake that comes too late finds nothing and does nothing.
//!
//! A handler begins with its entry thread, which may spawn light ones (see
//! [`light`]). It ends when all of them have ended, or when one ends them all.
//!
//! Lua runs nested only where nginx calls a handler from inside a call that
//! Lua made, and in the first run of a light thread. What is woken runs at once
//! only where an event's handler has nothing else to do (see
//! [`crate::rt::wake_now`]); otherwise it is put on the ready queue.
//!
//! Out here no Lua function catches errors, so calls into Lua that may raise
//! one are made inside of `protect`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::chunk::{Chunk, LoadError};
use super::ffi;
use super::op::Parked;
use super::state::{Coroutine, Vm};
use crate::rt::{AddressMap, may_run_now, worker_local};

use light::{Family, Member};
use run::{Step, drive, end_all};

pub(super) mod light;
mod run;

pub use light::{join_handler, spawn_in_background};

/// What a handler runs in: a request, a worker hook, a timer.
pub trait Host {
    /// Lua of this host is about to run.
    fn enter(&self);
    /// It stopped running; `enter` of another host may follow.
    fn leave(&self);
    /// All of its threads wait now, or have ended.
    fn suspended(&self);
    /// The handler, which had to wait, has come to its end. Not called when
    /// it ends within [`start`].
    fn ended(self: Rc<Self>, outcome: Outcome);
    /// The handler's code has returned `first`, and maybe other values.
    fn returned(&self, _first: Option<f64>) {}
    /// Writes an error of the handler to error.log.
    fn log_error(&self, message: &[u8]);
}

/// How a handler, or one of its threads, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Lua function returned.
    Done,
    /// `ngx.exit(status)` and its like.
    Exit(i32),
    /// A Lua error; it is logged already.
    Error,
}

/// Identifies a thread; the generation tells a new thread from an ended one
/// that used the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId {
    index: u32,
    generation: u32,
}

impl ThreadId {
    fn to_token(self) -> usize {
        ((self.generation as usize) << 32) | self.index as usize
    }

    fn from_token(token: usize) -> ThreadId {
        ThreadId {
            index: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

/// A thread: the entry thread of a handler, or a light one.
pub struct Thread {
    /// Given to it when it is asked for, first: a handler that does not wait
    /// needs none.
    id: Cell<Option<ThreadId>>,
    life: Cell<Life>,
    host: Rc<dyn Host>,
    base: Coroutine,
    /// Coroutines above the base that are being resumed, each anchored in
    /// the registry while it is here.
    chain: RefCell<Vec<Coroutine>>,
    parked: RefCell<Option<Box<dyn Parked>>>,
    /// Lua code may have got hold of the base coroutine: it is among the active
    /// ones, and cannot be recycled.
    escaped: Cell<bool>,
    /// A light thread that runs for the first time, inside of its parent:
    /// nobody knows of it yet.
    fresh: Cell<bool>,
    /// The number of the base coroutine as one that has spawned light threads;
    /// else 0.
    number: Cell<u64>,
    /// Its last coroutine is running, and may have called nginx.
    running: Cell<bool>,
    /// The `ngx.thread.wait` that it waits in, by number; else 0.
    wait: Cell<u64>,
    /// What makes it a light thread.
    light: Option<Member>,
    /// The light threads of an entry thread, once there was one.
    family: RefCell<Option<Box<Family>>>,
    // Dropped after everything that refers to the Lua state.
    vm: Rc<Vm>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    Ended,
    /// Ended from outside, with its whole handler: nobody is to hear of it.
    Cancelled,
}

impl Thread {
    #[inline]
    fn new(vm: &Rc<Vm>, host: Rc<dyn Host>, base: Coroutine, light: Option<Member>) -> Rc<Thread> {
        Rc::new(Thread {
            id: Cell::new(None),
            vm: vm.clone(),
            host,
            base,
            chain: RefCell::default(),
            parked: RefCell::default(),
            escaped: Cell::new(false),
            fresh: Cell::new(light.is_some()),
            number: Cell::new(0),
            running: Cell::new(false),
            wait: Cell::new(0),
            life: Cell::new(Life::Alive),
            light,
            family: RefCell::new(None),
        })
    }

    /// The thread's id.
    #[inline]
    pub fn id(self: &Rc<Self>) -> ThreadId {
        match self.id.get() {
            Some(id) => id,
            None => SCHED.with(|s| s.register(self)),
        }
    }

    /// The VM that the thread runs in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// The thread's host.
    pub fn host(&self) -> &Rc<dyn Host> {
        &self.host
    }

    /// Lua code may have a hand on the base coroutine from now on.
    fn activate(self: &Rc<Self>) {
        if !self.escaped.replace(true) {
            let id = self.id();
            SCHED.with(|s| s.active.borrow_mut().insert(self.base.l, id));
        }
    }

    /// What error messages call it.
    fn kind(&self) -> &'static str {
        match self.light {
            None => "entry",
            Some(_) => "user",
        }
    }

    fn top(&self) -> *mut ffi::lua_State {
        self.chain.borrow().last().map_or(self.base.l, |co| co.l)
    }

    /// The entry thread of its handler.
    fn entry(self: &Rc<Self>) -> &Rc<Thread> {
        self.light.as_ref().map_or(self, |member| &member.entry)
    }

    /// Whether it is an entry thread that has spawned nobody, and lives.
    fn is_alone(&self) -> bool {
        self.light.is_none() && self.family.borrow().is_none() && self.life.get() == Life::Alive
    }

    /// Whether the handler of this entry thread has nothing left to run.
    fn is_over(&self) -> bool {
        self.life.get() != Life::Alive && self.family.borrow().as_ref().is_none_or(|f| f.is_idle())
    }

    /// It has spawned another thread, which goes first.
    fn go_on_later(self: &Rc<Self>) {
        if let Some(family) = self.entry().family.borrow_mut().as_mut() {
            family.go_on_later(self.clone());
        }
    }

    /// A coroutine above the base ends with the thread.
    fn forget(self: &Rc<Self>, co: Coroutine) {
        self.coroutine_ended(co.l);
        SCHED.with(|s| s.active.borrow_mut().remove(co.l));
    }

    /// A coroutine of the handler has ended.
    #[inline]
    fn coroutine_ended(self: &Rc<Self>, l: *mut ffi::lua_State) {
        if let Some(family) = self.entry().family.borrow_mut().as_mut() {
            family.forget_parent(l);
        }
    }
}

struct Slot {
    generation: u32,
    thread: Option<Rc<Thread>>,
}

/// Values that a coroutine which waits has room for: Lua promises 20 slots to
/// the function that yielded, whose own values are few.
pub(super) const FREE_SLOTS: c_int = 10;

/// Why the running coroutine yielded.
#[derive(Clone, Copy, Default)]
enum Request {
    /// Not through a function of ours: treated as `coroutine.yield`.
    #[default]
    None,
    Park,
    Resume(Coroutine, c_int),
    /// To run the thread in `spawned`, which has so many values on its stack.
    Spawn(c_int),
    Exit(i32),
}

struct Scheduler {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    current: RefCell<Option<Rc<Thread>>>,
    request: Cell<Request>,
    spawned: Cell<Option<Rc<Thread>>>,
    ready: RefCell<VecDeque<ThreadId>>,
    /// Coroutines that Lua code may have a hand on, and that are in some
    /// thread's chain or the base of one.
    active: RefCell<AddressMap<ThreadId>>,
    post: Cell<Option<fn(Turn)>>,
    /// Collect all garbage before each resume.
    gc_stress: Cell<bool>,
    /// How many coroutines have spawned light threads.
    parents: Cell<u64>,
    /// How often a thread has waited for others.
    waits: Cell<u64>,
}

/// When the ready queue is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Once the current event is done.
    Soon,
    /// After new events were taken in.
    AfterEvents,
}

worker_local! {
    static SCHED: Scheduler = Scheduler::new();
}

/// Finds code that relies on garbage staying where it is: from now on all of
/// it is collected before Lua is resumed.
pub fn stress_collector() {
    SCHED.with(|s| s.gc_stress.set(true));
}

/// Says how to have [`run_ready`] called from the event loop.
pub fn set_poster(post: fn(Turn)) {
    SCHED.with(|s| s.post.set(Some(post)));
}

/// The running thread, if Lua runs in a handler.
pub fn current() -> Option<Rc<Thread>> {
    SCHED.with(|s| s.current.borrow().clone())
}

/// Whether Lua runs in a handler, with a scheduler above it.
pub fn in_handler() -> bool {
    SCHED.with(|s| s.current.borrow().is_some())
}

/// Names the VM of the running thread; 0 where none runs.
pub fn current_vm() -> usize {
    SCHED.with(|s| match &*s.current.borrow() {
        Some(thread) => Rc::as_ptr(&thread.vm).addr(),
        None => 0,
    })
}

/// A waker for the running thread.
pub fn current_waker() -> Option<Waker> {
    SCHED.with(|s| s.current.borrow().as_ref().map(|t| waker(t.id())))
}

/// Starts a handler that runs `chunk`. Some(outcome) when it ended at once;
/// else the host hears of the end.
///
/// Its entry thread is returned too, so that its owner can [`kill`] it.
///
/// # Errors
/// What is wrong with the file or the code in it.
#[inline(always)]
pub fn start(
    vm: &Rc<Vm>,
    host: Rc<dyn Host>,
    chunk: &Chunk<'_>,
) -> Result<(Rc<Thread>, Option<Outcome>), LoadError> {
    let base = vm.prepare(chunk)?;
    Ok(begin(vm, host, base, 0))
}

/// Starts a handler whose function stands with `nargs` arguments on `base`.
#[inline(always)]
pub(super) fn begin(
    vm: &Rc<Vm>,
    host: Rc<dyn Host>,
    base: Coroutine,
    nargs: c_int,
) -> (Rc<Thread>, Option<Outcome>) {
    let thread = Thread::new(vm, host, base, None);
    let outcome = drive(&thread, Step::Resume(nargs));
    (thread, outcome)
}

/// Ends a handler: cancels what its threads wait for and abandons their
/// coroutines. Harmless for one that has ended.
pub fn kill(entry: &Rc<Thread>) {
    end_all(entry, false);
    entry.life.set(Life::Cancelled);
}

/// The thread that has the coroutine `l`, which Lua code has a hand on.
fn thread_of(l: *mut ffi::lua_State) -> Option<Rc<Thread>> {
    SCHED.with(|s| {
        let id = *s.active.borrow().get(l)?;
        s.get(id)
    })
}

/// Ends all handlers; nobody hears of that.
pub fn kill_all() {
    let threads: Vec<_> = SCHED.with(|s| {
        let slots = s.slots.borrow();
        slots
            .iter()
            .filter_map(|slot| slot.thread.clone())
            .collect()
    });
    threads.iter().for_each(|thread| kill(thread.entry()));
}

/// Keeps `op` until it completes; the caller then yields.
pub(super) fn park(op: Box<dyn Parked>) {
    SCHED.with(|s| {
        if let Some(thread) = &*s.current.borrow() {
            // There is none: it was taken out to be polled.
            let previous = thread.parked.replace(Some(op));
            debug_assert!(previous.is_none());
            s.request.set(Request::Park);
        }
    });
}

/// Ends the running handler with `status` once the caller yields.
pub fn request_exit(status: i32) {
    SCHED.with(|s| s.request.set(Request::Exit(status)));
}

/// Resumes the coroutine `child`, which holds `nargs` arguments, once the
/// caller yields.
pub(super) fn request_resume(child: Coroutine, nargs: c_int) {
    SCHED.with(|s| s.request.set(Request::Resume(child, nargs)));
}

/// Runs `thread`, which holds `nargs` arguments, once the caller yields the
/// value that it wants back.
fn request_spawn(thread: Rc<Thread>, nargs: c_int) {
    SCHED.with(|s| {
        s.spawned.set(Some(thread));
        s.request.set(Request::Spawn(nargs));
    });
}

/// Whether a coroutine is being resumed, in whatever thread.
pub(super) fn is_active(l: *mut ffi::lua_State) -> bool {
    SCHED.with(|s| s.active.borrow().contains(l))
}

/// Whether a coroutine is what some thread runs, or waits in.
pub(super) fn is_top(l: *mut ffi::lua_State) -> bool {
    thread_of(l).is_some_and(|t| t.top() == l)
}

/// Whether `l` is what the scheduler runs, and not a coroutine that a C
/// function resumed on top of that.
pub(super) fn runs(l: *mut ffi::lua_State) -> bool {
    SCHED.with(|s| s.current.borrow().as_ref().is_some_and(|t| t.top() == l))
}

/// Lua code got hold of the running coroutine.
pub(super) fn mark_escaped(l: *mut ffi::lua_State) {
    if let Some(thread) = current()
        && thread.base.l == l
    {
        thread.activate();
    }
}

/// Polls what the thread waits for, and resumes it when that is complete: at
/// once where that is allowed, else from the event loop.
pub fn wake(id: ThreadId) {
    if may_run_now() && !in_handler() {
        advance(id);
    } else {
        make_ready(id, Turn::Soon);
    }
}

fn make_ready(id: ThreadId, turn: Turn) {
    SCHED.with(|s| {
        s.ready.borrow_mut().push_back(id);
        if let Some(post) = s.post.get() {
            post(turn);
        }
    });
}

fn advance(id: ThreadId) {
    let Some(thread) = SCHED.with(|s| s.get(id)) else {
        return;
    };
    let Some(op) = thread.parked.borrow_mut().take() else {
        return;
    };
    if let Some(outcome) = drive(&thread, Step::Poll(op)) {
        thread.host.clone().ended(outcome);
    }
}

/// Wakes those threads that were ready when it was called.
pub fn run_ready() {
    let count = SCHED.with(|s| s.ready.borrow().len());
    for _ in 0..count {
        let Some(id) = SCHED.with(|s| s.ready.borrow_mut().pop_front()) else {
            return;
        };
        advance(id);
    }
}

impl Scheduler {
    const fn new() -> Scheduler {
        Scheduler {
            slots: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            current: RefCell::new(None),
            request: Cell::new(Request::None),
            spawned: Cell::new(None),
            ready: RefCell::new(VecDeque::new()),
            active: RefCell::new(AddressMap::new()),
            post: Cell::new(None),
            gc_stress: Cell::new(false),
            parents: Cell::new(0),
            waits: Cell::new(0),
        }
    }

    /// Gives the thread an id.
    #[inline(never)]
    fn register(&self, thread: &Rc<Thread>) -> ThreadId {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot {
                generation: 0,
                thread: None,
            });
            (slots.len() - 1) as u32
        });
        let slot = &mut slots[index as usize];
        let id = ThreadId {
            index,
            generation: slot.generation,
        };
        slot.thread = Some(thread.clone());
        thread.id.set(Some(id));
        id
    }

    fn get(&self, id: ThreadId) -> Option<Rc<Thread>> {
        let slots = self.slots.borrow();
        let slot = slots.get(id.index as usize)?;
        if slot.generation == id.generation {
            slot.thread.clone()
        } else {
            None
        }
    }

    fn remove(&self, id: ThreadId) -> Option<Rc<Thread>> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let thread = slot.thread.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.borrow_mut().push(id.index);
        Some(thread)
    }
}

/// Makes a handler's thread the running one, and on drop the one before it
/// again.
struct Entered<'t> {
    thread: &'t Thread,
    previous: Option<Rc<Thread>>,
}

impl Entered<'_> {
    fn new(thread: &Rc<Thread>) -> Entered<'_> {
        let previous = SCHED.with(|s| s.current.replace(Some(thread.clone())));
        thread.host.enter();
        Entered { thread, previous }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.thread.host.leave();
        if let Some(previous) = &self.previous {
            previous.host.enter();
        }
        let ended = SCHED.with(|s| s.current.replace(self.previous.take()));
        drop(ended);
    }
}

const WAKER: RawWakerVTable = RawWakerVTable::new(
    |token| RawWaker::new(token, &WAKER),
    |token| wake(ThreadId::from_token(token.addr())),
    |token| wake(ThreadId::from_token(token.addr())),
    |_| {},
);

fn waker(id: ThreadId) -> Waker {
    let token = std::ptr::without_provenance(id.to_token());
    // SAFETY: the token is a plain number, so the functions may be called at
    // any time and in any number; a worker has one thread only, so that the
    // waker never reaches another one.
    unsafe { Waker::from_raw(RawWaker::new(token, &WAKER)) }
}
