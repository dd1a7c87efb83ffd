//! Maps whose keys are addresses.

/// Values by the address of what they belong to.
///
/// An entry stands at the place that its address leads to, or at the next one
/// that was free: entries between the two are never taken out without moving up
/// those behind them. At most half of the places are in use.
pub struct AddressMap<T> {
    /// A power of two of them, or none.
    places: Vec<Option<(usize, T)>>,
    len: usize,
}

impl<T> AddressMap<T> {
    /// A map with nothing in it.
    pub const fn new() -> AddressMap<T> {
        AddressMap {
            places: Vec::new(),
            len: 0,
        }
    }

    /// Whether there is no value.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `address`.
    #[inline]
    pub fn get<P: ?Sized>(&self, address: *const P) -> Option<&T> {
        // Where it is seldom that there is any, to look costs nothing.
        if self.is_empty() {
            return None;
        }
        let address = address.addr();
        let mut place = self.home(address);
        while let Some((found, value)) = self.places.get(place)?.as_ref() {
            if *found == address {
                return Some(value);
            }
            place = self.after(place);
        }
        None
    }

    /// Whether there is a value of `address`.
    #[inline]
    pub fn contains<P: ?Sized>(&self, address: *const P) -> bool {
        self.get(address).is_some()
    }

    /// Sets the value of `address`; returns the one before.
    pub fn insert<P: ?Sized>(&mut self, address: *const P, value: T) -> Option<T> {
        if self.len >= self.places.len() / 2 {
            self.grow();
        }
        self.put(address.addr(), value)
    }

    /// Takes out the value of `address`.
    #[inline]
    pub fn remove<P: ?Sized>(&mut self, address: *const P) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let address = address.addr();
        let mut place = self.home(address);
        while self.places.get(place)?.as_ref()?.0 != address {
            place = self.after(place);
        }
        let (_, value) = self.places.get_mut(place)?.take()?;
        self.len -= 1;
        self.close_gap(place);
        Some(value)
    }

    /// All values, in any order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten().map(|(_, value)| value)
    }

    /// Where the entry of `address` stands if nothing else does.
    #[inline]
    fn home(&self, address: usize) -> usize {
        // The low bits of an address are zero, those of the product's upper
        // half are not. Nobody chooses addresses to make them collide.
        let product = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (product >> 32) as usize & (self.places.len() - 1)
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    #[inline]
    fn put(&mut self, address: usize, value: T) -> Option<T> {
        let mut place = self.home(address);
        while let Some((found, before)) = &mut self.places[place] {
            if *found == address {
                return Some(std::mem::replace(before, value));
            }
            place = self.after(place);
        }
        self.places[place] = Some((address, value));
        self.len += 1;
        None
    }

    /// Moves up those entries that would not be found any more behind `gap`.
    #[inline]
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.places.len() - 1;
        let mut place = self.after(gap);
        while let Some((address, _)) = &self.places[place] {
            let from_home = place.wrapping_sub(self.home(*address)) & mask;
            if from_home >= place.wrapping_sub(gap) & mask {
                self.places.swap(place, gap);
                gap = place;
            }
            place = self.after(place);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(8);
        let empty = std::iter::repeat_with(|| None).take(places).collect();
        let before = std::mem::replace(&mut self.places, empty);
        self.len = 0;
        for (address, value) in before.into_iter().flatten() {
            self.put(address, value);
        }
    }
}

impl<T> Default for AddressMap<T> {
    fn default() -> AddressMap<T> {
        AddressMap::new()
    }
}

#[cfg(test)]
mod tests {
    use super::AddressMap;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::ptr::without_provenance;

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

    proptest! {
        #[test]
        fn behaves_like_a_hash_map(ops in prop::collection::vec((any::<bool>(), 0..40usize), 0..300)) {
            let (mut map, mut model) = (AddressMap::new(), HashMap::new());
            for (time, (is_insert, n)) in ops.into_iter().enumerate() {
                let address = without_provenance::<u8>(n * 16);
                if is_insert {
                    prop_assert_eq!(map.insert(address, time), model.insert(n, time));
                } else {
                    prop_assert_eq!(map.remove(address), model.remove(&n));
                }
                for n in 0..40 {
                    let address = without_provenance::<u8>(n * 16);
                    prop_assert_eq!(map.get(address), model.get(&n));
                }
                prop_assert_eq!(map.is_empty(), model.is_empty());
                prop_assert_eq!(map.values().count(), model.len());
            }
        }
    }
}
