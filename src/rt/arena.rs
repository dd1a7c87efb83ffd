//! Many first-in-first-out lists in one slab, with removal from the middle in constant time.
//!
//! Entries are named by generation-checked [`Key`]s, so whoever keeps a key too long gets
//! nothing instead of somebody else's entry. Freed places are reused; the slab never shrinks.

/// Names an entry of an [`Arena`]; stale once the entry is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as a number that survives being stored as one: it is neither
    /// infinite nor NaN.
    pub fn to_number(self) -> f64 {
        f64::from_bits(u64::from(self.generation) << 32 | u64::from(self.index))
    }

    /// The key that a number stands for; of any other number, one that is stale.
    pub fn from_number(number: f64) -> Key {
        let bits = number.to_bits();
        Key {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }

    /// Whether a number may be one that a key was made into: those are
    /// negative, and above -2.
    pub fn is_number_of_one(number: f64) -> bool {
        Key::from_number(number).generation & (GENERATION_SIGN | GENERATION_END) == GENERATION_SIGN
    }

    /// Where the entry stands in its arena: no other one stands there meanwhile.
    pub fn place(self) -> u32 {
        self.index
    }
}

const NIL: u32 = u32::MAX;

/// Generations have this bit, so that keys make numbers with a sign, which those
/// that people write seldom have.
const GENERATION_SIGN: u32 = 1 << 31;
/// They never have this one, so that the numbers are no special ones. When they
/// would, they begin anew.
const GENERATION_END: u32 = 1 << 30;

fn next_generation(generation: u32) -> u32 {
    (generation + 1) & !GENERATION_END
}

#[derive(Debug)]
struct Node<T> {
    generation: u32,
    prev: u32,
    /// Next entry of the list, or next free place.
    next: u32,
    value: Option<T>,
}

/// The ends of one list. Its entries live in an [`Arena`]; every operation on a list must be
/// given the arena it was filled through.
#[derive(Debug)]
pub struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            head: NIL,
            tail: NIL,
            len: 0,
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

/// The storage of any number of [`List`]s.
#[derive(Debug)]
pub struct Arena<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    count: usize,
}

impl<T> Arena<T> {
    /// An empty arena; allocates with the first entry.
    pub const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NIL,
            count: 0,
        }
    }

    /// The number of entries, whatever list they are in.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends what `make` returns to `list`; `make` is told the key of the new entry.
    #[inline(always)]
    pub fn push_back(&mut self, list: &mut List, make: impl FnOnce(Key) -> T) -> Key {
        let index = self.vacant();
        let generation = self
            .node(index)
            .map_or(GENERATION_SIGN, |node| node.generation);
        let key = Key { index, generation };
        let value = make(key);
        if let Some(node) = self.node_mut(index) {
            node.value = Some(value);
        }
        self.link_back(list, index);
        self.count += 1;
        key
    }

    /// The oldest entry of `list`.
    pub fn front(&self, list: &List) -> Option<Key> {
        self.key_at(list.head)
    }

    /// The newest entry of `list`.
    pub fn back(&self, list: &List) -> Option<Key> {
        self.key_at(list.tail)
    }

    /// The first entry of `list` that `is_it`.
    #[inline(always)]
    pub fn find(&self, list: &List, is_it: impl Fn(&T) -> bool) -> Option<Key> {
        let mut index = list.head;
        loop {
            let node = self.node(index)?;
            if node.value.as_ref().is_some_and(&is_it) {
                return self.key_at(index);
            }
            index = node.next;
        }
    }

    /// The entries of `list`, from the oldest to the newest.
    pub fn keys(&self, list: &List) -> impl Iterator<Item = Key> {
        let next = |key: &Key| self.node(key.index).and_then(|node| self.key_at(node.next));
        std::iter::successors(self.front(list), next)
    }

    /// All entries, whatever list they are in.
    pub fn entries(&self) -> impl Iterator<Item = (Key, &T)> {
        let nodes = (0..).zip(&self.nodes);
        nodes.filter_map(|(index, node)| {
            let generation = node.generation;
            Some((Key { index, generation }, node.value.as_ref()?))
        })
    }

    /// The entry named `key`.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.node(key.index) {
            Some(node) if node.generation == key.generation => node.value.as_ref(),
            _ => None,
        }
    }

    /// The entry named `key`.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.node_mut(key.index) {
            Some(node) if node.generation == key.generation => node.value.as_mut(),
            _ => None,
        }
    }

    /// Takes the entry named `key` out of `list`, which must be the list it is in.
    pub fn remove(&mut self, list: &mut List, key: Key) -> Option<T> {
        let node = self
            .node_mut(key.index)
            .filter(|node| node.generation == key.generation)?;
        let value = node.value.take()?;
        node.generation = next_generation(node.generation);
        self.unlink(list, key.index);
        let free = self.free;
        if let Some(node) = self.node_mut(key.index) {
            node.next = free;
        }
        self.free = key.index;
        self.count -= 1;
        Some(value)
    }

    /// Moves an entry from the list it is in to the end of another one; its key stays valid.
    pub fn transfer(&mut self, from: &mut List, to: &mut List, key: Key) {
        if self.get(key).is_some() {
            self.unlink(from, key.index);
            self.link_back(to, key.index);
        }
    }

    fn node(&self, index: u32) -> Option<&Node<T>> {
        self.nodes.get(index as usize)
    }

    fn node_mut(&mut self, index: u32) -> Option<&mut Node<T>> {
        self.nodes.get_mut(index as usize)
    }

    fn key_at(&self, index: u32) -> Option<Key> {
        self.node(index).map(|node| Key {
            index,
            generation: node.generation,
        })
    }

    /// A place without an entry, taken off the free list or made.
    fn vacant(&mut self) -> u32 {
        let index = self.free;
        if let Some(node) = self.node(index) {
            self.free = node.next;
            return index;
        }
        // Four thousand million entries do not fit into memory, so the index does not wrap.
        let index = self.nodes.len() as u32;
        self.nodes.push(Node {
            generation: GENERATION_SIGN,
            prev: NIL,
            next: NIL,
            value: None,
        });
        index
    }

    fn link_back(&mut self, list: &mut List, index: u32) {
        let tail = list.tail;
        if let Some(node) = self.node_mut(index) {
            node.prev = tail;
            node.next = NIL;
        }
        match self.node_mut(tail) {
            Some(last) => last.next = index,
            None => list.head = index,
        }
        list.tail = index;
        list.len += 1;
    }

    fn unlink(&mut self, list: &mut List, index: u32) {
        let Some((prev, next)) = self.node(index).map(|node| (node.prev, node.next)) else {
            return;
        };
        match self.node_mut(prev) {
            Some(node) => node.next = next,
            None => list.head = next,
        }
        match self.node_mut(next) {
            Some(node) => node.prev = prev,
            None => list.tail = prev,
        }
        list.len = list.len.saturating_sub(1);
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn stale_keys_name_nothing() {
        let (mut arena, mut list) = (Arena::new(), List::new());
        let old = arena.push_back(&mut list, |_| "old");
        assert_eq!(arena.remove(&mut list, old), Some("old"));
        let new = arena.push_back(&mut list, |_| "new");
        assert_eq!(arena.get(old), None);
        assert_eq!(arena.remove(&mut list, old), None);
        assert_eq!(arena.get(new), Some(&"new"));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn keys_pass_through_numbers() {
        let first = GENERATION_SIGN;
        let last = GENERATION_SIGN | (GENERATION_END - 1);
        assert_eq!(next_generation(last), first);
        for generation in [first, next_generation(first), last] {
            for index in [0, 1, 7_000_000, NIL] {
                let key = Key { index, generation };
                let number = key.to_number();
                assert!(number.is_finite() && Key::is_number_of_one(number));
                assert_eq!(Key::from_number(number), key);
            }
        }
        for number in [0.0, 1.0, 7.0, -2.0, f64::NAN, f64::INFINITY, -f64::INFINITY] {
            assert!(!Key::is_number_of_one(number));
        }
    }

    #[test]
    fn all_entries_of_all_lists_are_found() {
        let mut arena = Arena::new();
        let (mut one, mut other) = (List::new(), List::new());
        let gone = arena.push_back(&mut one, |_| 0);
        let first = arena.push_back(&mut one, |_| 1);
        let second = arena.push_back(&mut other, |_| 2);
        arena.remove(&mut one, gone);
        let entries: Vec<_> = arena.entries().collect();
        assert_eq!(entries, [(first, &1), (second, &2)]);
    }

    #[test]
    fn an_entry_may_know_its_key() {
        let (mut arena, mut list) = (Arena::new(), List::new());
        let key = arena.push_back(&mut list, |key| key);
        assert_eq!(arena.get(key), Some(&key));
    }

    proptest! {
        #[test]
        fn behaves_like_two_queues(ops in prop::collection::vec((0..5u8, 0..8usize), 0..200)) {
            let mut arena = Arena::new();
            let mut lists = [List::new(), List::new()];
            let mut models = [VecDeque::new(), VecDeque::new()];
            let mut next = 0u32;
            for (op, pick) in ops {
                let which = pick % 2;
                match op {
                    0 | 1 => {
                        let key = arena.push_back(&mut lists[which], |_| next);
                        models[which].push_back((key, next));
                        next += 1;
                    }
                    2 => if pick < models[which].len() {
                        let (key, value) = models[which].remove(pick).unwrap();
                        prop_assert_eq!(arena.remove(&mut lists[which], key), Some(value));
                    },
                    3 => if let Some((key, value)) = models[which].pop_front() {
                        prop_assert_eq!(arena.front(&lists[which]), Some(key));
                        prop_assert_eq!(arena.remove(&mut lists[which], key), Some(value));
                    },
                    _ => if let Some((key, value)) = models[0].pop_front() {
                        let [from, to] = &mut lists;
                        arena.transfer(from, to, key);
                        models[1].push_back((key, value));
                    },
                }
                for (list, model) in lists.iter().zip(&models) {
                    prop_assert_eq!(list.len(), model.len());
                    prop_assert_eq!(arena.front(list), model.front().map(|entry| entry.0));
                    prop_assert_eq!(arena.back(list), model.back().map(|entry| entry.0));
                }
            }
        }
    }
}
