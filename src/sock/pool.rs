//! Keepalive pools of one worker (sheet, section 6), generic over what they keep.

use std::rc::Rc;

use crate::rt::Key;

/// Names an idle connection to the backend. Stale keys are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleKey(pub(crate) Key);

/// The pools of a worker. Cheap to clone; all clones are the same pools.
pub struct Pools<I>(std::marker::PhantomData<Rc<I>>);

impl<I> Pools<I> {
    /// No pool yet.
    pub fn new() -> Self { todo!() }

    /// An idle connection got data, end of file, an error, or its timeout passed: closes it and
    /// frees its slot. Called by the backend from the event loop; a stale key does nothing.
    pub fn on_idle_event(&self, _key: IdleKey) { todo!() }
}
