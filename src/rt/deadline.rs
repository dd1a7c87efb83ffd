//! Points in time after which an operation gives up.

/// A span of time in milliseconds, or a point on the worker's monotonic millisecond clock.
pub type Millis = u64;

/// A point in time that several waits share, such as the attempts of one connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: Millis,
}

impl Deadline {
    /// The point `timeout` after `now`; saturates instead of wrapping.
    pub fn after(now: Millis, timeout: Millis) -> Self {
        Self {
            at: now.saturating_add(timeout),
        }
    }

    /// The time left at `now`, or `None` once it has passed.
    pub fn remaining(self, now: Millis) -> Option<Millis> {
        match self.at.checked_sub(now) {
            None | Some(0) => None,
            left => left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_down_to_none() {
        let deadline = Deadline::after(1000, 50);
        assert_eq!(deadline.remaining(1000), Some(50));
        assert_eq!(deadline.remaining(1049), Some(1));
        assert_eq!(deadline.remaining(1050), None);
        assert_eq!(deadline.remaining(5000), None);
    }

    #[test]
    fn far_future_saturates() {
        assert_eq!(
            Deadline::after(10, Millis::MAX).remaining(10),
            Some(Millis::MAX - 10)
        );
    }
}
