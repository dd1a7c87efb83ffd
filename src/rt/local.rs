//! Values of which each worker has one.
//!
//! `thread_local!` would do, were it free: nginx loads the module at run time,
//! and code that is loaded so has to call a function to find a thread-local
//! value, dozens of times a request. But a worker has one thread, so a plain
//! static serves. Unit tests do run on several threads, and get thread-local values.

/// Declares statics that stand for one value in each worker: constant at first,
/// never dropped. They are used like those of `thread_local!`.
macro_rules! worker_local {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $value:expr;)+) => {$(
        #[cfg(not(test))]
        $(#[$meta])*
        $vis static $name: $crate::rt::WorkerLocal<$type> = $crate::rt::WorkerLocal::new($value);
        #[cfg(test)]
        thread_local! {
            $(#[$meta])*
            $vis static $name: $type = const { $value };
        }
    )+};
}
pub(crate) use worker_local;

#[cfg(not(test))]
mod native {
    use std::cell::{Cell, RefCell};

    /// One value in each worker; made by `worker_local!`.
    pub struct WorkerLocal<T>(T);

    // SAFETY: the crate's code runs on one thread of a process only. It is
    // entered through nginx's callbacks, which nginx calls from its one event
    // loop (its thread pools run nothing of ours), and through Lua functions,
    // which are called from there; it starts no threads itself.
    unsafe impl<T> Sync for WorkerLocal<T> {}

    impl<T> WorkerLocal<T> {
        pub const fn new(value: T) -> WorkerLocal<T> {
            WorkerLocal(value)
        }

        #[inline(always)]
        pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
            f(&self.0)
        }
    }

    impl<T> WorkerLocal<Cell<T>> {
        #[inline(always)]
        pub fn set(&'static self, value: T) {
            self.0.set(value);
        }

        #[inline(always)]
        pub fn replace(&'static self, value: T) -> T {
            self.0.replace(value)
        }

        #[inline(always)]
        pub fn get(&'static self) -> T
        where
            T: Copy,
        {
            self.0.get()
        }

        #[inline(always)]
        pub fn take(&'static self) -> T
        where
            T: Default,
        {
            self.0.take()
        }
    }

    impl<T> WorkerLocal<RefCell<T>> {
        #[inline(always)]
        pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
            f(&self.0.borrow())
        }

        #[inline(always)]
        pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
            f(&mut self.0.borrow_mut())
        }
    }
}

#[cfg(not(test))]
pub use native::WorkerLocal;
