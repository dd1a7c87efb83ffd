//! Which names have gone into a table already.

/// A bit for each name that there was; other names may have the same.
#[derive(Default)]
pub struct Seen(u64);

impl Seen {
    /// Adds `name`; tells whether it may have been there.
    pub fn add(&mut self, name: &[u8]) -> bool {
        let len = name.len();
        let byte = |at: usize| name.get(at).map_or(0, |&b| usize::from(b));
        // Names of one length differ at the ends or in the middle, as a rule.
        let hash = len ^ byte(0) ^ byte(len / 2) << 2 ^ byte(len.wrapping_sub(1)) << 4;
        self.add_bits(1 << ((hash ^ hash >> 6) % 64))
    }

    /// Adds a name that may be any.
    pub fn add_any(&mut self) -> bool {
        self.add_bits(!0)
    }

    fn add_bits(&mut self, bits: u64) -> bool {
        let before = self.0;
        self.0 |= bits;
        before & bits != 0
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn what_was_there_is_never_missed() {
        let names = [
            "",
            "a",
            "b",
            "ab",
            "abc",
            "user-agent",
            "accept",
            "accept-language",
        ];
        let mut seen = Seen::default();
        for name in names {
            seen.add(name.as_bytes());
        }
        assert!(names.iter().all(|name| seen.add(name.as_bytes())));
        let mut seen = Seen::default();
        assert!(!seen.add(b"accept") && !seen.add(b"host") && seen.add(b"accept"));
    }

    #[test]
    fn any_name_may_be_every_other() {
        let mut seen = Seen::default();
        assert!(!seen.add_any() && seen.add(b"a") && seen.add_any());
    }
}
