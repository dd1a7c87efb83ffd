//! Timers in lists, one list for each delay.
//!
//! Timers of the same delay are due in the order in which they were set. So only
//! the first of a list has to be watched, by a [`OneShot`], and to set one or to
//! take it back is to link it or to unlink it, however many there are.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::task::Waker;

use crate::rt::{Millis, wake_now};

/// What comes of a timer.
pub(super) enum Action {
    Wake(Waker),
    Call(Box<dyn FnOnce()>),
}

/// Fires once, for the first timers of a list.
pub(super) trait OneShot: Default {
    /// Has [`TimerList::fire`] called at the time `at`. It is not armed now.
    fn arm(&self, list: *const TimerList<Self>, at: Millis);

    /// Has it not called.
    fn disarm(&self);
}

/// A member of a ring, or of none, where `next` is null.
struct Link {
    prev: Cell<*const Link>,
    next: Cell<*const Link>,
}

/// Timers of one delay.
pub(super) struct TimerList<O: OneShot> {
    delay: usize,
    /// Stands before the first timer and after the last one.
    ring: Link,
    /// What the one-shot is armed for: while there are timers and none expires,
    /// the time of the first one, or of one before it that was taken back.
    armed: Cell<Option<Millis>>,
    fired: Cell<Millis>,
    one_shot: O,
}

impl<O: OneShot> TimerList<O> {
    fn new(delay: usize) -> Rc<TimerList<O>> {
        let list = Rc::new(TimerList {
            delay,
            ring: Link {
                prev: Cell::new(ptr::null()),
                next: Cell::new(ptr::null()),
            },
            armed: Cell::new(None),
            fired: Cell::new(0),
            one_shot: O::default(),
        });
        list.ring.prev.set(&list.ring);
        list.ring.next.set(&list.ring);
        list
    }

    /// The delay of its timers.
    pub(super) fn delay(&self) -> usize {
        self.delay
    }

    /// How often it has fired: the time of those that do not wait for a time but
    /// for the list to fire.
    pub(super) fn fired(&self) -> Millis {
        self.fired.get()
    }

    fn first(&self) -> Option<&Node<O>> {
        let first = self.ring.next.get();
        // SAFETY: all others in the ring are links of live nodes.
        (!ptr::eq(first, &self.ring)).then(|| unsafe { &*first.cast::<Node<O>>() })
    }

    /// Has the list watched for a timer that is due `at`.
    fn arm(self: &Rc<Self>, at: Millis) {
        self.armed.set(Some(at));
        self.one_shot.arm(Rc::as_ptr(self), at);
    }

    fn disarm(&self) {
        if self.armed.take().is_some() {
            self.one_shot.disarm();
        }
    }

    /// Those timers expire that are due at the time for which the one-shot was
    /// armed. What comes of them may do anything to the others, and set more.
    ///
    /// # Safety
    /// The one-shot must have been armed by the list, and not since disarmed.
    pub(super) unsafe fn fire(list: *const TimerList<O>) {
        /// However that ends, the rest of the list is watched.
        struct Firing<O: OneShot>(Rc<TimerList<O>>);

        impl<O: OneShot> Drop for Firing<O> {
            fn drop(&mut self) {
                if let Some(first) = self.0.first()
                    && self.0.armed.get().is_none()
                {
                    self.0.arm(first.at);
                }
            }
        }

        // SAFETY: one that is armed has timers, which own it.
        let firing = unsafe {
            Rc::increment_strong_count(list);
            Firing(Rc::from_raw(list))
        };
        let Some(until) = firing.0.armed.take() else {
            return;
        };
        firing.0.fired.update(|times| times + 1);
        let mut is_alone = true;
        while let Some(first) = firing.0.first()
            && first.at <= until
        {
            first.unlink();
            // Several have their turn together: then those of one handler go on
            // one after the other.
            is_alone &= firing.0.first().is_none_or(|next| next.at > until);
            match first.action.take() {
                Some(Action::Wake(waker)) if is_alone => wake_now(waker),
                Some(Action::Wake(waker)) => waker.wake(),
                Some(Action::Call(f)) => f(),
                None => {}
            }
        }
    }
}

impl<O: OneShot> Drop for TimerList<O> {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Begins with its link, so that the address of one is that of the other.
#[repr(C)]
struct Node<O: OneShot> {
    link: Link,
    at: Millis,
    list: Rc<TimerList<O>>,
    /// Taken when the timer expires.
    action: Cell<Option<Action>>,
}

impl<O: OneShot> Node<O> {
    fn is_linked(&self) -> bool {
        !self.link.next.get().is_null()
    }

    #[inline]
    fn unlink(&self) {
        if !self.is_linked() {
            return;
        }
        let (prev, next) = (self.link.prev.get(), self.link.next.replace(ptr::null()));
        // SAFETY: it is in a ring, whose members are the list and live nodes.
        unsafe {
            (*prev).next.set(next);
            (*next).prev.set(prev);
        }
        if self.list.first().is_none() {
            self.list.disarm();
        }
    }
}

/// A timer that is set, or has expired. Dropping it takes it back.
pub(super) struct Timer<O: OneShot>(NonNull<Node<O>>);

impl<O: OneShot> Timer<O> {
    /// Sets a timer that is due `at`, which is not before those that were set
    /// earlier in the list.
    #[inline]
    pub(super) fn set(list: Rc<TimerList<O>>, at: Millis, action: Action) -> Timer<O> {
        if list.first().is_none() {
            list.arm(at);
        }
        let (last, ring) = (list.ring.prev.get(), &raw const list.ring);
        let node = Box::leak(Box::new_uninit()).write(Node {
            link: Link {
                prev: Cell::new(last),
                next: Cell::new(ring),
            },
            at,
            list,
            action: Cell::new(Some(action)),
        });
        let node = NonNull::from(node);
        let link = node.as_ptr().cast_const().cast::<Link>();
        // SAFETY: the members of the ring are live.
        unsafe {
            (*last).next.set(link);
            (*ring).prev.set(link);
        }
        Timer(node)
    }

    /// Whether its time has come.
    #[inline]
    pub(super) fn has_expired(&self) -> bool {
        // SAFETY: only Drop frees the node.
        unsafe { !self.0.as_ref().is_linked() }
    }

    /// Changes what comes of it, which has not expired.
    #[cold]
    pub(super) fn set_action(&self, action: Action) {
        // SAFETY: as above.
        let previous = unsafe { self.0.as_ref().action.replace(Some(action)) };
        drop(previous);
    }
}

impl<O: OneShot> Drop for Timer<O> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the node came from a box, and nothing refers to it once it is
        // unlinked.
        unsafe {
            self.0.as_ref().unlink();
            drop(Box::from_raw(self.0.as_ptr()));
        }
    }
}

/// Power of two; two places for each of [`SETS`].
const SETS: usize = 64;

/// The lists that timers were set in last. One that makes room for another goes
/// when its last timer has gone.
pub(super) struct Lists<O: OneShot>([Option<Rc<TimerList<O>>>; 2 * SETS]);

impl<O: OneShot> Lists<O> {
    /// None.
    pub(super) const EMPTY: Lists<O> = Lists([const { None }; 2 * SETS]);

    /// The list for timers of `delay`.
    #[inline]
    pub(super) fn get(&mut self, delay: usize) -> Rc<TimerList<O>> {
        let place = 2 * (delay.wrapping_mul(0x9e37_79b1) >> 16 & (SETS - 1));
        let places = &mut self.0[place..place + 2];
        let found = places.iter().flatten().find(|list| list.delay == delay);
        match found {
            Some(list) => list.clone(),
            None => put(places, delay),
        }
    }
}

#[cold]
fn put<O: OneShot>(places: &mut [Option<Rc<TimerList<O>>>], delay: usize) -> Rc<TimerList<O>> {
    let list = TimerList::new(delay);
    places.swap(0, 1);
    places[0] = Some(list.clone());
    list
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::{BTreeMap, VecDeque};
    use std::rc::Rc;

    use super::{Action, Lists, OneShot, SETS, Timer, TimerList};
    use crate::rt::Millis;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Mock;

    type Armed = (Millis, *const TimerList<Mock>);

    thread_local! {
        /// In the order in which they were armed.
        static ARMED: RefCell<Vec<Armed>> = const { RefCell::new(Vec::new()) };
    }

    impl OneShot for Mock {
        fn arm(&self, list: *const TimerList<Mock>, at: Millis) {
            ARMED.with_borrow_mut(|armed| {
                assert!(armed.iter().all(|other| other.1 != list));
                armed.push((at, list));
            });
        }

        fn disarm(&self) {
            ARMED.with_borrow_mut(|armed| {
                // SAFETY: what is armed is live.
                let mine = |armed: &Armed| unsafe { std::ptr::eq(&(*armed.1).one_shot, self) };
                let place = armed.iter().position(mine).expect("it is armed");
                armed.remove(place);
            });
        }
    }

    fn armed() -> Vec<Millis> {
        ARMED.with_borrow(|armed| armed.iter().map(|armed| armed.0).collect())
    }

    /// Timers by number, with what they should do.
    struct World {
        lists: RefCell<Lists<Mock>>,
        now: Cell<Millis>,
        timers: RefCell<Vec<Option<Timer<Mock>>>>,
        /// Time and delay of those that are set.
        due: RefCell<BTreeMap<usize, (Millis, usize)>>,
        /// What those that expire do to others.
        script: RefCell<VecDeque<(u8, usize)>>,
        expired: RefCell<Vec<usize>>,
    }

    impl World {
        fn new() -> Rc<World> {
            ARMED.take();
            Rc::new(World {
                lists: RefCell::new(Lists::EMPTY),
                now: Cell::new(1000),
                timers: RefCell::default(),
                due: RefCell::default(),
                script: RefCell::default(),
                expired: RefCell::default(),
            })
        }

        fn set(self: &Rc<World>, delay: usize) {
            let number = self.timers.borrow().len();
            let at = self.now.get() + delay as Millis;
            let world = Rc::downgrade(self);
            let action = Action::Call(Box::new(move || {
                if let Some(world) = world.upgrade() {
                    world.expire(number);
                }
            }));
            let list = self.lists.borrow_mut().get(delay);
            let timer = Timer::set(list, at, action);
            assert!(!timer.has_expired());
            self.timers.borrow_mut().push(Some(timer));
            self.due.borrow_mut().insert(number, (at, delay));
        }

        fn take_back(&self, number: usize) {
            let timer = self.timers.borrow_mut().get_mut(number).map(Option::take);
            drop(timer);
            self.due.borrow_mut().remove(&number);
        }

        fn expire(self: &Rc<World>, number: usize) {
            let (at, delay) = self.due.borrow_mut().remove(&number).expect("it was set");
            assert!(at <= self.now.get());
            if let Some(timer) = &self.timers.borrow()[number] {
                assert!(timer.has_expired());
            }
            // Nothing is left that was due before it.
            assert!(self.due.borrow().values().all(|due| due.0 >= at));
            self.expired.borrow_mut().push(number);
            let next = self.script.borrow_mut().pop_front();
            match next {
                Some((0, _)) => self.take_back(number),
                Some((1, _)) => self.take_back(number + 1),
                Some((2, n)) => self.take_back(n),
                Some((3, n)) => (0..n).for_each(|number| self.take_back(number)),
                Some((_, n)) => [delay, 1 + n].into_iter().for_each(|delay| self.set(delay)),
                None => {}
            }
        }

        fn pass(self: &Rc<World>, time: Millis) {
            self.now.set(self.now.get() + time);
            loop {
                let next = ARMED.with_borrow_mut(|armed| {
                    let first = (0..armed.len()).min_by_key(|&place| armed[place].0)?;
                    (armed[first].0 <= self.now.get()).then(|| armed.remove(first).1)
                });
                let Some(list) = next else { break };
                // SAFETY: it was armed until now.
                unsafe { TimerList::fire(list) }
            }
            let due = self.due.borrow();
            assert!(due.values().all(|due| due.0 > self.now.get()));
            assert!(armed().len() <= due.len());
        }
    }

    #[test]
    fn the_first_of_a_list_is_watched() {
        let world = World::new();
        world.set(10);
        world.pass(4);
        world.set(10);
        world.set(3);
        assert_eq!(armed(), [1010, 1007]);
        // It may fire too early.
        world.take_back(0);
        world.take_back(2);
        assert_eq!(armed(), [1010]);
        world.pass(6);
        assert_eq!(armed(), [1014]);
        assert!(world.expired.borrow().is_empty());
        world.pass(4);
        assert_eq!(*world.expired.borrow(), [1]);
        assert!(armed().is_empty());
    }

    #[test]
    fn one_that_expires_may_do_anything_to_the_others() {
        for script in [(0, 0), (1, 0), (2, 3), (3, 4), (4, 9)] {
            let world = World::new();
            (0..4).for_each(|_| world.set(10));
            world.script.borrow_mut().push_back(script);
            world.pass(10);
            let expected: &[usize] = match script.0 {
                0 | 4 => &[0, 1, 2, 3],
                1 => &[0, 2, 3],
                2 => &[0, 1, 2],
                _ => &[0],
            };
            assert_eq!(*world.expired.borrow(), expected);
            let later = if script.0 == 4 { vec![1020] } else { vec![] };
            assert_eq!(armed(), later);
        }
    }

    #[test]
    fn a_panic_leaves_the_others_watched() {
        let world = World::new();
        let list = world.lists.borrow_mut().get(10);
        let panics = Action::Call(Box::new(|| panic!("on purpose")));
        let timer = Timer::set(list, 1010, panics);
        world.set(10);
        let passes = std::panic::AssertUnwindSafe(|| world.pass(10));
        assert!(std::panic::catch_unwind(passes).is_err());
        assert!(timer.has_expired());
        world.pass(0);
        assert_eq!(*world.expired.borrow(), [0]);
    }

    #[test]
    fn timers_of_many_delays_keep_their_lists() {
        let world = World::new();
        (0..20 * SETS).for_each(|delay| world.set(1 + delay % (10 * SETS)));
        assert!(armed().len() >= 10 * SETS);
        world.pass(10 * SETS as Millis);
        assert_eq!(world.expired.borrow().len(), 20 * SETS);
        assert!(armed().is_empty());
    }

    proptest! {
        #[test]
        fn all_expire_in_time_and_in_order(
            ops in prop::collection::vec((0..4u8, 0..200usize), 0..200),
            script in prop::collection::vec((0..6u8, 0..200usize), 0..50),
        ) {
            let world = World::new();
            world.script.replace(script.into());
            for (op, n) in ops {
                match op {
                    0 => world.set(1 + n % 5),
                    1 => world.set(1 + n),
                    2 => world.take_back(n),
                    _ => world.pass(n as Millis % 7),
                }
            }
            world.script.take();
            world.pass(1000);
            prop_assert!(world.due.borrow().is_empty());
            prop_assert!(armed().is_empty());
        }
    }
}
