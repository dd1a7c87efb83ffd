//! A counting semaphore: whoever waits gets what is posted, in order.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{Arena, Key, List};

#[derive(Default)]
struct State {
    /// Resources that nobody waits for.
    available: u64,
    waiters: Arena<Waiter>,
    /// Those that still wait.
    queue: List,
    /// Those that were given a resource and have not been told.
    granted: List,
}

struct Waiter {
    waker: Option<Waker>,
    granted: bool,
}

/// A semaphore. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub struct Semaphore(Rc<RefCell<State>>);

impl Semaphore {
    /// A semaphore with `n` resources.
    pub fn new(n: u64) -> Semaphore {
        let semaphore = Semaphore::default();
        semaphore.0.borrow_mut().available = n;
        semaphore
    }

    /// Adds `n` resources: for the first that wait, the rest for later ones.
    pub fn post(&self, n: u64) {
        for left in (1..=n).rev() {
            let woken = {
                let state = &mut *self.0.borrow_mut();
                match state.waiters.front(&state.queue) {
                    Some(key) => state.grant(key),
                    None => {
                        state.available = state.available.saturating_add(left);
                        return;
                    }
                }
            };
            if let Some(waker) = woken {
                waker.wake();
            }
        }
    }

    /// Takes a resource if there is one. There is none for newcomers while
    /// others wait.
    pub fn try_take(&self) -> bool {
        let mut state = self.0.borrow_mut();
        let taken = state.available > 0;
        state.available -= u64::from(taken);
        taken
    }

    /// Waits for a resource.
    pub fn wait(&self) -> Wait {
        Wait {
            semaphore: self.clone(),
            key: None,
        }
    }

    /// Resources that can be had at once; below 0, how many wait.
    pub fn count(&self) -> i64 {
        let state = self.0.borrow();
        let available = i64::try_from(state.available).unwrap_or(i64::MAX);
        available - state.queue.len() as i64
    }
}

impl State {
    fn grant(&mut self, key: Key) -> Option<Waker> {
        self.waiters
            .transfer(&mut self.queue, &mut self.granted, key);
        let waiter = self.waiters.get_mut(key)?;
        waiter.granted = true;
        waiter.waker.take()
    }
}

/// A wait for a resource. Dropping it gives up its place, and hands on what it
/// was given meanwhile.
#[must_use = "waits only when polled"]
pub struct Wait {
    semaphore: Semaphore,
    key: Option<Key>,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else {
            if self.semaphore.try_take() {
                return Poll::Ready(());
            }
            let waiter = Waiter {
                waker: Some(cx.waker().clone()),
                granted: false,
            };
            let key = {
                let State { waiters, queue, .. } = &mut *self.semaphore.0.borrow_mut();
                waiters.push_back(queue, |_| waiter)
            };
            self.key = Some(key);
            return Poll::Pending;
        };
        let ready = {
            let State {
                waiters, granted, ..
            } = &mut *self.semaphore.0.borrow_mut();
            match waiters.get_mut(key) {
                Some(waiter) if !waiter.granted => {
                    waiter.waker = Some(cx.waker().clone());
                    false
                }
                _ => {
                    waiters.remove(granted, key);
                    true
                }
            }
        };
        if !ready {
            return Poll::Pending;
        }
        self.key = None;
        Poll::Ready(())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let granted = {
            let state = &mut *self.semaphore.0.borrow_mut();
            match state.waiters.get(key).map(|waiter| waiter.granted) {
                Some(true) => {
                    state.waiters.remove(&mut state.granted, key);
                    true
                }
                _ => {
                    state.waiters.remove(&mut state.queue, key);
                    false
                }
            }
        };
        if granted {
            self.semaphore.post(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::Semaphore;

    macro_rules! poll {
        ($wait:expr) => {
            $wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
    }

    #[test]
    fn what_is_there_is_taken_at_once() {
        let semaphore = Semaphore::new(1);
        assert_eq!(poll!(pin!(semaphore.wait())), Poll::Ready(()));
        assert!(!semaphore.try_take());
        assert_eq!(semaphore.count(), 0);
    }

    #[test]
    fn waiters_are_served_in_order_and_newcomers_after_them() {
        let semaphore = Semaphore::new(0);
        let (mut a, mut b) = (pin!(semaphore.wait()), pin!(semaphore.wait()));
        assert_eq!(poll!(a), Poll::Pending);
        assert_eq!(poll!(b), Poll::Pending);
        assert_eq!(semaphore.count(), -2);
        semaphore.post(1);
        assert_eq!(semaphore.count(), -1);
        assert!(!semaphore.try_take());
        assert_eq!(poll!(b), Poll::Pending);
        assert_eq!(poll!(a), Poll::Ready(()));
        semaphore.post(2);
        assert_eq!(poll!(b), Poll::Ready(()));
        assert_eq!(semaphore.count(), 1);
    }

    #[test]
    fn one_that_gives_up_is_skipped() {
        let semaphore = Semaphore::new(0);
        let mut a = Box::pin(semaphore.wait());
        let mut b = pin!(semaphore.wait());
        assert_eq!(poll!(a), Poll::Pending);
        assert_eq!(poll!(b), Poll::Pending);
        drop(a);
        assert_eq!(semaphore.count(), -1);
        semaphore.post(1);
        assert_eq!(poll!(b), Poll::Ready(()));
    }

    #[test]
    fn what_was_granted_to_one_that_gives_up_goes_on() {
        let semaphore = Semaphore::new(0);
        let mut a = Box::pin(semaphore.wait());
        let mut b = pin!(semaphore.wait());
        assert_eq!(poll!(a), Poll::Pending);
        assert_eq!(poll!(b), Poll::Pending);
        semaphore.post(1);
        drop(a);
        assert_eq!(poll!(b), Poll::Ready(()));
        let mut c = Box::pin(semaphore.wait());
        assert_eq!(poll!(c), Poll::Pending);
        semaphore.post(1);
        drop(c);
        assert_eq!(semaphore.count(), 1);
    }

    #[test]
    fn large_posts_do_not_overflow() {
        let semaphore = Semaphore::new(u64::MAX);
        semaphore.post(u64::MAX);
        assert!(semaphore.try_take());
    }
}
