//! Handlers that no request waits for: timers, and code of the log phase and of
//! a worker's start that went on waiting.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::code::with_chunk;
use super::host::{self, Entry};
use super::quit;
use crate::conf::{LocConf, LuaSource};
use crate::rt::{Arena, Key, List, worker_local};
use crate::sys::context::Context;
use crate::sys::log::Level;
use crate::sys::phase::Phase;
use crate::vm::{Host, LoadError, Outcome, Thread, Vm, sched};

/// What the scheduler says of an error, where a directive has its own words.
const ENTRY_THREAD: &[u8] = b"lua entry thread aborted: runtime error: ";

/// A list in which things are found by key.
pub(super) struct Listed<T> {
    arena: Arena<T>,
    pub(super) list: List,
}

impl<T> Listed<T> {
    pub(super) const fn new() -> Listed<T> {
        Listed {
            arena: Arena::new(),
            list: List::new(),
        }
    }

    pub(super) fn push(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        self.arena.push_back(&mut self.list, make)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.arena.remove(&mut self.list, key)
    }

    /// Takes out all that `is_wanted`.
    pub(super) fn take(&mut self, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let is_wanted = |&key: &Key| self.arena.get(key).is_some_and(&is_wanted);
        let keys: Vec<_> = self.arena.keys(&self.list).filter(is_wanted).collect();
        keys.into_iter()
            .filter_map(|key| self.remove(key))
            .collect()
    }
}

struct All {
    listed: RefCell<Listed<Rc<Background>>>,
    counts: [Cell<usize>; Phase::COUNT],
}

worker_local! {
    static ALL: All = All {
        listed: RefCell::new(Listed::new()),
        counts: [const { Cell::new(0) }; Phase::COUNT],
    };
}

/// How many handlers of `phase` run, or wait.
pub(super) fn count(phase: Phase) -> usize {
    ALL.with(|all| all.counts[phase as usize].get())
}

/// Ends those whose VM `is_wanted`.
pub(super) fn cancel(is_wanted: impl Fn(&Vm) -> bool) {
    let handlers = ALL.with(|all| {
        let mut listed = all.listed.borrow_mut();
        listed.take(|handler| is_wanted(&handler.vm))
    });
    for handler in handlers {
        handler.cancel();
    }
}

/// A handler that no request waits for.
pub(super) struct Background {
    pub(super) context: Rc<Context>,
    conf: Option<&'static LocConf>,
    vm: Rc<Vm>,
    entry: Entry,
    /// Its place in the list, once it is in it.
    key: Cell<Option<Key>>,
    ended: Cell<bool>,
}

impl Background {
    pub(super) fn new(
        context: Rc<Context>,
        conf: Option<&'static LocConf>,
        vm: Rc<Vm>,
    ) -> Rc<Background> {
        Rc::new(Background {
            context,
            conf,
            vm,
            entry: Entry::default(),
            key: Cell::new(None),
            ended: Cell::new(false),
        })
    }

    /// Counts the handler, and has it end with the worker.
    pub(super) fn list(self: &Rc<Self>) {
        quit::watch();
        ALL.with(|all| {
            let key = all.listed.borrow_mut().push(|_| self.clone());
            self.key.set(Some(key));
            let count = &all.counts[self.context.phase() as usize];
            count.set(count.get() + 1);
        });
    }

    /// Runs the code of a directive until it ends or waits; as
    /// [`Background::started`].
    ///
    /// # Errors
    /// What is wrong with the code or its file; the handler has ended.
    pub(super) fn run(self: &Rc<Self>, source: &LuaSource) -> Result<bool, LoadError> {
        let started = with_chunk(source, self.context.request(), |chunk| {
            sched::start(&self.vm, self.clone(), chunk)
        });
        match started {
            Some(Ok(started)) => Ok(self.started(started)),
            Some(Err(error)) => {
                self.end();
                Err(error)
            }
            None => {
                self.end();
                Ok(false)
            }
        }
    }

    /// Takes over what came of its start. False where it has ended already.
    pub(super) fn started(&self, (thread, outcome): (Rc<Thread>, Option<Outcome>)) -> bool {
        if outcome.is_some() {
            self.end();
            return false;
        }
        self.entry.set(thread);
        true
    }

    /// Whether all of its code has run.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Ends it where it stands.
    pub(super) fn cancel(&self) {
        self.entry.kill();
        self.end();
    }

    /// All of its code has run.
    fn end(&self) {
        self.ended.set(true);
        self.entry.forget();
        self.context.end();
        let Some(key) = self.key.take() else { return };
        let this = ALL.with(|all| {
            let count = &all.counts[self.context.phase() as usize];
            count.set(count.get() - 1);
            all.listed.borrow_mut().remove(key)
        });
        drop(this);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(anchor) = self.context.set_lua_table(None) {
            self.vm.release(anchor);
        }
    }
}

impl Host for Background {
    fn enter(&self) {
        host::enter(self.conf, &self.context);
    }

    fn leave(&self) {
        host::leave();
    }

    fn suspended(&self) {}

    fn ended(self: Rc<Self>, _outcome: Outcome) {
        self.end();
    }

    fn log_error(&self, message: &[u8]) {
        let phase = self.context.phase();
        let said = message.strip_prefix(ENTRY_THREAD).unwrap_or(message);
        let text = match phase {
            Phase::Timer => return self.context.log(Level::Error, message),
            Phase::Log => format!("failed to run {}: ", phase.title()),
            _ => format!("{} error: ", phase.directive()),
        };
        self.context
            .log(Level::Error, [text.as_bytes(), said].concat());
    }
}
