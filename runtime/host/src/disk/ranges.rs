//! A set of byte ranges: sorted, none empty, none touching another.

use std::collections::BTreeMap;
use std::ops::Range;

/// Byte ranges.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range; it becomes one with those it touches.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&from, &to)) = self.0.range(..=end).next_back().filter(|(_, to)| **to >= start) {
            (start, end) = (start.min(from), end.max(to));
            self.0.remove(&from);
        }
        self.0.insert(start, end);
    }

    /// The first piece of a range that is wholly in the set, or wholly outside: its length, and whether it is inside.
    pub fn piece(&self, range: Range<u64>) -> (u64, bool) {
        if let Some((_, &to)) = self.0.range(..=range.start).next_back().filter(|(_, to)| **to > range.start) {
            return (to.min(range.end) - range.start, true);
        }
        let next = self.0.range(range.start..range.end).next().map_or(range.end, |(from, _)| *from);
        (next - range.start, false)
    }

    /// All ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(from, to)| *from..*to)
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(all: I) -> Ranges {
        let mut ranges = Ranges::default();
        all.into_iter().for_each(|range| ranges.insert(range));
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut set: Ranges = [10..20, 30..40, 50..60].into_iter().collect();
        set.insert(20..30);
        assert_eq!(set.iter().collect::<Vec<_>>(), [10..40, 50..60]);
        set.insert(0..5);
        set.insert(4..55);
        assert!(set.iter().eq(std::iter::once(0..60)));
        set.insert(7..7);
        assert_eq!((set.piece(58..100), set.piece(60..100)), ((2, true), (40, false)));
    }
}
