//! Keepalive pools of one worker (sheet, section 6), generic over what they keep.
//!
//! A pool counts its *active* connections (each holds a [`Lease`], from before it is connected)
//! and keeps the idle ones, newest last. It lives while it has any of either. With a backlog,
//! connects that find every slot taken hold a [`Ticket`] in a queue; a freed slot, or a
//! connection put back, is granted to the first of them and nobody can take it in between.
//!
//! Hence: while somebody waits there is no idle connection, and there is an active one (or a
//! grant not picked up yet, which counts as active).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::rt::{Arena, Key, List};
use crate::sock::pool_name::{OwnName, PoolName};

/// So many pools are looked at one after the other.
const FEW: usize = 8;

/// Names an idle connection to the backend. Stale keys are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleKey(Key);

/// What can be kept in a pool.
pub trait Poolable {
    /// Called when the connection becomes idle; from then on `key` is to be reported to
    /// [`Pools::on_idle_event`]. Must not call into the pools.
    fn park(&mut self, key: IdleKey);
}

/// The pools of a worker. Cheap to clone; all clones are the same pools.
pub struct Pools<I: Poolable>(Rc<RefCell<Registry<I>>>);

struct Registry<I> {
    /// A tree: comparing some names beats hashing one. While there are very few, not even that
    /// is needed, see [`Registry::find`].
    by_name: BTreeMap<Rc<[u8]>, Key>,
    pools: Arena<Pool>,
    all: List,
    idle: Arena<Parked<I>>,
    queue: Arena<Waiting<I>>,
    /// Entries of `queue` that were granted something and have not picked it up.
    granted: List,
}

struct Pool {
    name: OwnName,
    size: usize,
    backlog: Option<usize>,
    /// Leases and grants.
    active: usize,
    /// Least recently used first.
    idle: List,
    waiting: List,
}

impl Pool {
    /// Makes `item` idle in this pool, whose key is `key`; returns the connection that is too many
    /// then.
    #[inline(always)]
    fn park<I: Poolable>(
        &mut self,
        idle: &mut Arena<Parked<I>>,
        key: Key,
        mut item: I,
    ) -> Option<I> {
        let oldest = match idle.front(&self.idle) {
            Some(oldest) if self.idle.len() >= self.size => idle.remove(&mut self.idle, oldest),
            _ => None,
        };
        idle.push_back(&mut self.idle, |entry| {
            item.park(IdleKey(entry));
            Parked { item, pool: key }
        });
        oldest.map(|parked| parked.item)
    }
}

struct Parked<I> {
    item: I,
    pool: Key,
}

struct Waiting<I> {
    pool: Key,
    state: WaitState<I>,
}

enum WaitState<I> {
    Queued(Option<Waker>),
    /// A slot, with a connection if one came back.
    Granted(Option<I>),
}

/// What a connect gets from its pool.
pub enum Acquired<I: Poolable> {
    /// There is no such pool, and none was asked for.
    Unpooled,
    /// An idle connection.
    Hit(Lease<I>, I),
    /// Leave to open a connection.
    Slot(Lease<I>),
    /// All slots are taken: a place in the queue.
    Queued(Ticket<I>),
    /// The queue is full as well.
    Full,
}

impl<I: Poolable> Pools<I> {
    /// No pool yet.
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(Registry {
            by_name: BTreeMap::new(),
            pools: Arena::new(),
            all: List::new(),
            idle: Arena::new(),
            queue: Arena::new(),
            granted: List::new(),
        })))
    }

    /// Takes the most recently used idle connection of the pool called `name`.
    pub fn take_idle(&self, name: PoolName<'_>) -> Option<(Lease<I>, I)> {
        let (pool, item) = self.0.borrow_mut().take_idle(name)?;
        Some((self.lease(pool), item))
    }

    /// Whether there is a pool called `name`.
    pub fn contains(&self, name: PoolName<'_>) -> bool {
        self.0.borrow().find(name).is_some()
    }

    /// Begins a connect under the pool called `name`. Where there is none, `size` creates it;
    /// size and backlog of an existing one stay.
    pub fn acquire(&self, name: &[u8], size: Option<usize>, backlog: Option<usize>) -> Acquired<I> {
        if let Some((lease, item)) = self.take_idle(PoolName::Text(name)) {
            return Acquired::Hit(lease, item);
        }
        let mut registry = self.0.borrow_mut();
        let Some(key) = registry.find_or_create(name, size, backlog) else {
            return Acquired::Unpooled;
        };
        let Registry { pools, queue, .. } = &mut *registry;
        let Some(pool) = pools.get_mut(key) else {
            return Acquired::Unpooled;
        };
        match pool.backlog {
            Some(backlog) if pool.active + pool.idle.len() >= pool.size => {
                if pool.waiting.len() >= backlog {
                    return Acquired::Full;
                }
                let entry = queue.push_back(&mut pool.waiting, |_| Waiting {
                    pool: key,
                    state: WaitState::Queued(None),
                });
                Acquired::Queued(Ticket {
                    pools: self.clone(),
                    entry: Some(entry),
                })
            }
            _ => {
                pool.active += 1;
                Acquired::Slot(self.lease(key))
            }
        }
    }

    /// Puts a connection with a lease back: to the first that waits, else among the idle ones.
    pub fn put(&self, mut lease: Lease<I>, item: I) {
        if let Some(pool) = lease.pool.take() {
            let (waker, surplus) = self.0.borrow_mut().put(pool, item);
            wake(waker);
            drop(surplus);
        }
    }

    /// Makes a connection without a lease idle in the pool called `name`, which is created with
    /// `size` if need be. It is closed instead where the pool has a backlog, hence a limit, and
    /// no slot is free.
    pub fn put_new(&self, name: &[u8], size: usize, item: I) {
        let surplus = self.0.borrow_mut().put_new(name, size, item);
        drop(surplus);
    }

    /// An idle connection got data, end of file, an error, or its timeout passed, or nginx wants
    /// it closed: closes it and frees its slot. A stale key does nothing.
    ///
    /// Called by the backend from the event loop, or from within
    /// [`Net::connect`](crate::sock::Net::connect) when nginx runs out of connections.
    pub fn on_idle_event(&self, key: IdleKey) {
        let item = self.0.borrow_mut().remove_idle(key);
        drop(item);
    }

    /// Closes all idle connections: the worker ends.
    pub fn close_idle(&self) {
        let names: Vec<Rc<[u8]>> = self.0.borrow().by_name.keys().cloned().collect();
        for name in names {
            while let Some((lease, item)) = self.take_idle(PoolName::Text(&name)) {
                drop(item);
                drop(lease);
            }
        }
    }

    /// The number of pools that live.
    pub fn len(&self) -> usize {
        self.0.borrow().all.len()
    }

    /// Whether there is no pool.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lease(&self, pool: Key) -> Lease<I> {
        Lease {
            pools: self.clone(),
            pool: Some(pool),
        }
    }
}

impl<I: Poolable> Clone for Pools<I> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<I: Poolable> Default for Pools<I> {
    fn default() -> Self {
        Self::new()
    }
}

/// With the registry released, since waking may run Lua, which may come back for it.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<I: Poolable> Registry<I> {
    fn find_or_create(
        &mut self,
        name: &[u8],
        size: Option<usize>,
        backlog: Option<usize>,
    ) -> Option<Key> {
        if let Some(&key) = self.by_name.get(name) {
            return Some(key);
        }
        let pool = Pool {
            name: OwnName::new(name),
            size: size?.max(1),
            backlog,
            active: 0,
            idle: List::new(),
            waiting: List::new(),
        };
        let name = Rc::clone(pool.name.text());
        let key = self.pools.push_back(&mut self.all, |_| pool);
        self.by_name.insert(name, key);
        Some(key)
    }

    #[inline(always)]
    fn find(&self, name: PoolName<'_>) -> Option<Key> {
        if self.all.len() <= FEW {
            return self.pools.find(&self.all, |pool| pool.name.is(name));
        }
        self.find_among_many(name)
    }

    #[inline(never)]
    fn find_among_many(&self, name: PoolName<'_>) -> Option<Key> {
        match name {
            PoolName::Text(text) => self.by_name.get(text).copied(),
            peer => self.by_name.get(&*peer.text()).copied(),
        }
    }

    #[inline(always)]
    fn take_idle(&mut self, name: PoolName<'_>) -> Option<(Key, I)> {
        let key = self.find(name)?;
        let pool = self.pools.get_mut(key)?;
        let newest = self.idle.back(&pool.idle)?;
        let parked = self.idle.remove(&mut pool.idle, newest)?;
        pool.active += 1;
        Some((key, parked.item))
    }

    /// Returns whom to wake, and what to close.
    #[inline(always)]
    fn put(&mut self, key: Key, item: I) -> (Option<Waker>, Option<I>) {
        let Some(pool) = self.pools.get_mut(key) else {
            return (None, Some(item));
        };
        if !pool.waiting.is_empty() {
            return (self.grant(key, Some(item)), None);
        }
        pool.active = pool.active.saturating_sub(1);
        (None, pool.park(&mut self.idle, key, item))
    }

    fn put_new(&mut self, name: &[u8], size: usize, item: I) -> Option<I> {
        let Some(key) = self.find_or_create(name, Some(size), None) else {
            return Some(item);
        };
        match self.pools.get_mut(key) {
            Some(pool) if pool.backlog.is_none() || pool.active + pool.idle.len() < pool.size => {
                pool.park(&mut self.idle, key, item)
            }
            _ => Some(item),
        }
    }

    fn remove_idle(&mut self, key: IdleKey) -> Option<I> {
        let pool = self.idle.get(key.0)?.pool;
        let list = &mut self.pools.get_mut(pool)?.idle;
        let parked = self.idle.remove(list, key.0);
        self.drop_if_unused(pool);
        parked.map(|parked| parked.item)
    }

    /// A lease ends without a connection to put back.
    fn release(&mut self, key: Key) -> Option<Waker> {
        let pool = self.pools.get_mut(key)?;
        if !pool.waiting.is_empty() {
            return self.grant(key, None);
        }
        pool.active = pool.active.saturating_sub(1);
        self.drop_if_unused(key);
        None
    }

    /// Hands the slot of an ending lease to the first that waits: whom to wake.
    #[inline(never)]
    fn grant(&mut self, key: Key, item: Option<I>) -> Option<Waker> {
        let pool = self.pools.get_mut(key)?;
        let first = self.queue.front(&pool.waiting)?;
        self.queue
            .transfer(&mut pool.waiting, &mut self.granted, first);
        let entry = self.queue.get_mut(first)?;
        match std::mem::replace(&mut entry.state, WaitState::Granted(item)) {
            WaitState::Queued(waker) => waker,
            WaitState::Granted(_) => None,
        }
    }

    fn drop_if_unused(&mut self, key: Key) {
        let unused =
            |pool: &&Pool| pool.active == 0 && pool.idle.is_empty() && pool.waiting.is_empty();
        if self.pools.get(key).filter(unused).is_some()
            && let Some(pool) = self.pools.remove(&mut self.all, key)
        {
            self.by_name.remove(pool.name.text());
        }
    }

    /// Takes an entry out of the queue, wherever it stands.
    fn leave(&mut self, entry: Key) -> Option<Waiting<I>> {
        let waiting = self.queue.get(entry)?;
        let list = match waiting.state {
            WaitState::Granted(_) => &mut self.granted,
            WaitState::Queued(_) => &mut self.pools.get_mut(waiting.pool)?.waiting,
        };
        self.queue.remove(list, entry)
    }
}

/// One active connection of a pool, or leave to open one. Dropping it frees the slot.
pub struct Lease<I: Poolable> {
    pools: Pools<I>,
    /// `None` once the connection was put back.
    pool: Option<Key>,
}

impl<I: Poolable> Drop for Lease<I> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let waker = self.pools.0.borrow_mut().release(pool);
            wake(waker);
        }
    }
}

impl<I: Poolable> fmt::Debug for Lease<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// A place in the queue of a pool; completes with a slot and perhaps a connection. Dropping it
/// leaves the queue, or passes on what was granted.
pub struct Ticket<I: Poolable> {
    pools: Pools<I>,
    entry: Option<Key>,
}

impl<I: Poolable> Future for Ticket<I> {
    type Output = (Lease<I>, Option<I>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let granted = {
            let mut registry = self.pools.0.borrow_mut();
            let Some(entry) = self.entry else {
                return Poll::Pending;
            };
            match registry
                .queue
                .get_mut(entry)
                .map(|waiting| &mut waiting.state)
            {
                Some(WaitState::Granted(_)) => registry.leave(entry),
                Some(WaitState::Queued(waker)) => {
                    match waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => *waker = Some(cx.waker().clone()),
                    }
                    None
                }
                None => None,
            }
        };
        match granted {
            Some(Waiting {
                pool,
                state: WaitState::Granted(item),
            }) => {
                self.entry = None;
                Poll::Ready((self.pools.lease(pool), item))
            }
            _ => Poll::Pending,
        }
    }
}

impl<I: Poolable> Drop for Ticket<I> {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else {
            return;
        };
        let left = self.pools.0.borrow_mut().leave(entry);
        if let Some(Waiting {
            pool,
            state: WaitState::Granted(item),
        }) = left
        {
            let lease = self.pools.lease(pool);
            match item {
                Some(item) => self.pools.put(lease, item),
                None => drop(lease),
            }
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
