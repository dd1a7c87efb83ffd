//! Who may run what it wakes at once.
//!
//! Waking may resume Lua, which may do anything: close the connection whose
//! event is being handled, end the request that is being freed. So whatever is
//! woken waits for its turn in the event loop, unless the one who wakes says,
//! with [`wake_now`], that it has nothing left to do.

use std::cell::Cell;
use std::task::Waker;

use super::local::worker_local;

worker_local! {
    static NOW: Cell<bool> = Cell::new(false);
}

/// Wakes as the last act of an event's handler.
pub fn wake_now(waker: Waker) {
    NOW.set(true);
    waker.wake();
    NOW.set(false);
}

/// Wakes several as the last act of an event's handler. Only the first may run
/// right here; the others have their turn after it.
pub fn wake_all_now(wakers: impl IntoIterator<Item = Waker>) {
    let mut wakers = wakers.into_iter();
    if let Some(first) = wakers.next() {
        wakers.for_each(Waker::wake);
        wake_now(first);
    }
}

/// [`wake_all_now`] for the usual number of them.
#[inline]
pub fn wake_both_now(wakers: [Option<Waker>; 2]) {
    match wakers {
        [Some(waker), None] => wake_now(waker),
        [None, None] => {}
        wakers => wake_all_now(wakers.into_iter().flatten()),
    }
}

/// Whether the one being woken may run at once. The answer is yes for one
/// caller only.
pub fn may_run_now() -> bool {
    NOW.replace(false)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    use super::{may_run_now, wake_all_now, wake_now};

    thread_local!(static SEEN: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) });

    struct Look;

    impl Wake for Look {
        fn wake(self: Arc<Self>) {
            let seen = [may_run_now(), may_run_now()];
            SEEN.with_borrow_mut(|all| all.extend(seen));
        }
    }

    #[test]
    fn only_the_first_may_run_now() {
        wake_now(Waker::from(Arc::new(Look)));
        Waker::from(Arc::new(Look)).wake();
        assert_eq!(SEEN.take(), [true, false, false, false]);
    }

    #[test]
    fn one_of_several_may_run_now() {
        wake_all_now([(); 2].map(|()| Waker::from(Arc::new(Look))));
        assert_eq!(SEEN.take(), [false, false, true, false]);
    }
}
