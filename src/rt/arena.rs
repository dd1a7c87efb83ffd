//! Many first-in-first-out lists in one slab, with removal from the middle in constant time.

/// Names an entry of an [`Arena`]; stale once the entry is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
pub struct Arena<T>(std::marker::PhantomData<T>);
#[derive(Debug)]
pub struct List;
