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
use std::mem;
use std::os::raw::c_int;
use std::ptr;
use std::rc::Rc;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::chunk::{Chunk, LoadError};
use super::ffi;
use super::op::Parked;
use super::state::{Coroutine, Vm};
use crate::rt::{AddressMap, may_run_now, worker_local};

use end::end_all;
use light::{Family, Member};
use run::{Step, drive};

mod end;
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

/// Identifies a thread: the address of its base coroutine, and a number that
/// tells it from earlier threads which had that coroutine, or one at that address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId(usize);

impl ThreadId {
    /// Names nobody.
    const NONE: ThreadId = ThreadId(0);
    /// LuaJIT relies on it that objects are aligned to 8 bytes and stand below
    /// 2^47: so many bits are left for the number.
    const NUMBER_BITS: u32 = 20;
    const ALIGNMENT_BITS: u32 = 3;

    fn new(l: *mut ffi::lua_State, number: usize) -> ThreadId {
        let number = number & ((1 << Self::NUMBER_BITS) - 1);
        ThreadId(l.addr() << (Self::NUMBER_BITS - Self::ALIGNMENT_BITS) | number)
    }

    /// The base coroutine, to look for.
    fn coroutine(self) -> *const ffi::lua_State {
        ptr::without_provenance(self.0 >> Self::NUMBER_BITS << Self::ALIGNMENT_BITS)
    }
}

/// A thread: the entry thread of a handler, or a light one.
pub struct Thread {
    /// Given to it when it is asked for, first: a handler that does not wait
    /// needs none. One that has it is among the known ones while it lives.
    id: Cell<ThreadId>,
    life: Cell<Life>,
    host: Rc<dyn Host>,
    base: Coroutine,
    /// Coroutines above the base that are being resumed, each anchored in
    /// the registry while it is here.
    chain: RefCell<Vec<Coroutine>>,
    /// The last of these coroutines.
    top: Cell<*mut ffi::lua_State>,
    parked: Cell<Option<Box<dyn Parked>>>,
    /// Lua code may have got hold of the base coroutine, which cannot be
    /// recycled.
    escaped: Cell<bool>,
    /// A light thread that runs for the first time, inside of its parent:
    /// nobody knows of it yet.
    fresh: Cell<bool>,
    /// The number of the base coroutine as one that has spawned light threads;
    /// else 0.
    number: Cell<i64>,
    /// Its last coroutine is running, and may have called nginx.
    running: Cell<bool>,
    /// The `ngx.thread.wait` that it waits in, by number; else 0.
    wait: Cell<i64>,
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
            id: Cell::new(ThreadId::NONE),
            vm: vm.clone(),
            host,
            base,
            chain: RefCell::default(),
            top: Cell::new(base.l),
            parked: Cell::default(),
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
            ThreadId::NONE => SCHED.with(|s| s.register(self)),
            id => id,
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

    /// What error messages call it.
    fn kind(&self) -> &'static str {
        match self.light {
            None => "entry",
            Some(_) => "user",
        }
    }

    /// The coroutine that runs or waits.
    #[inline]
    fn top(&self) -> *mut ffi::lua_State {
        self.top.get()
    }

    /// Goes on in `child`, which it resumes.
    fn enter_coroutine(self: &Rc<Self>, child: Coroutine) {
        self.chain.borrow_mut().push(child);
        self.top.set(child.l);
        SCHED.with(|s| s.known.borrow_mut().insert(child.l, self.clone()));
    }

    /// Goes back to the one that has resumed the last coroutine, which is
    /// returned. None for the base coroutine.
    #[inline]
    fn leave_coroutine(&self) -> Option<Coroutine> {
        if self.top.get() == self.base.l {
            return None;
        }
        let mut chain = self.chain.borrow_mut();
        let child = chain.pop()?;
        self.top.set(chain.last().map_or(self.base.l, |co| co.l));
        drop(chain);
        SCHED.with(|s| s.forget(child.l));
        Some(child)
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

    /// A coroutine of the handler has ended.
    #[inline]
    fn coroutine_ended(self: &Rc<Self>, l: *mut ffi::lua_State) {
        if let Some(family) = self.entry().family.borrow_mut().as_mut() {
            family.forget_parent(l);
        }
    }
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
    /// Threads by their base coroutines, if they have an id, and by all others
    /// that they are resuming.
    known: RefCell<AddressMap<Rc<Thread>>>,
    /// How many threads were given an id.
    registered: Cell<usize>,
    current: Cell<Option<Rc<Thread>>>,
    /// The last coroutine that was resumed and has not stopped since.
    running: Cell<*mut ffi::lua_State>,
    request: Cell<Request>,
    spawned: Cell<Option<Rc<Thread>>>,
    ready: RefCell<VecDeque<ThreadId>>,
    post: Cell<Option<fn(Turn)>>,
    /// Collect all garbage before each resume.
    gc_stress: Cell<bool>,
    /// How many coroutines have spawned light threads.
    parents: Cell<i64>,
    /// How often a thread has waited for others.
    waits: Cell<i64>,
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
    with_current(|thread| thread.cloned())
}

/// Looks at the running thread; `f` must not ask for it again.
#[inline]
fn with_current<R>(f: impl FnOnce(Option<&Rc<Thread>>) -> R) -> R {
    SCHED.with(|s| {
        let thread = s.current.take();
        let result = f(thread.as_ref());
        let meanwhile = s.current.replace(thread);
        debug_assert!(meanwhile.is_none());
        mem::forget(meanwhile);
        result
    })
}

/// Whether Lua runs in a handler, with a scheduler above it.
pub fn in_handler() -> bool {
    with_current(|thread| thread.is_some())
}

/// Names the VM of the running thread; 0 where none runs.
pub fn current_vm() -> usize {
    with_current(|thread| thread.map_or(0, |thread| Rc::as_ptr(&thread.vm).addr()))
}

/// A waker for the running thread.
pub fn current_waker() -> Option<Waker> {
    with_current(|thread| thread.map(|thread| waker(thread.id())))
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
    SCHED.with(|s| s.known.borrow().get(l).cloned())
}

/// Ends all handlers; nobody hears of that.
pub fn kill_all() {
    let threads: Vec<_> = SCHED.with(|s| s.known.borrow().values().cloned().collect());
    threads.iter().for_each(|thread| kill(thread.entry()));
}

/// Keeps `op` until it completes; the caller then yields.
pub(super) fn park(op: Box<dyn Parked>) {
    let previous = with_current(|thread| {
        SCHED.with(|s| s.request.set(Request::Park));
        thread.and_then(|thread| thread.parked.replace(Some(op)))
    });
    // There is none: it was taken out to be polled.
    debug_assert!(previous.is_none());
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
    SCHED.with(|s| s.known.borrow().contains(l))
}

/// Whether a coroutine is what some thread runs, or waits in.
pub(super) fn is_top(l: *mut ffi::lua_State) -> bool {
    thread_of(l).is_some_and(|t| t.top() == l)
}

/// Whether `l` is what the scheduler runs, and not a coroutine that a C
/// function resumed on top of that.
#[inline]
pub(super) fn runs(l: *mut ffi::lua_State) -> bool {
    SCHED.with(|s| s.running.get()) == l
}

/// Lua code got hold of the running coroutine.
pub(super) fn mark_escaped(l: *mut ffi::lua_State) {
    if let Some(thread) = current()
        && thread.base.l == l
    {
        thread.escaped.set(true);
        thread.id();
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
    let Some(op) = thread.parked.take() else {
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
            known: RefCell::new(AddressMap::new()),
            registered: Cell::new(0),
            current: Cell::new(None),
            running: Cell::new(ptr::null_mut()),
            request: Cell::new(Request::None),
            spawned: Cell::new(None),
            ready: RefCell::new(VecDeque::new()),
            post: Cell::new(None),
            gc_stress: Cell::new(false),
            parents: Cell::new(0),
            waits: Cell::new(0),
        }
    }

    /// Gives the thread an id. That of one which has ended, but still runs,
    /// names nobody.
    #[inline(never)]
    fn register(&self, thread: &Rc<Thread>) -> ThreadId {
        let number = self.registered.get().wrapping_add(1);
        self.registered.set(number);
        let id = ThreadId::new(thread.base.l, number);
        thread.id.set(id);
        if thread.life.get() == Life::Alive {
            let mut known = self.known.borrow_mut();
            known.insert(thread.base.l, thread.clone());
        }
        id
    }

    fn get(&self, id: ThreadId) -> Option<Rc<Thread>> {
        let known = self.known.borrow();
        let thread = known.get(id.coroutine())?;
        (thread.id.get() == id).then(|| thread.clone())
    }

    /// A coroutine is not one of a thread any more.
    #[inline(always)]
    fn forget(&self, l: *mut ffi::lua_State) {
        let thread = self.known.borrow_mut().remove(l);
        drop(thread);
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
    |token| wake(ThreadId(token.addr())),
    |token| wake(ThreadId(token.addr())),
    |_| {},
);

fn waker(id: ThreadId) -> Waker {
    let token = ptr::without_provenance(id.0);
    // SAFETY: the token is a plain number, so the functions may be called at
    // any time and in any number; a worker has one thread only, so that the
    // waker never reaches another one.
    unsafe { Waker::from_raw(RawWaker::new(token, &WAKER)) }
}
