//! Changes that belong over a file's bytes and are not in the file: a log that was not yet written back.
//!
//! Later patches win. Ranges are kept apart from each other, so what a read costs does not grow with what was patched twice.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Ranges and what they hold.
#[derive(Default)]
pub(super) struct Patches(BTreeMap<u64, Patch>);

struct Patch {
    end: u64,
    /// Bytes, and which of them is the first of the range; or zeroes.
    bytes: Option<(Arc<[u8]>, usize)>,
}

impl Patches {
    /// The range holds zeroes from now on.
    pub fn zero(&mut self, at: u64, len: u64) {
        self.put(at, at.saturating_add(len), None);
    }

    /// The bytes are at `at` from now on.
    pub fn write(&mut self, at: u64, bytes: Arc<[u8]>) {
        let end = at.saturating_add(bytes.len() as u64);
        self.put(at, end, Some((bytes, 0)));
    }

    /// Puts the patches over what the file has at `at`.
    pub fn apply(&self, at: u64, buffer: &mut [u8]) {
        let end = at.saturating_add(buffer.len() as u64);
        let before = self.0.range(..at).next_back();
        for (&start, patch) in before.into_iter().chain(self.0.range(at..end)) {
            let (from, to) = (start.max(at), patch.end.min(end));
            if from >= to {
                continue;
            }
            let target = &mut buffer[(from - at) as usize..(to - at) as usize];
            match &patch.bytes {
                Some((bytes, first)) => target.copy_from_slice(&bytes[first + (from - start) as usize..][..target.len()]),
                None => target.fill(0),
            }
        }
    }

    fn put(&mut self, at: u64, end: u64, bytes: Option<(Arc<[u8]>, usize)>) {
        if at >= end {
            return;
        }
        self.split(at);
        self.split(end);
        let covered: Vec<u64> = self.0.range(at..end).map(|(&start, _)| start).collect();
        for start in covered {
            self.0.remove(&start);
        }
        self.0.insert(at, Patch { end, bytes });
    }

    /// Makes two patches of the one that lies across `at`.
    fn split(&mut self, at: u64) {
        let Some((&start, patch)) = self.0.range_mut(..at).next_back() else { return };
        if patch.end > at {
            let bytes = patch.bytes.as_ref().map(|(bytes, first)| (bytes.clone(), first + (at - start) as usize));
            let end = std::mem::replace(&mut patch.end, at);
            self.0.insert(at, Patch { end, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_patch_wins(ops in prop::collection::vec((0u64..60, 0u64..40, prop::option::of(1u8..)), 0..30), at in 0u64..100, len in 0usize..100) {
            let (mut patches, mut plain) = (Patches::default(), vec![0xeeu8; 300]);
            for (at, len, value) in ops {
                let range = at as usize..(at + len) as usize;
                match value {
                    Some(value) => {
                        let bytes: Vec<u8> = (0..len).map(|i| value.wrapping_add(i as u8)).collect();
                        plain[range].copy_from_slice(&bytes);
                        patches.write(at, bytes.into());
                    }
                    None => {
                        plain[range].fill(0);
                        patches.zero(at, len);
                    }
                }
            }
            let mut buffer = vec![0xee; len];
            patches.apply(at, &mut buffer);
            prop_assert_eq!(&buffer[..], &plain[at as usize..at as usize + len]);
        }
    }
}
