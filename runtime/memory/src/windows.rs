//! Windows: the host's own address translation as a TLB for generated code.
//!
//! A window is 4 GiB of host addresses for one space tag and MMU index. Pages of RAM that the TLB has found are mapped where their virtual addresses say, with the rights
//! that a front gives them: an access is one instruction, at any alignment, also across pages. The host refuses everything else (devices, code that would be
//! written over, what the guest does not permit); who executes the access hears of it by a signal, does it the slow way, and says which address it was
//! ([`crate::SoftTlb::refused`]): that page is mapped as soon as the TLB knows it. What a front forgets, its windows forget at the same time.

use crate::RamBlock;
use crate::mapping::Mapping;
use crate::ram::PAGE_SIZE;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// MMU indices that have windows: those below this.
pub const WINDOW_INDICES: u8 = 4;
/// Bytes of the host's addresses before, between and behind windows where nothing is ever mapped: as far as an access may be off a window.
const GUARD: usize = 1 << 16;
/// From one window to the next.
const STRIDE: usize = (1 << 32) + GUARD;
/// Pages in all windows of a TLB at most: each may be a mapping of its own, of which Linux gives a process 65530.
const MAX_PAGES: usize = 4096;
/// log2 of the counters that say whether a page may be in any window.
const SOME_BITS: u32 = 12;

/// A page in a window.
struct Mapped {
    host: *mut u8,
    code: *const AtomicU64,
    write: bool,
    /// For every space tag.
    global: bool,
}

/// What the TLB knows of a page that is to be mapped.
pub(crate) struct Found<'a> {
    pub host: *mut u8,
    pub code: *const AtomicU64,
    pub write: bool,
    pub global: bool,
    /// Where the page is.
    pub block: &'a RamBlock,
    pub offset: u64,
}

/// The windows of one TLB: for each of some fronts [`WINDOW_INDICES`].
pub(crate) struct Windows {
    addresses: Mapping,
    /// By front and MMU index: by virtual page address.
    pages: Vec<BTreeMap<u64, Mapped>>,
    count: usize,
    /// By the low bits of the page's number: there was such a page.
    seen: [bool; 1 << SOME_BITS],
    /// By the low bits of the page's number: how many pages windows have.
    some: [u16; 1 << SOME_BITS],
    /// Front, MMU index and page that an access was refused at and that is not mapped yet.
    pub wanted: Option<(usize, u8, u64)>,
}

/// From the first window of a front to that of an MMU index, bytes.
pub const fn window_offset(mmu_index: u8) -> u64 {
    mmu_index as u64 * STRIDE as u64
}

impl Windows {
    /// Empty windows for so many fronts; `None` if the host has no room for them.
    pub fn new(fronts: usize) -> Option<Box<Windows>> {
        let count = fronts * usize::from(WINDOW_INDICES);
        let addresses = Mapping::map(count * STRIDE - GUARD, GUARD, ProtFlags::empty()).ok()?;
        Some(Box::new(Windows {
            addresses,
            pages: (0..count).map(|_| BTreeMap::new()).collect(),
            count: 0,
            seen: [false; 1 << SOME_BITS],
            some: [0; 1 << SOME_BITS],
            wanted: None,
        }))
    }

    /// The host address of virtual address 0 in the first window of a front.
    pub fn base(&self, front: usize) -> usize {
        self.address(front * usize::from(WINDOW_INDICES), 0).addr()
    }

    /// Front, MMU index and virtual address that a host address stands for.
    pub fn place(&self, address: usize) -> Option<(usize, u8, u64)> {
        let offset = address.checked_sub(self.addresses.base().addr())?;
        let (window, va) = (offset / STRIDE, (offset % STRIDE) as u64);
        let (front, index) = (window / usize::from(WINDOW_INDICES), window % usize::from(WINDOW_INDICES));
        (window < self.pages.len() && va >> 32 == 0).then_some((front, index as u8, va))
    }

    fn window(front: usize, mmu_index: u8) -> usize {
        front * usize::from(WINDOW_INDICES) + usize::from(mmu_index)
    }

    fn address(&self, window: usize, page: u64) -> *mut u8 {
        self.addresses.base().wrapping_add(window * STRIDE + page as usize)
    }

    /// Maps the page at a virtual address below 2^32, in place of what was there.
    pub fn map(&mut self, front: usize, mmu_index: u8, page: u64, found: &Found<'_>) {
        let Some(file) = found.block.file().filter(|_| page >> 32 == 0 && mmu_index < WINDOW_INDICES) else { return };
        if self.count >= MAX_PAGES {
            self.clear();
        }
        // SAFETY: a found page's code word lives as long as its block.
        let write = found.write && unsafe { &*found.code }.load(Relaxed) == 0;
        let rights = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let window = Windows::window(front, mmu_index);
        let (at, flags) = (self.address(window, page).cast(), MapFlags::SHARED | MapFlags::FIXED | MapFlags::POPULATE);
        self.forget_in(window, page);
        // SAFETY: inside the window, where nobody else maps anything; the file is the block's own, as long as that.
        if unsafe { mmap(at, PAGE_SIZE as usize, rights, flags, file, found.offset) }.is_ok() {
            self.pages[window].insert(page, Mapped { host: found.host, code: found.code, write, global: found.global });
            self.count += 1;
            *self.some(page) += 1;
            self.seen[Windows::low(page)] = true;
        }
    }

    /// Nothing is mapped there any more.
    fn unmap(&self, window: usize, page: u64, len: usize) {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: inside the window; generated code that may access it is refused from then on.
        let done = unsafe { mmap_anonymous(self.address(window, page).cast(), len, ProtFlags::empty(), flags) };
        assert!(done.is_ok(), "the host does not unmap guest memory: {done:?}");
    }

    fn forget_in(&mut self, window: usize, page: u64) {
        if self.pages[window].remove(&page).is_some() {
            self.count -= 1;
            *self.some(page) -= 1;
            self.unmap(window, page, PAGE_SIZE as usize);
        }
    }

    /// How many pages windows have that share the low bits of their number with that of `va`.
    fn some(&mut self, va: u64) -> &mut u16 {
        &mut self.some[Windows::low(va)]
    }

    /// The low bits of the page's number.
    fn low(va: u64) -> usize {
        (va / PAGE_SIZE) as usize % (1 << SOME_BITS)
    }

    /// The page of `va`, or one that shares the low bits of its number, was in a window before.
    pub fn was_seen(&self, va: u64) -> bool {
        self.seen[Windows::low(va)]
    }

    /// Forgets the page of `va` in all windows.
    pub fn forget(&mut self, va: u64) {
        if *self.some(va) != 0 {
            (0..self.pages.len()).for_each(|window| self.forget_in(window, va & !(PAGE_SIZE - 1)));
        }
    }

    /// A page was found anew: windows of this MMU index that had it otherwise, of fronts that it holds for, forget it. `host`: where it is, if it may be read, and if it
    /// may be written.
    pub fn renew(&mut self, va: u64, mmu_index: u8, host: Option<(*mut u8, bool)>, holds: impl Fn(usize) -> bool) {
        if mmu_index >= WINDOW_INDICES || *self.some(va) == 0 {
            return;
        }
        let page = va & !(PAGE_SIZE - 1);
        for front in 0..self.pages.len() / usize::from(WINDOW_INDICES) {
            let window = Windows::window(front, mmu_index);
            let other = |mapped: &Mapped| {
                (holds(front) || mapped.global) && host.is_none_or(|(at, write)| at != mapped.host || mapped.write && !write)
            };
            if self.pages[window].get(&page).is_some_and(other) {
                self.forget_in(window, page);
            }
        }
    }

    /// Forgets what the windows of a front have.
    pub fn empty(&mut self, front: usize) {
        for window in Windows::window(front, 0)..Windows::window(front + 1, 0) {
            let pages = std::mem::take(&mut self.pages[window]);
            self.count -= pages.len();
            pages.keys().for_each(|page| *self.some(*page) -= 1);
            if let (Some(first), Some(last)) = (pages.keys().next(), pages.keys().next_back()) {
                self.unmap(window, *first, (last - first + PAGE_SIZE) as usize);
            }
        }
    }

    fn clear(&mut self) {
        (0..self.pages.len() / usize::from(WINDOW_INDICES)).for_each(|front| self.empty(front));
    }

    /// Pages that hold code now may be written no more.
    pub fn protect_code(&mut self) {
        let base = self.addresses.base();
        for (window, pages) in self.pages.iter_mut().enumerate() {
            for (page, mapped) in pages.iter_mut().filter(|(_, mapped)| mapped.write) {
                // SAFETY: as in `map`.
                if unsafe { &*mapped.code }.load(Relaxed) != 0 {
                    mapped.write = false;
                    let at = base.wrapping_add(window * STRIDE + *page as usize);
                    // SAFETY: a page that is mapped in the window.
                    let done = unsafe { mprotect(at.cast(), PAGE_SIZE as usize, MprotectFlags::READ) };
                    assert!(done.is_ok(), "the host does not protect guest memory: {done:?}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GuestPhys, RamSlice, SoftTlb, TlbFill};
    use std::sync::Arc;

    const INDEX: u8 = 2;
    const TAG: u32 = 5;

    struct Bench {
        ram: Arc<RamBlock>,
        tlb: SoftTlb,
    }

    impl Bench {
        fn new() -> Bench {
            let mut tlb = SoftTlb::new();
            tlb.select(TAG);
            assert!(tlb.window() == 0 && tlb.open_windows() && tlb.window() != 0);
            Bench { ram: RamBlock::new("ram", 1 << 20).unwrap(), tlb }
        }

        fn fill(&self, va: u64, offset: u64) -> TlbFill {
            TlbFill {
                va,
                phys: GuestPhys(offset),
                mmu_index: INDEX,
                tag: TAG,
                global: false,
                page_bits: 12,
                read: true,
                write: true,
                execute: true,
                attributes: 0,
                ram: Some(RamSlice { block: self.ram.clone(), offset, len: self.ram.size() - offset, writable: true }),
            }
        }

        fn address(&self, va: u64) -> usize {
            self.tlb.window() + (window_offset(INDEX) + va) as usize
        }

        /// As an access that the host refused.
        fn refuse(&mut self, va: u64) {
            let address = self.address(va);
            assert!(self.tlb.refused(address).is_some());
        }

        /// What the host lets generated code do at a virtual address, and where in the block's file that is.
        fn rights(&self, va: u64) -> (String, u64) {
            let (address, maps) = (self.address(va) as u64, std::fs::read_to_string("/proc/self/maps").unwrap());
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
            let line = |line: &str| {
                let mut words = line.split_whitespace();
                let (from, to) = words.next()?.split_once('-')?;
                let (rights, offset) = (words.next()?, words.next()?);
                let at = number(offset).wrapping_add(address.wrapping_sub(number(from)));
                (number(from)..number(to)).contains(&address).then(|| (rights[..2].to_string(), at))
            };
            maps.lines().find_map(line).unwrap()
        }

        fn is_there(&self, va: u64) -> bool {
            self.rights(va).0 != "--"
        }
    }

    /// The page is mapped with its rights when it is known, at once or when it is raised, and no other is.
    #[test]
    fn what_was_refused_is_there_when_it_is_known() {
        let mut b = Bench::new();
        let address = b.address(0x5123);
        assert_eq!(b.tlb.refused(address), Some(false), "in a window, for the first time");
        assert!(!b.is_there(0x5123), "not known");
        b.tlb.insert(&b.fill(0x5000, 0x3000));
        b.tlb.raise(0x6000, INDEX, TAG);
        assert!(!b.is_there(0x5123), "not wanted");
        b.tlb.raise(0x5008, INDEX, TAG);
        assert_eq!(b.rights(0x5123), ("rw".into(), 0x3123));
        assert!(!b.is_there(0x4fff) && !b.is_there(0x6000));
        assert_eq!(b.tlb.refused(address), Some(true), "again");
        b.tlb.insert(&TlbFill { write: false, ..b.fill(0xffff_f000, 0x4000) });
        b.refuse(0xffff_fffc);
        assert_eq!(b.rights(0xffff_fffc), ("r-".into(), 0x4ffc));
        b.tlb.insert(&TlbFill { read: false, ..b.fill(0x7000, 0x5000) });
        b.tlb.insert(&TlbFill { ram: None, ..b.fill(0x8000, 0x5000) });
        b.refuse(0x7000);
        b.refuse(0x8000);
        assert!(!b.is_there(0x7000) && !b.is_there(0x8000));
        b.ram.mark_code(0x6010, 4);
        b.tlb.insert(&b.fill(0x9000, 0x6000));
        b.refuse(0x9000);
        assert_eq!(b.rights(0x9000).0, "r-", "over code");
        let (outside, base) = (b.address(0) - 8, b.tlb.window());
        assert_eq!(b.tlb.refused(outside), None, "the guard between two windows");
        assert_eq!(b.tlb.refused(base - 8), None);
        assert_eq!(b.tlb.refused(0), None);
    }

    /// Every way to forget a page takes it out of its window.
    #[test]
    fn what_the_tlb_forgets_is_not_there() {
        type Flush = fn(&mut SoftTlb);
        let flushes: [(Flush, [bool; 3]); 9] = [
            (|_| (), [true; 3]),
            (|tlb| tlb.flush_all(), [false; 3]),
            (|tlb| tlb.flush_page(0x1abc, Some(TAG)), [false, true, true]),
            (|tlb| tlb.flush_page(0x40_1000, None), [true; 3]),
            (|tlb| tlb.flush_page(0x10_0000, None), [false; 3]),
            (|tlb| tlb.flush_tags(u32::MAX, TAG), [false; 3]),
            (|tlb| tlb.flush_tags(u32::MAX, TAG + 1), [true; 3]),
            (|tlb| tlb.flush_mmu_index(INDEX), [false; 3]),
            (|tlb| assert!(tlb.sync_map(3)), [false; 3]),
        ];
        for (n, (flush, expected)) in flushes.into_iter().enumerate() {
            let mut b = Bench::new();
            b.tlb.insert(&b.fill(0x1000, 0x1000));
            b.tlb.insert(&TlbFill { global: true, ..b.fill(0x2000, 0x2000) });
            b.tlb.insert(&TlbFill { page_bits: 20, ..b.fill(0x10_3000, 0x3000) });
            let pages = [0x1000, 0x2000, 0x10_3000];
            pages.into_iter().for_each(|va| b.refuse(va));
            flush(&mut b.tlb);
            assert_eq!(pages.map(|va| b.is_there(va)), expected, "{n}");
        }
    }

    #[test]
    fn what_was_found_otherwise_is_not_there() {
        let mut b = Bench::new();
        let mut stays = |change: &dyn Fn(&Bench) -> TlbFill| {
            b.tlb.insert(&b.fill(0x1000, 0x1000));
            b.refuse(0x1000);
            let fill = change(&b);
            b.tlb.insert(&fill);
            b.is_there(0x1000)
        };
        assert!(stays(&|b| b.fill(0x1000, 0x1000)), "the same");
        assert!(stays(&|b| TlbFill { tag: 6, ..b.fill(0x1000, 0x2000) }), "of another space");
        assert!(stays(&|b| TlbFill { mmu_index: 1, ..b.fill(0x1000, 0x2000) }), "of another index");
        assert!(!stays(&|b| b.fill(0x1000, 0x2000)), "elsewhere");
        assert!(!stays(&|b| TlbFill { write: false, ..b.fill(0x1000, 0x1000) }), "less");
        assert!(!stays(&|b| TlbFill { read: false, ..b.fill(0x1000, 0x1000) }), "nothing");
        assert!(!stays(&|b| TlbFill { global: true, tag: 6, ..b.fill(0x1000, 0x2000) }), "for all spaces");
    }

    #[test]
    fn code_is_not_written_over() {
        let mut b = Bench::new();
        for page in [0x1000, 0x2000] {
            b.tlb.insert(&b.fill(page, page));
            b.refuse(page);
        }
        b.ram.mark_code(0x1040, 4);
        b.tlb.protect_code();
        assert_eq!([0x1000, 0x2000].map(|page| b.rights(page).0), ["r-", "rw"]);
        b.ram.write_u32(0x1040, 0);
        b.refuse(0x1040);
        assert_eq!(b.rights(0x1000), ("rw".into(), 0x1000), "the code is gone");
    }

    /// Spaces keep their windows while they have a front; there are no more pages than [`MAX_PAGES`].
    #[test]
    fn spaces_have_windows_of_their_own() {
        let mut b = Bench::new();
        b.tlb.insert(&b.fill(0x1000, 0x1000));
        b.refuse(0x1000);
        for tag in 6..9 {
            b.tlb.select(tag);
            assert!(!b.is_there(0x1000));
        }
        b.tlb.select(TAG);
        assert!(b.is_there(0x1000));
        b.tlb.select(9);
        assert!(!b.is_there(0x1000), "the place of the oldest");
        b.tlb.select(TAG);
        assert!(!b.is_there(0x1000));
        for page in 0..MAX_PAGES as u64 + 1 {
            b.tlb.insert(&b.fill(page << 12, (page % 256) << 12));
            b.refuse(page << 12);
        }
        assert!(!b.is_there(0x1000) && b.is_there((MAX_PAGES as u64) << 12));
    }

    /// What a window shows is the block's memory, also where that was given back to the host.
    #[test]
    fn windows_show_the_memory() {
        let mut b = Bench::new();
        b.ram.write_u32(0x3ffc, 0x1122_3344);
        b.tlb.insert(&b.fill(0x1000, 0x3000));
        b.refuse(0x1ffc);
        let word = std::ptr::with_exposed_provenance::<u32>(b.address(0x1ffc));
        // SAFETY: the page is mapped, or the test ends here.
        let read = || unsafe { word.read_volatile() };
        assert_eq!(read(), 0x1122_3344);
        assert!(b.ram.clear(0x3000, 0x1000));
        assert_eq!((read(), b.ram.read_u32(0x3ffc)), (0, Some(0)));
    }
}
