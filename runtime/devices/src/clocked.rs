//! Counting on a clock, exactly: ticks from guest time and a frequency, with no drift.

use emu_machine::device::{Hertz, Nanos};
use serde::{Deserialize, Serialize};

/// A count that runs at a frequency from a moment on. Changing the frequency rebases it, so that the count never jumps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ticks {
    base: u64,
    since: u64,
    hz: u64,
    /// Of the prescaler; 0 counts as 1.
    divisor: u64,
}

const SECOND: u128 = 1_000_000_000;

impl Ticks {
    /// More than any machine counts: 29 years at 5 GHz.
    pub const MOST: u64 = 1 << 62;

    /// False for a count that only a damaged snapshot can have.
    pub fn is_sound(&self) -> bool {
        self.base <= Self::MOST
    }

    /// Ticks so far at `now`.
    pub fn at(&self, now: Nanos) -> u64 {
        let elapsed = u128::from(now.0.saturating_sub(self.since));
        self.base.wrapping_add((elapsed * u128::from(self.hz) / self.second()) as u64)
    }

    /// Goes on at `hz / divisor`, which need not be whole (0: stands still). Saying the same again changes nothing.
    pub fn set_rate(&mut self, hz: Hertz, divisor: u64, now: Nanos) {
        if (self.hz, self.divisor) != (hz.0, divisor) {
            *self = Ticks { base: self.at(now), since: now.0, hz: hz.0, divisor };
        }
    }

    /// Nanoseconds in `hz` ticks.
    fn second(&self) -> u128 {
        SECOND * u128::from(self.divisor.max(1))
    }

    /// Starts again from `count`.
    pub fn set(&mut self, count: u64, now: Nanos) {
        *self = Ticks { base: count, since: now.0, ..*self };
    }

    /// True if it is counting.
    pub fn runs(&self) -> bool {
        self.hz != 0
    }

    /// The first moment at which the count is at least `count`; `None` if it stands still or that is beyond all time.
    pub fn when(&self, count: u64) -> Option<Nanos> {
        if self.hz == 0 {
            return None;
        }
        let missing = u128::from(count.saturating_sub(self.base));
        let nanos = missing.saturating_mul(self.second()).div_ceil(u128::from(self.hz));
        u64::try_from(nanos).ok().and_then(|n| self.since.checked_add(n)).map(Nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_exactly_and_says_when() {
        let mut t = Ticks::default();
        t.set_rate(Hertz(333_333_333), 1, Nanos(0));
        assert_eq!(t.at(Nanos(3_000_000_000)), 999_999_999);
        let at = t.when(1000).unwrap();
        assert!(t.at(at) >= 1000 && t.at(Nanos(at.0 - 1)) < 1000);
        t.set_rate(Hertz(0), 1, at);
        assert_eq!((t.at(Nanos(at.0 + 5_000)), t.when(2000)), (1000, None));
        let mut t = Ticks::default();
        t.set_rate(Hertz(100), 3, Nanos(0));
        assert_eq!(t.at(Nanos(3_000_000_000)), 100);
    }
}
