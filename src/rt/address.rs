//! Maps whose keys are addresses.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Values by the address of what they belong to.
pub struct AddressMap<T>(HashMap<usize, T, BuildHasherDefault<AddressHasher>>);

impl<T> AddressMap<T> {
    /// A map with nothing in it.
    pub const fn new() -> AddressMap<T> {
        AddressMap(HashMap::with_hasher(BuildHasherDefault::new()))
    }

    /// Whether there is no value.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `address`.
    #[inline]
    pub fn get<P: ?Sized>(&self, address: *const P) -> Option<&T> {
        // Where it is seldom that there is any, to look costs nothing.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&address.addr())
    }

    /// Whether there is a value of `address`.
    #[inline]
    pub fn contains<P: ?Sized>(&self, address: *const P) -> bool {
        self.get(address).is_some()
    }

    /// Sets the value of `address`; returns the one before.
    pub fn insert<P: ?Sized>(&mut self, address: *const P, value: T) -> Option<T> {
        self.0.insert(address.addr(), value)
    }

    /// Takes out the value of `address`.
    #[inline]
    pub fn remove<P: ?Sized>(&mut self, address: *const P) -> Option<T> {
        if self.0.is_empty() {
            return None;
        }
        self.0.remove(&address.addr())
    }

    /// All values, in any order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }
}

impl<T> Default for AddressMap<T> {
    fn default() -> AddressMap<T> {
        AddressMap::new()
    }
}

/// Hashes addresses, which nobody chooses to make them collide.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_usize(b.into()));
    }

    fn write_usize(&mut self, n: usize) {
        // The low bits of an address are zero, those of the product's upper
        // half are not.
        let product = (self.0 ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::AddressMap;

    #[test]
    fn values_are_found_by_address() {
        let places: Vec<u64> = (0..1000).collect();
        let mut map = AddressMap::new();
        for place in &places {
            assert!(!map.contains(place));
            assert_eq!(map.insert(place, *place), None);
        }
        for place in &places {
            assert_eq!(map.get(place), Some(place));
            assert_eq!(map.remove(place), Some(*place));
            assert_eq!(map.remove(place), None);
        }
        assert_eq!(map.values().count(), 0);
    }
}
