use super::*;
use crate::sock::mock::Task;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// A connection that knows its key and reports its end.
struct Item {
    id: u32,
    key: Rc<RefCell<BTreeMap<u32, IdleKey>>>,
    closed: Rc<RefCell<Vec<u32>>>,
}

impl Poolable for Item {
    fn park(&mut self, key: IdleKey) {
        self.key.borrow_mut().insert(self.id, key);
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.closed.borrow_mut().push(self.id);
    }
}

#[derive(Clone, Default)]
struct Bench {
    pools: Pools<Item>,
    keys: Rc<RefCell<BTreeMap<u32, IdleKey>>>,
    closed: Rc<RefCell<Vec<u32>>>,
}

impl Bench {
    fn item(&self, id: u32) -> Item {
        Item {
            id,
            key: Rc::clone(&self.keys),
            closed: Rc::clone(&self.closed),
        }
    }

    fn idle_event(&self, id: u32) {
        let key = self.keys.borrow()[&id];
        self.pools.on_idle_event(key);
    }

    fn closed(&self) -> Vec<u32> {
        self.closed.take()
    }

    fn slot(&self, size: usize, backlog: Option<usize>) -> Lease<Item> {
        match self.pools.acquire(b"p", Some(size), backlog) {
            Acquired::Slot(lease) => lease,
            _ => panic!("no slot"),
        }
    }

    fn queued(&self) -> Task<Ticket<Item>> {
        match self.pools.acquire(b"p", None, None) {
            Acquired::Queued(ticket) => Task::new(ticket),
            _ => panic!("not queued"),
        }
    }

    fn is_full(&self) -> bool {
        matches!(self.pools.acquire(b"p", None, None), Acquired::Full)
    }
}

#[test]
fn without_options_a_connect_creates_no_pool() {
    let bench = Bench::default();
    assert!(matches!(
        bench.pools.acquire(b"p", None, None),
        Acquired::Unpooled
    ));
    assert!(bench.pools.is_empty());
}

#[test]
fn the_last_one_put_back_is_reused_first() {
    let bench = Bench::default();
    bench.pools.put_new(b"p", 5, bench.item(1));
    bench.pools.put_new(b"p", 5, bench.item(2));
    let (lease, item) = bench.pools.take_idle(PoolName::Text(b"p")).unwrap();
    assert_eq!(item.id, 2);
    bench.pools.put(lease, item);
    assert_eq!(bench.pools.take_idle(PoolName::Text(b"p")).unwrap().1.id, 2);
    assert!(bench.pools.take_idle(PoolName::Text(b"q")).is_none());
}

#[test]
fn however_many_pools_there_are_each_is_found_by_name_and_by_peer() {
    let bench = Bench::default();
    for count in 0..3 * FEW as u32 {
        let name = format!("host:{count}");
        bench.pools.put_new(name.as_bytes(), 5, bench.item(count));
        for number in 0..=count {
            let text = format!("host:{number}");
            let peer = PoolName::Peer(b"host", number as u16);
            for name in [PoolName::Text(text.as_bytes()), peer] {
                let (lease, item) = bench.pools.take_idle(name).unwrap();
                assert_eq!(item.id, number);
                bench.pools.put(lease, item);
            }
        }
        let missing = PoolName::Peer(b"host", count as u16 + 1);
        assert!(bench.pools.take_idle(missing).is_none());
    }
}

#[test]
fn a_full_pool_closes_the_least_recently_used() {
    let bench = Bench::default();
    for id in 1..=3 {
        bench.pools.put_new(b"p", 2, bench.item(id));
    }
    assert_eq!(bench.closed(), [1]);
}

#[test]
fn size_and_backlog_stay_while_the_pool_lives() {
    let bench = Bench::default();
    let lease = bench.slot(1, Some(0));
    assert!(matches!(
        bench.pools.acquire(b"p", Some(9), Some(9)),
        Acquired::Full
    ));
    drop(lease);
    assert!(bench.pools.is_empty());
    let _first = bench.slot(2, None);
    let _second = bench.slot(2, None);
    let _third = bench.slot(2, Some(0));
}

#[test]
fn a_freed_slot_goes_to_the_first_that_waits() {
    let bench = Bench::default();
    let lease = bench.slot(1, Some(2));
    let (mut first, mut second) = (bench.queued(), bench.queued());
    assert!(bench.is_full());
    assert!(first.is_pending() && second.is_pending());
    drop(lease);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    // Nobody gets in between the wake-up and the poll, but there is room in the queue.
    let mut third = bench.queued();
    assert!(third.is_pending() && second.is_pending());
    let (lease, item) = first.finish();
    assert!(item.is_none());
    drop(lease);
    assert!(second.finish().1.is_none());
}

#[test]
fn a_connection_put_back_goes_to_the_first_that_waits() {
    let bench = Bench::default();
    let lease = bench.slot(1, Some(1));
    let mut waiting = bench.queued();
    assert!(waiting.is_pending());
    bench.pools.put(lease, bench.item(7));
    assert!(bench.pools.take_idle(PoolName::Text(b"p")).is_none());
    let (lease, item) = waiting.finish();
    assert_eq!(item.as_ref().map(|item| item.id), Some(7));
    bench.pools.put(lease, item.unwrap());
    assert_eq!(bench.pools.take_idle(PoolName::Text(b"p")).unwrap().1.id, 7);
}

#[test]
fn who_is_killed_while_waiting_is_skipped() {
    let bench = Bench::default();
    let lease = bench.slot(1, Some(2));
    let (first, mut second) = (bench.queued(), bench.queued());
    assert!(second.is_pending());
    drop(first);
    drop(lease);
    assert!(second.finish().1.is_none());
}

#[test]
fn who_is_killed_after_the_grant_passes_it_on() {
    let bench = Bench::default();
    let lease = bench.slot(1, Some(2));
    let (first, mut second) = (bench.queued(), bench.queued());
    bench.pools.put(lease, bench.item(7));
    drop(first);
    let (lease, item) = second.finish();
    assert_eq!(item.map(|item| item.id), Some(7));
    let third = bench.queued();
    drop(lease);
    drop(third);
    assert!(bench.pools.is_empty());
}

#[test]
fn a_granted_connection_nobody_wants_becomes_idle() {
    let bench = Bench::default();
    let lease = bench.slot(1, Some(1));
    let waiting = bench.queued();
    bench.pools.put(lease, bench.item(7));
    drop(waiting);
    assert_eq!(bench.pools.take_idle(PoolName::Text(b"p")).unwrap().1.id, 7);
}

#[test]
fn an_idle_event_closes_once() {
    let bench = Bench::default();
    bench.pools.put_new(b"p", 2, bench.item(1));
    bench.idle_event(1);
    assert_eq!(bench.closed(), [1]);
    assert!(bench.pools.is_empty());
    bench.pools.put_new(b"p", 2, bench.item(2));
    bench.idle_event(1);
    assert_eq!(bench.closed(), []);
}

#[test]
fn a_worker_that_ends_closes_all_idle_connections() {
    let bench = Bench::default();
    for (id, name) in [(1, "a"), (2, "b"), (3, "a")] {
        bench.pools.put_new(name.as_bytes(), 5, bench.item(id));
    }
    bench.pools.close_idle();
    let mut closed = bench.closed();
    closed.sort_unstable();
    assert_eq!(closed, [1, 2, 3]);
    assert!(bench.pools.is_empty());
}

#[test]
fn a_stranger_does_not_break_the_limit() {
    let bench = Bench::default();
    let _lease = bench.slot(1, Some(1));
    bench.pools.put_new(b"p", 1, bench.item(1));
    assert_eq!(bench.closed(), [1]);
}

/// The pool as the sheet reads, kept the naive way.
#[derive(Debug)]
struct Model {
    size: usize,
    backlog: Option<usize>,
    active: usize,
    idle: Vec<u32>,
    queue: VecDeque<u32>,
}

/// What the model says a ticket was granted: its pool's index, and a connection.
type Grants = BTreeMap<u32, (usize, Option<u32>)>;

impl Model {
    fn hand_over(&mut self, pool: usize, item: Option<u32>, grants: &mut Grants) -> bool {
        match self.queue.pop_front() {
            Some(ticket) => grants.insert(ticket, (pool, item)).is_none(),
            None => false,
        }
    }

    fn free(&mut self, pool: usize, grants: &mut Grants) {
        if !self.hand_over(pool, None, grants) {
            self.active -= 1;
        }
    }

    fn put(&mut self, pool: usize, item: u32, grants: &mut Grants, closed: &mut Vec<u32>) {
        if !self.hand_over(pool, Some(item), grants) {
            self.active -= 1;
            self.park(item, closed);
        }
    }

    fn park(&mut self, item: u32, closed: &mut Vec<u32>) {
        if self.idle.len() >= self.size {
            closed.push(self.idle.remove(0));
        }
        self.idle.push(item);
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Acquire {
        pool: usize,
        size: Option<usize>,
        backlog: Option<usize>,
    },
    /// The connect failed, or the connection was closed.
    Release(usize),
    Put(usize),
    PutNew(usize),
    IdleEvent(usize),
    Poll(usize),
    Kill(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let option = || prop::option::of(1..4usize);
    let op = prop_oneof![
        4 => (0..3usize, option(), option())
            .prop_map(|(pool, size, backlog)| Op::Acquire { pool, size, backlog }),
        2 => (0..50usize).prop_map(Op::Release),
        3 => (0..50usize).prop_map(Op::Put),
        1 => (0..3usize).prop_map(Op::PutNew),
        1 => (0..50usize).prop_map(Op::IdleEvent),
        2 => (0..50usize).prop_map(Op::Poll),
        1 => (0..50usize).prop_map(Op::Kill),
    ];
    prop::collection::vec(op, 0..150)
}

const NAMES: [&[u8]; 3] = [b"one", b"two", b"three"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Random connects, closes, kills and idle events: hits, grants, closed connections and
    /// living pools are those of the model, so no count drifts.
    #[test]
    fn counts_never_drift(ops in ops()) {
        let bench = Bench::default();
        let mut models: BTreeMap<usize, Model> = BTreeMap::new();
        let mut grants = Grants::new();
        let mut leases: Vec<(usize, Lease<Item>)> = Vec::new();
        let mut tickets: Vec<(u32, Task<Ticket<Item>>)> = Vec::new();
        let (mut next_item, mut next_ticket) = (0, 0);
        for op in ops {
            let mut closed = Vec::new();
            match op {
                Op::Acquire { pool, size, backlog } => {
                    let size = size.or(backlog.map(|_| 2));
                    let got = bench.pools.acquire(NAMES[pool], size, backlog);
                    if let (None, Some(size)) = (models.get(&pool), size) {
                        let model =
                            Model { size, backlog, active: 0, idle: vec![], queue: VecDeque::new() };
                        models.insert(pool, model);
                    }
                    match models.get_mut(&pool) {
                        None => prop_assert!(matches!(got, Acquired::Unpooled)),
                        Some(model) => {
                            if let Some(expected) = model.idle.pop() {
                                let Acquired::Hit(lease, item) = got else { panic!("no hit") };
                                prop_assert_eq!(item.id, expected);
                                leases.push((pool, lease));
                                model.active += 1;
                                drop(item);
                                closed.push(expected);
                            } else if model.backlog.is_none() || model.active < model.size {
                                let Acquired::Slot(lease) = got else { panic!("no slot") };
                                leases.push((pool, lease));
                                model.active += 1;
                            } else if model.queue.len() < model.backlog.unwrap() {
                                let Acquired::Queued(ticket) = got else { panic!("not queued") };
                                tickets.push((next_ticket, Task::new(ticket)));
                                model.queue.push_back(next_ticket);
                                next_ticket += 1;
                            } else {
                                prop_assert!(matches!(got, Acquired::Full));
                            }
                        }
                    }
                }
                Op::Release(n) if !leases.is_empty() => {
                    let (pool, lease) = leases.swap_remove(n % leases.len());
                    drop(lease);
                    models.get_mut(&pool).unwrap().free(pool, &mut grants);
                }
                Op::Put(n) if !leases.is_empty() => {
                    let (pool, lease) = leases.swap_remove(n % leases.len());
                    bench.pools.put(lease, bench.item(next_item));
                    models.get_mut(&pool).unwrap().put(pool, next_item, &mut grants, &mut closed);
                    next_item += 1;
                }
                Op::PutNew(pool) => {
                    bench.pools.put_new(NAMES[pool], 2, bench.item(next_item));
                    let model = models.entry(pool).or_insert(
                        Model { size: 2, backlog: None, active: 0, idle: vec![], queue: VecDeque::new() },
                    );
                    if model.backlog.is_some() && model.active + model.idle.len() >= model.size {
                        closed.push(next_item);
                    } else {
                        model.park(next_item, &mut closed);
                    }
                    next_item += 1;
                }
                Op::IdleEvent(n) => {
                    // Any connection that was ever idle, so stale keys as well.
                    let id = bench.keys.borrow().keys().nth(n).copied();
                    if let Some(id) = id {
                        bench.idle_event(id);
                        for model in models.values_mut() {
                            if let Some(at) = model.idle.iter().position(|&idle| idle == id) {
                                closed.push(model.idle.remove(at));
                            }
                        }
                    }
                }
                Op::Poll(n) if !tickets.is_empty() => {
                    let at = n % tickets.len();
                    let (id, task) = &mut tickets[at];
                    match (task.poll(), grants.remove(id)) {
                        (Poll::Pending, None) => {}
                        (Poll::Ready((lease, item)), Some((pool, expected))) => {
                            prop_assert_eq!(item.as_ref().map(|item| item.id), expected);
                            closed.extend(expected);
                            leases.push((pool, lease));
                            tickets.swap_remove(at);
                        }
                        (polled, model) => panic!("{} {model:?}", polled.is_ready()),
                    }
                }
                Op::Kill(n) if !tickets.is_empty() => {
                    let (id, task) = tickets.swap_remove(n % tickets.len());
                    drop(task);
                    match grants.remove(&id) {
                        Some((pool, Some(item))) => models
                            .get_mut(&pool)
                            .unwrap()
                            .put(pool, item, &mut grants, &mut closed),
                        Some((pool, None)) => {
                            models.get_mut(&pool).unwrap().free(pool, &mut grants);
                        }
                        None => models.values_mut().for_each(|model| model.queue.retain(|&t| t != id)),
                    }
                }
                _ => {}
            }
            models.retain(|_, model| model.active > 0 || !model.idle.is_empty());
            prop_assert_eq!(bench.closed(), closed);
            prop_assert_eq!(bench.pools.len(), models.len());
            for model in models.values().filter(|model| model.backlog.is_some()) {
                prop_assert!(model.active + model.idle.len() <= model.size);
            }
            for (id, task) in &tickets {
                prop_assert!(task.wakes() <= usize::from(grants.contains_key(id)));
            }
        }
        drop(tickets);
        drop(leases);
        for id in 0..next_item {
            if bench.keys.borrow().contains_key(&id) {
                bench.idle_event(id);
            }
        }
        prop_assert!(bench.pools.is_empty());
    }
}
