//! Address spaces: what answers at which physical address, for whom.
//!
//! Regions (overlapping by priority, some banked to one vCPU) -> an immutable flat map for each view -> look-ups. A changed map
//! is a new version, swapped whole; whoever keeps answers compares versions.

use crate::{Access, Initiator, RamBlock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// What answers.
#[derive(Clone, Debug)]
pub enum Target {
    /// Memory; `offset` is that of the region's first byte.
    Ram {
        /// The memory.
        block: Arc<RamBlock>,
        /// First byte.
        offset: u64,
        /// False for ROM.
        writable: bool,
        /// Who is written to instead of memory that is not writable: a device and its region, of which this is the place.
        behind: Option<(usize, usize)>,
    },
    /// A device's region.
    Device {
        /// Device, by the machine's number.
        device: usize,
        /// Region of its type.
        region: usize,
        /// Offset of the first byte in that region.
        offset: u64,
    },
    /// A stub, by the machine's number.
    Stub(usize),
}

/// A stretch of addresses.
#[derive(Clone, Debug)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Last address.
    pub last: u64,
    /// Greater covers less; of equals, the later.
    pub priority: i32,
    /// Only this vCPU sees it.
    pub banked: Option<u8>,
    /// Nobody sees it, from the next [`AddressSpace::commit`] on.
    pub hidden: Arc<AtomicBool>,
    /// What answers.
    pub target: Target,
}

/// One piece of a flat map.
#[derive(Clone, Debug)]
struct Section {
    start: u64,
    last: u64,
    /// Offset of `start` in the region.
    skip: u64,
    target: Target,
}

/// What a look-up finds.
#[derive(Clone, Debug)]
pub struct Found {
    /// What answers.
    pub target: Target,
    /// Offset of the address in the target's region.
    pub offset: u64,
    /// Bytes from the address to the end of the section.
    pub len: u64,
}

#[derive(Debug, Default)]
struct Flat {
    /// What all see, then what each vCPU with regions of its own sees.
    views: Vec<(Option<u8>, Vec<Section>)>,
}

/// An address space.
#[derive(Debug)]
pub struct AddressSpace {
    regions: Vec<Region>,
    flat: RwLock<Arc<Flat>>,
    version: AtomicU64,
}

impl Default for AddressSpace {
    fn default() -> AddressSpace {
        AddressSpace { regions: vec![], flat: RwLock::default(), version: AtomicU64::new(1) }
    }
}

impl AddressSpace {
    /// Adds a region while the machine is built; takes effect with [`AddressSpace::commit`].
    pub fn add(&mut self, region: Region) {
        self.regions.push(region);
    }

    /// Makes the regions the current map.
    pub fn commit(&self) {
        let mut cpus: Vec<u8> = self.regions.iter().filter_map(|r| r.banked).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let mut views = vec![(None, flatten(&self.regions, None))];
        views.extend(cpus.into_iter().map(|c| (Some(c), flatten(&self.regions, Some(c)))));
        *self.flat.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(Flat { views });
        self.version.fetch_add(1, Ordering::Release);
    }

    /// All regions, those that are covered too.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The version of the map.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What answers at `at`.
    pub fn lookup(&self, at: u64, access: Access) -> Option<Found> {
        let flat = self.flat.read().unwrap_or_else(|e| e.into_inner());
        let cpu = match access.initiator {
            Initiator::Cpu(c) => Some(c),
            Initiator::Debug => Some(0),
            Initiator::Dma(_) => None,
        };
        let view = flat.views.iter().find(|v| v.0.is_some() && v.0 == cpu).or_else(|| flat.views.first())?;
        let i = view.1.partition_point(|s| s.last < at);
        let s = view.1.get(i).filter(|s| s.start <= at)?;
        Some(Found { target: s.target.clone(), offset: s.skip + (at - s.start), len: (s.last - at).saturating_add(1) })
    }
}

fn flatten(regions: &[Region], cpu: Option<u8>) -> Vec<Section> {
    let sees = |r: &&Region| (r.banked.is_none() || r.banked == cpu) && !r.hidden.load(Ordering::Acquire);
    let mut seen: Vec<&Region> = regions.iter().filter(sees).collect();
    // The best first: later pieces only fill what is left. A bank of one's own covers the common view.
    seen.reverse();
    seen.sort_by_key(|r| std::cmp::Reverse((r.priority, r.banked.is_some())));
    let mut out: Vec<Section> = Vec::new();
    for r in seen {
        let mut at = r.start;
        loop {
            let i = out.partition_point(|s| s.last < at);
            match out.get(i) {
                Some(s) if s.start <= at => {
                    if s.last >= r.last {
                        break;
                    }
                    at = s.last + 1;
                    continue;
                }
                next => {
                    let last = next.map_or(r.last, |s| (s.start - 1).min(r.last));
                    out.insert(i, Section { start: at, last, skip: at - r.start, target: r.target.clone() });
                    if last >= r.last {
                        break;
                    }
                    at = last + 1;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stub(start: u64, last: u64, priority: i32, banked: Option<u8>, n: usize) -> Region {
        Region { start, last, priority, banked, hidden: Arc::default(), target: Target::Stub(n) }
    }

    fn who(space: &AddressSpace, at: u64, access: Access) -> Option<(usize, u64, u64)> {
        space.lookup(at, access).map(|f| match f.target {
            Target::Stub(n) => (n, f.offset, f.len),
            _ => unreachable!(),
        })
    }

    #[test]
    fn priority_splits_and_banks_cover() {
        let mut space = AddressSpace::default();
        space.add(stub(0x100, 0x4ff, 0, None, 0));
        space.add(stub(0x200, 0x2ff, 1, None, 1));
        space.add(stub(0x400, 0x40f, 0, Some(1), 2));
        space.commit();
        let a = Access::cpu(0);
        assert_eq!(who(&space, 0x1ff, a), Some((0, 0xff, 1)));
        assert_eq!(who(&space, 0x200, a), Some((1, 0, 0x100)));
        assert_eq!(who(&space, 0x300, a), Some((0, 0x200, 0x200)));
        assert_eq!(who(&space, 0x405, a), Some((0, 0x305, 0xfb)));
        assert_eq!(who(&space, 0x405, Access::cpu(1)), Some((2, 5, 11)));
        assert_eq!(who(&space, 0x500, a), None);
        assert_eq!(who(&space, 0xff, a), None);
        // What is hidden uncovers what is under it.
        let version = space.version();
        space.regions()[1].hidden.store(true, Ordering::Release);
        space.commit();
        assert_eq!(who(&space, 0x200, a), Some((0, 0x100, 0x300)));
        assert!(space.version() > version);
    }

    #[test]
    fn the_top_of_the_space_is_reachable() {
        let mut space = AddressSpace::default();
        space.add(stub(u64::MAX - 15, u64::MAX, 0, None, 7));
        space.commit();
        assert_eq!(who(&space, u64::MAX, Access::DEBUG), Some((7, 15, 1)));
    }
}
